"""Benchmark of training: what the loader, the step and the augmentation take, and how long training waits for data.

    make bench-train          (or: python -m tests.bench_train)

For the demo's recipe and, where STREETMASK_CAMVID names its images, for CamVid's: the loader alone, the step on one
batch again and again without augmentation and with it, and a part of an epoch as `model.training` runs it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from beam_jobs.build_records import build
from beam_jobs.options import BuildOptions
from configs.commands import ArgumentParser, run_command, say
from configs.loading import load_config
from model.learner import Learner
from model.monitors import Waiting
from model.recipe import Recipe, network_stride
from pipelines.augment import AugmentOptions
from pipelines.dataset import Records, open_records
from pipelines.input import training_batches
from tests.bench_report import Bar, Report

NOTHING = AugmentOptions(recipe="none")
MOST_WAIT_PERCENT = 2.0


def make_step(recipe: Recipe, records: Records, augmentation: AugmentOptions) -> Callable[[Any, int], float]:
    """A function of (batch, number) that trains one step of a fresh network as `model.training` does."""
    learner = Learner(recipe, records.manifest, tf.distribute.get_strategy(), 1000, goes_on=False)
    step = learner.make_step(first_epoch(recipe, records).element_spec, augmentation)
    return lambda batch, number: float(step(batch, tf.constant(number, tf.int32)).loss)


def first_epoch(recipe: Recipe, records: Records) -> tf.data.Dataset:
    """The batches of the first epoch."""
    options, stride = recipe.train, network_stride(recipe.model)
    return training_batches(
        records, recipe.data, lambda: (0, 0), batch_size=options.batch_size, stride=stride, seed=options.seed
    )


def loader_pace(recipe: Recipe, records: Records) -> float:
    """Images a second of one epoch that nobody trains on, its start included."""
    started = time.perf_counter()
    images = sum(len(images) for images, _ in first_epoch(recipe, records))
    return images / (time.perf_counter() - started)


def step_pace(recipe: Recipe, records: Records, augmentation: AugmentOptions, steps: int) -> float:
    """Images a second of the step on one batch; its tracing is not counted."""
    step, batch = make_step(recipe, records, augmentation), next(iter(first_epoch(recipe, records)))
    step(batch, 0)
    started = time.perf_counter()
    for number in range(1, steps + 1):
        step(batch, number)
    return steps * len(batch[0]) / (time.perf_counter() - started)


def training_pace(recipe: Recipe, records: Records, steps: int) -> tuple[float, float]:
    """Images a second of an epoch's first steps, and percent of their time spent waiting; the epoch's start counts."""
    step, batches = make_step(recipe, records, recipe.augment), first_epoch(recipe, records)
    step(next(iter(batches)), 0)
    started, images = time.perf_counter(), 0
    waiting = Waiting(batches.take(steps))
    for number, batch in enumerate(waiting):
        step(batch, number)
        images += len(batch[0])
    seconds = time.perf_counter() - started
    return images / seconds, 100 * waiting.seconds / seconds


def measure(report: Report, name: str, recipe: Recipe, records: Records, steps: int) -> None:
    """The rows and the bar of one recipe."""
    loader = loader_pace(recipe, records)
    plain, augmented = (step_pace(recipe, records, ops, steps) for ops in (NOTHING, recipe.augment))
    whole, wait = training_pace(recipe, records, 2 * steps)
    for what, value in {
        "loader alone": loader,
        "step without augmentation": plain,
        "step with it": augmented,
        f"end to end, {wait:.2f} % of the time waiting for data": whole,
    }.items():
        report.row(f"{name}: {what}", f"{value:.1f}", f"{value / plain:.2f}")
    report.bar(Bar(f"wait_{name}", wait, MOST_WAIT_PERCENT, at_most=True))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write the report."""
    parser = ArgumentParser(prog="python -m tests.bench_train", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/bench/train"), help="for records")
    parser.add_argument("--steps", type=int, default=12, help="of each measurement; end to end twice as many")
    options = parser.parse_args(argv)
    report = Report("Training", f"python -m tests.bench_train --steps {options.steps}` (`make bench-train`)")
    build(BuildOptions(output=options.folder / "demo"))
    recipes = {"demo": load_config(Recipe, Path("configs/demo.yaml"))}
    if os.environ.get("STREETMASK_CAMVID"):
        camvid = load_config(
            BuildOptions, Path("configs/camvid_build.yaml"), flags={"output": options.folder / "camvid"}
        )
        build(camvid)
        recipes["camvid"] = load_config(Recipe, Path("configs/camvid_unet.yaml"))
    for name, recipe in recipes.items():
        measure(report, name, recipe, open_records(options.folder / name), options.steps)
    report.write(Path("docs/performance.md"))
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))
