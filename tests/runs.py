"""What tests of training runs share: a small recipe's flags, and what a run's folder holds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SMALL = [
    *("--set", "model.backbone=resnet18", "--set", "model.decoder_filters=[8,8,8,8,8]"),
    *("--set", "data.size=null", "--set", "train.epochs=2", "--set", "train.batch_size=4"),
    *("--set", "train.warmup_steps=2", "--set", "train.pictures=2", "--set", "train.evaluate_every=1"),
    *("--set", "train.precision=float32"),
]
"""Of `tiny_records` a run of two epochs of three steps."""


def weights(folder: Path, name: str = "model.weights.h5") -> dict[str, np.ndarray]:
    """A checkpoint's arrays by their paths in the weight file."""
    import h5py

    values = {}
    with h5py.File(folder / name) as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return values


def read_rows(folder: Path) -> list[dict[str, str]]:
    """``metrics.csv``."""
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def last_step(folder: Path) -> Path:
    """The newest checkpoint."""
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


def curves(folder: Path, writer: str) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars of ``train`` or ``validation``: tag → (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder / "tensorboard" / writer), size_guidance={"tensors": 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = [(point.step, float(make_ndarray(point.tensor_proto))) for point in events.Tensors(tag)]
    return found
