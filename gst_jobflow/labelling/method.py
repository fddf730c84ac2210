"""The method of a label, and the fingerprint that keeps labels of different methods apart."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel

# 2**53: beyond it not every integer is a float, so larger integers keep their own text
_EXACT_FLOAT = 9007199254740992


class Method(StrictModel):
    """The physics of a label: everything that changes the numbers, nothing that only changes the way to them.

    Attributes
    ----------
    code
        Program in lower case: "vasp", "cp2k", "tblite", ...
    version
        Version of the program; empty if it does not change the result.
    parameters
        Nested dictionary of plain values with string keys, without parallelisation, mixing, iteration limits and
        output settings.

    Raises
    ------
    InputError
        A parameter is not a plain value, or not finite.
    """

    code: str
    version: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _canonical(value, "parameters")

    def canonical_json(self) -> str:
        """Return the text that is hashed: sorted keys, no spaces, floats by repr, no NaN.

        Integers are written as floats, so that 600 and 600.0 (a value read back from a file) are one method.
        """
        content = {"code": self.code, "version": self.version, "parameters": self.parameters}
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def fingerprint(self) -> str:
        """Return `code:` and the first 16 hex digits of the SHA-256 of the canonical JSON."""
        return f"{self.code}:{hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]}"


def _canonical(value: Any, where: str) -> Any:
    """Return `value` with numpy values, tuples and integers as JSON types that survive a round trip."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return float(value) if abs(value) <= _EXACT_FLOAT else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where} is {value}", "give a finite number")
        return value + 0.0  # -0.0 becomes 0.0
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise InputError(f"{where} has the key {wrong[0]!r}", "use text for keys")
        return {key: _canonical(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise InputError(f"{where} is a {type(value).__name__}", "use numbers, text, true/false, lists and dictionaries")
