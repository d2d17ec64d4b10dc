"""A run's folder: what was trained on what, its checkpoints, curves and report.

runs/<name>/config.yaml         the recipe as it was used
            manifest.json       of the records, so that evaluate and predict know classes and colours
            environment.json    versions, machine, devices, command line
            checkpoints/step-00000120/{model.weights.h5, state.json}, best
            tensorboard/, metrics.csv, report/
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import keras

from configs.commands import UserError, did_you_mean
from configs.loading import differences, dump_yaml, load_config
from configs.lock import is_held
from model.checkpoints import Checkpoint, best_checkpoint, last_checkpoint, load_evaluated_weights
from model.environment import environment
from model.recipe import Recipe, build_network
from pipelines.files import write_atomically, write_json
from pipelines.manifest import Manifest, read_manifest, write_manifest

RUNS = Path("runs")
CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"


class Run(NamedTuple):
    """An opened run folder."""

    folder: Path
    recipe: Recipe
    manifest: Manifest

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"


def open_run(folder: Path) -> Run:
    """Open a run's folder.

    Raises:
      UserError: it is missing or no run.
    """
    if not (folder / CONFIG).is_file():
        beside = [str(path.parent) for path in folder.parent.glob(f"*/{CONFIG}")] if folder.parent.is_dir() else []
        raise UserError(f"--run {folder}: no run here ({CONFIG} is missing){did_you_mean(str(folder), beside)}")
    return Run(folder, load_config(Recipe, folder / CONFIG), read_manifest(folder))


def create_run(run: Run) -> None:
    """Make the folder of a new run, whole or not at all; whatever run was there is removed."""
    folder = Path(os.path.abspath(run.folder))
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write_manifest(temporary, run.manifest)
    write_json(temporary / ENVIRONMENT, environment())
    write_recipe(temporary, run.recipe)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write a run's recipe, also that of one which goes on for more epochs than it began with."""
    write_atomically(folder / CONFIG, dump_yaml(recipe))


def choose_folder(name: str, folder: Path | None, resume: bool, overwrite: bool) -> Path:
    """The folder for a training run by what the user asked for.

    Without ``--run`` a new run takes the next free default name, and ``--resume`` the one with the highest number.

    Raises:
      UserError: the named folder exists and the user said neither to resume nor to overwrite.
    """
    if folder is None:
        taken = [RUNS / name, *(RUNS / f"{name}_{number}" for number in range(2, 1000))]
        if resume:
            return next((path for path in reversed(taken) if path.exists()), taken[0])
        free = (path for path in taken if not path.exists() and not is_held(path))
        return taken[0] if overwrite else next(free)
    if folder.exists() and not (resume or overwrite):
        raise UserError(f"--run {folder}: exists; pass --resume to go on or --overwrite to start again")
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--run {folder}: exists and is no run; choose another folder")
    return folder


def check_same_recipe(run: Run, recipe: Recipe, manifest: Manifest) -> None:
    """A resumed run must be the run it was, but for how long it trains.

    Raises:
      UserError: another recipe or other records, with the difference.
    """
    old, new = run.recipe.model_dump(mode="json"), recipe.model_dump(mode="json")
    for dump in (old, new):
        del dump["train"]["epochs"]
        del dump["name"]
    changed = differences(old, new)
    if changed:
        listed = ", ".join(f"{key}: {before!r} -> {after!r}" for key, (before, after) in changed.items())
        raise UserError(
            f"--resume {run.folder}: the recipe changed ({listed}); only train.epochs may change. "
            "Take the old values, or start another --run"
        )
    if run.manifest.plan_digest != manifest.plan_digest:
        raise UserError(f"--resume {run.folder}: it was trained on other records than {recipe.data.records} holds now")


def load_network(run: Run, which: str = "best") -> tuple[keras.Model, Checkpoint]:
    """The run's network with the weights of its ``best`` or ``last`` checkpoint.

    Raises:
      UserError: there is no checkpoint yet, or the best one is damaged.
    """
    checkpoint = best_checkpoint(run.checkpoints) if which == "best" else last_checkpoint(run.checkpoints)[0]
    if checkpoint is None:
        raise UserError(f"--run {run.folder}: has no {which} checkpoint yet; train it first")
    options = run.recipe.model.model_copy(update={"encoder_weights": None})
    model = build_network(options, len(run.manifest.taxonomy.classes))
    load_evaluated_weights(model, checkpoint)
    return model, checkpoint
