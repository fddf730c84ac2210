"""Datasets: the labels that a potential is fitted to, how they are split and weighted; immutable and hashed."""

from gst_jobflow.datasets.change import (
    fraction_datasets,
    reweight,
    split_by_query,
    split_dataset,
    split_in_folds,
)
from gst_jobflow.datasets.create import CreatedDataset, create_dataset
from gst_jobflow.datasets.describe import describe_dataset
from gst_jobflow.datasets.diff import diff_datasets
from gst_jobflow.datasets.duplicates import near_duplicates
from gst_jobflow.datasets.members import load_members, read_members
from gst_jobflow.datasets.read import LabelledStructure, load_split, stream_rows
from gst_jobflow.datasets.spec import DatasetSpec
from gst_jobflow.datasets.split import SplitSpec
