"""Define what is stored: one pydantic model a collection."""

from gst_jobflow.documents.attempt import Attempt
from gst_jobflow.documents.base import (
    SCHEMA_VERSION,
    ArtifactRef,
    ConfigType,
    Cost,
    Document,
    Index,
    derive_id,
    now,
    pack,
    unpack,
)
from gst_jobflow.documents.cycle import Cycle, Operation
from gst_jobflow.documents.dataset import Dataset
from gst_jobflow.documents.label import Label
from gst_jobflow.documents.potential import (
    ActiveSet,
    Errors,
    LammpsCheck,
    Potential,
    PotentialArtifacts,
    Rmse,
    RmseOfType,
    Speed,
)
from gst_jobflow.documents.structure import LARGE_STRUCTURE_ATOMS, Structure
from gst_jobflow.documents.study import Member, Study
from gst_jobflow.documents.trajectory import Kick, Segment, Trajectory

DOCUMENTS: dict[str, type[Document]] = {
    model.collection: model for model in (Structure, Label, Dataset, Potential, Study, Trajectory, Cycle, Attempt)
}
"""All document models by collection."""
