"""What tests of training runs share: a small recipe's flags, and what a run's folder holds."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from signal import Signals
from typing import Any

import numpy as np

SMALL = [
    *("--set", "model.backbone=resnet18", "--set", "model.decoder_filters=[8,8,8,8,8]"),
    *("--set", "data.size=null", "--set", "train.epochs=2", "--set", "train.batch_size=4"),
    *("--set", "train.warmup_steps=2", "--set", "train.pictures=2", "--set", "train.evaluate_every=1"),
    *("--set", "train.precision=float32"),
]
"""Of `tiny_records` a run of two epochs of three steps."""


def signal_after(monkeypatch: Any, steps: int, number: Signals) -> None:
    """Send this process a signal when it has trained for so many steps; ``monkeypatch.undo()`` ends it."""
    from model.monitors import ProgressBar

    on_batch, done = ProgressBar.on_train_batch_end, []

    def counted(self: ProgressBar, batch: int, logs: Any = None) -> None:
        on_batch(self, batch, logs)
        done.append(batch)
        if len(done) == steps:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(ProgressBar, "on_train_batch_end", counted)


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
