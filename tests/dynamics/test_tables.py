"""Reading what a run wrote, whole or torn."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from gst_jobflow.base.errors import DataError
from gst_jobflow.dynamics.deck import SERIES_COLUMNS
from gst_jobflow.dynamics.dump import iter_chain, iter_frames
from gst_jobflow.dynamics.restart import newest_restart, restart_step
from gst_jobflow.dynamics.series import join_segments, read_profiles, read_series


def _row(step: int, energy: float = 1.0) -> str:
    return f"1,{step},{step * 0.002},{energy},2,300,{energy + 2},0,1000,0\n"


def _frame(step: int, x: float = 1.0, n: int = 2) -> str:
    atoms = "".join(f"{n - i} {1 + i % 2} {x + i} 2.0 3.0 {i}\n" for i in range(n))
    return (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp\n"
        f"-1 9\n0 10\n0 10\nITEM: ATOMS id type x y z ix\n{atoms}"
    )


def test_a_torn_last_line_is_left_out_even_if_it_could_be_read(tmp_path):
    path = tmp_path / "series.csv"
    path.write_text("\n" + _row(0) + _row(10) + _row(20)[:-1])
    assert read_series(path)["step"].tolist() == [0, 10]
    path.write_text(_row(0) + "1,10,0.0")
    assert read_series(path)["step"].tolist() == [0]


def test_a_missing_series_is_empty_with_all_columns(tmp_path):
    table = read_series(tmp_path / "none.csv")
    assert tuple(table) == SERIES_COLUMNS
    assert all(len(column) == 0 for column in table.values())


def test_later_segments_replace_what_lies_behind_their_restart():
    starts = (0, 40, 30)
    tables = [{"step": np.arange(start, 60, 10), "ke": np.full(6 - start // 10, start)} for start in starts]
    assert join_segments(tables, [0, 40, 30], True)["step"].tolist() == [0, 10, 20, 30, 30, 40, 50]
    assert join_segments(tables, [0, 40, 30], False)["step"].tolist() == [0, 10, 20, 30, 40, 50]
    # a row that is the same to the last digit was written twice, at the end and at the beginning of a run
    same = [{"step": table["step"], "ke": np.zeros(len(table["step"]))} for table in tables]
    assert join_segments(same, [0, 40, 30], True)["step"].tolist() == [0, 10, 20, 30, 40, 50]


def test_profiles_leave_a_torn_frame_out(tmp_path):
    path = tmp_path / "profile.dat"
    whole = "# low -1 height 10\n# a\n# b c d\n100 2 50\n  1 0.25 25 300.5 0.03\n  2 0.75 25 400 0.03\n"
    path.write_text(whole + "200 2 50\n  1 2.5 25 300 0.03\n  2 7.5 2")
    frames = read_profiles(path)
    assert [frame.step for frame in frames] == [100]
    np.testing.assert_allclose(frames[0].z_A, [1.5, 6.5])
    np.testing.assert_allclose(frames[0].temperature_K, [300.5, 400])


@pytest.mark.parametrize("name", ["d.lammpstrj", "d.lammpstrj.gz"])
def test_frames_stream_sorted_by_id_and_a_torn_one_is_left_out(tmp_path, name):
    path = tmp_path / name
    content = (_frame(0) + _frame(10) + _frame(20)[:-4]).encode()
    if name.endswith("gz"):
        # a killed writer leaves a stream without its end
        content = gzip.compress(content)[:-6]
    path.write_bytes(content)
    frames = list(iter_frames(path))
    assert [frame.step for frame in frames] == [0, 10]
    first = frames[0]
    assert first.ids.tolist() == [1, 2]
    assert first.positions[0].tolist() == [2.0, 2.0, 3.0]
    assert first.origin.tolist() == [-1.0, 0.0, 0.0]
    np.testing.assert_allclose(first.cell, 10 * np.eye(3))
    np.testing.assert_allclose(first.to_atoms(["Sb", "Te"]).positions[0], [3.0, 2.0, 3.0])
    assert [frame.step for frame in iter_frames(path, every=2)] == [0]


def _large_frame(step: int, form: str, n: int = 9000, columns: str = "id type x y z vx") -> tuple[str, np.ndarray]:
    random = np.random.default_rng(step)
    values = random.normal(scale=40.0, size=(n, 4))
    ids = random.permutation(n) + 1
    rows = [[format(value, form) for value in row] for row in values]
    atoms = "".join(f"{i} {1 + i % 3} {' '.join(row)} \n" for i, row in zip(ids.tolist(), rows, strict=True))
    head = (
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS xy xz yz pp pp pp\n"
        f"-2 13 3\n0 8 -2\n0 9 1\nITEM: ATOMS {columns}\n"
    )
    return head + atoms, np.array(rows, dtype=float)[np.argsort(ids)]


@pytest.mark.parametrize("form", [".4f", ".10f", "g", ".17g", ".3e"])
@pytest.mark.parametrize("name", ["d.lammpstrj", "d.lammpstrj.gz"])
def test_large_frames_have_exactly_the_numbers_of_the_text(tmp_path, name, form):
    frames = [_large_frame(step, form) for step in (0, 10, 20, 30)]
    content = "".join(text for text, _ in frames)[:-3].encode()
    (tmp_path / name).write_bytes(gzip.compress(content)[:-6] if name.endswith("gz") else content)
    read = list(iter_frames(tmp_path / name))
    assert [frame.step for frame in read] == [0, 10, 20]
    assert [frame.step for frame in iter_frames(tmp_path / name, every=2)] == [0, 20]
    for frame, (_, expected) in zip(read, frames, strict=False):
        assert frame.ids.tolist() == list(range(1, 9001))
        assert frame.types[:3].tolist() == [2, 3, 1]
        assert (np.column_stack([frame.positions, frame.extra["vx"]]) == expected).all()
        # the bounding box of the manual, back to lattice vectors
        assert frame.cell.tolist() == [[10, 0, 0], [3, 7, 0], [-2, 1, 9]]
        assert frame.origin.tolist() == [0, 0, 0]


def test_gaps_in_ids_and_non_finite_values_are_kept(tmp_path):
    text = _frame(0, n=3).replace("\n3 1 1.0 2.0", "\n7 1 nan -inf")
    (tmp_path / "d").write_text(text)
    (frame,) = iter_frames(tmp_path / "d")
    assert frame.ids.tolist() == [1, 2, 7]
    assert np.isnan(frame.positions[2, 0]) and frame.positions[2, 1] == -np.inf


def test_a_joined_gzip_file_of_many_members_is_one_dump(tmp_path):
    (tmp_path / "d.gz").write_bytes(b"".join(gzip.compress(_frame(step).encode()) for step in (0, 10, 20)))
    assert [frame.step for frame in iter_frames(tmp_path / "d.gz")] == [0, 10, 20]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id type x y z ix", "id type x z ix", "has no column y; it has id, type, x, z, ix"),
        ("id type x y z ix", "id type xs ys zs ix", "has no column x, y, z"),
        ("2.0 3.0 1\n", "2.0 3.0\n", "step 0"),
        ("2.0 3.0 1\n", "2.0 3.0 1 5\n", "step 0"),
        ("2.0 3.0 1\n", "2.0 Te 1\n", "step 0"),
        ("2.0 3.0 1\n", "2.0 3.0 1\n\n", "step 0"),
    ],
)
def test_a_whole_frame_that_cannot_be_read_is_an_error(tmp_path, old, new, said):
    (tmp_path / "d").write_text(_frame(0, n=40).replace(old, new) + _frame(10, n=40))
    with pytest.raises(DataError, match=said):
        list(iter_frames(tmp_path / "d"))


def test_a_chain_has_every_step_once(tmp_path):
    (tmp_path / "a").write_text(_frame(0) + _frame(10) + _frame(20, x=5.0))
    (tmp_path / "b").write_text(_frame(10) + _frame(20, x=7.0))
    frames = list(iter_chain([(tmp_path / "a", 10), (tmp_path / "b", None)]))
    assert [frame.step for frame in frames] == [0, 10, 20]
    assert frames[-1].positions[0, 0] == 8.0


def test_a_file_that_is_no_dump_is_refused(tmp_path):
    (tmp_path / "x").write_text("word\n" * 12)
    with pytest.raises(DataError, match="not a LAMMPS text dump"):
        list(iter_frames(tmp_path / "x"))
    with pytest.raises(DataError, match="there is no dump"):
        list(iter_frames(tmp_path / "absent"))
    (tmp_path / "y").write_text(_frame(0))
    with pytest.raises(DataError, match="no image flags"):
        next(iter_frames(tmp_path / "y")).unwrapped()


def test_restart_files_that_are_absent_or_torn_hold_no_step(tmp_path):
    (tmp_path / "r").write_bytes(b"LammpS RestartT\x00" + b"\x01\x00\x00\x00" * 20)
    assert restart_step(tmp_path / "r") is None
    assert restart_step(tmp_path / "absent") is None
    assert newest_restart([tmp_path / "r"]) is None
