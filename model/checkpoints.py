"""Checkpoints that are whole or not there: a folder a step, written under a temporary name and renamed.

checkpoints/step-00000120/model.weights.h5   weights and, with them, the optimizer's state
                          state.json         where in the data the run is, and its running sums
checkpoints/best                             text: the name of the best step's folder
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import keras
from pydantic import Field

from configs.loading import Config
from pipelines.files import write_atomically, write_json

WEIGHTS = "model.weights.h5"
STATE = "state.json"
BEST = "best"


class State(Config):
    """All of a run's state that is not in the weight file."""

    step: int = 0
    """Steps done since the run began; keys all randomness."""
    epoch: int = 0
    """The running epoch, from 0."""
    batches: int = 0
    """Batches of the running epoch that are done."""
    loss_sum: float = 0.0
    """Over those batches."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Over those batches."""
    best_miou: float = -1.0
    metrics_rows: int = 0
    """Lines of ``metrics.csv`` that were written by then."""
    event_files: dict[str, int] = Field(default_factory=dict)
    """TensorBoard's files below ``tensorboard/`` → their bytes by then."""


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    folder: Path
    state: State


def save_checkpoint(folder: Path, model: keras.Model, state: State, keep: int, best: bool) -> Checkpoint:
    """Write a checkpoint, point ``best`` to it if it is, and remove all but the last ``keep`` and the best."""
    target = folder / f"step-{state.step:08d}"
    temporary = folder / f".{target.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_weights(temporary / WEIGHTS)
    write_json(temporary / STATE, state.model_dump(mode="json"))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    if best:
        write_atomically(folder / BEST, target.name + "\n")
    chosen = _best_name(folder)
    for old in _step_folders(folder)[:-keep]:
        if old.name != chosen:
            shutil.rmtree(old)
    return Checkpoint(target, state)


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint, or None."""
    for candidate in reversed(_step_folders(folder)):
        if checkpoint := _read(candidate):
            return checkpoint
    return None


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint with the best validation mIoU, or None."""
    name = _best_name(folder)
    return _read(folder / name) if name else None


def load_weights(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Load a checkpoint's weights and, where the model is compiled, its optimizer's state."""
    model.load_weights(checkpoint.folder / WEIGHTS)


def _step_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _best_name(folder: Path) -> str:
    path = folder / BEST
    return path.read_text().strip() if path.is_file() else ""


def _read(folder: Path) -> Checkpoint | None:
    try:
        state = State.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return None
    return Checkpoint(folder, state) if (folder / WEIGHTS).is_file() else None
