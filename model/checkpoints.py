"""Checkpoints that are whole or not there: a folder a step, written under a temporary name and renamed.

checkpoints/step-00000120/model.weights.h5    weights and, with them, the optimizer's state
                          average.weights.h5  the averaged weights, with train.ema
                          state.json          where in the data the run is, its running sums, the files' digests
checkpoints/best                              text: the name of the best step's folder
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
from pydantic import Field

from configs.commands import UserError
from configs.loading import Config
from pipelines.files import sha256_file, write_atomically, write_json

WEIGHTS = "model.weights.h5"
AVERAGE = "average.weights.h5"
STATE = "state.json"
BEST = "best"


class State(Config):
    """All of a run's state that is not in the weight files."""

    step: int = 0
    """Steps done since the run began; keys all randomness."""
    epoch: int = 0
    """The running epoch, from 0."""
    batches: int = 0
    """Batches of the running epoch that are done."""
    loss_sum: float = 0.0
    """Over those batches."""
    gradient_norm_sum: float = 0.0
    """Over those batches, but for those that float16 left out."""
    left_out: int = 0
    """Of those batches, those that float16 left out."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Over those batches."""
    loss_scale: tuple[float, int] | None = None
    """The scale and the good steps since it last changed; None without float16."""
    best_miou: float = -1.0
    best_step: int | None = None
    evaluations_since_best: int = 0
    metrics_rows: int = 0
    """Lines of ``metrics.csv`` that were written by then."""
    event_files: dict[str, int] = Field(default_factory=dict)
    """TensorBoard's files below ``tensorboard/`` → their bytes by then."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """Weight file → its digest, by which a damaged one is known."""


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    folder: Path
    state: State


class Damaged(NamedTuple):
    """A checkpoint that cannot be used."""

    folder: Path
    reason: str


def save_checkpoint(folder: Path, save: Callable[[Path], None], state: State, keep: int) -> Checkpoint:
    """Write a checkpoint, let ``best`` point to the best one, and remove all but that and the last ``keep``.

    ``save`` writes the weight files into a folder. Checkpoints of later steps are removed too: a run that goes on
    from an earlier one found them damaged.
    """
    target = folder / step_name(state.step)
    for left in folder.glob(".step-*"):  # by a save that was killed
        shutil.rmtree(left)
    temporary, aside = folder / f".{target.name}.tmp", folder / f".{target.name}.old"
    temporary.mkdir(parents=True)
    save(temporary)
    state = state.model_copy(update={"sha256": {path.name: sha256_file(path) for path in temporary.iterdir()}})
    write_json(temporary / STATE, state.model_dump(mode="json"))
    if target.exists():  # a run that was stopped after an epoch's last step saves that step once more
        os.replace(target, aside)
    os.replace(temporary, target)
    shutil.rmtree(aside, ignore_errors=True)
    point_to_best(folder, state)
    until_now = [path for path in _step_folders(folder) if path.name <= target.name]
    kept = {*(path.name for path in until_now[-keep:]), _best_name(folder)}
    for path in _step_folders(folder):
        if path.name not in kept:
            shutil.rmtree(path)
    return Checkpoint(target, state)


def point_to_best(folder: Path, state: State) -> None:
    """Let ``best`` name the best step so far, also where a run was killed before it could."""
    if state.best_step is not None:
        write_atomically(folder / BEST, step_name(state.best_step) + "\n")


def step_name(step: int) -> str:
    """Of the folder of a step's checkpoint."""
    return f"step-{step:08d}"


def last_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest whole checkpoint, or None, and the damaged ones that are newer."""
    damaged: list[Damaged] = []
    for candidate in reversed(_step_folders(folder)):
        checkpoint = _read(candidate)
        if isinstance(checkpoint, Checkpoint):
            return checkpoint, damaged
        damaged.append(checkpoint)
    return None, damaged


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint with the best validation mIoU, or None.

    Raises:
      UserError: it is damaged.
    """
    name = _best_name(folder)
    checkpoint = _read(folder / name) if name else None
    if isinstance(checkpoint, Damaged):
        raise UserError(f"{checkpoint.folder}: {checkpoint.reason}; pass --checkpoint last, or train again")
    return checkpoint


def load_evaluated_weights(model: keras.Model, checkpoint: Checkpoint) -> None:
    """Load what a checkpoint's score was measured with: the averaged weights, if there are any."""
    average = checkpoint.folder / AVERAGE
    model.load_weights(average if average.is_file() else checkpoint.folder / WEIGHTS)


def _step_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _best_name(folder: Path) -> str:
    path = folder / BEST
    return path.read_text().strip() if path.is_file() else ""


def _read(folder: Path) -> Checkpoint | Damaged:
    try:
        state = State.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValueError):
        return Damaged(folder, f"{STATE} is missing or damaged")
    for name, digest in state.sha256.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            return Damaged(folder, f"{name} is missing or damaged")
    return Checkpoint(folder, state)
