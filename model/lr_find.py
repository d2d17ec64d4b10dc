"""A learning rate range test: a short run whose rate rises from step to step, and where its loss fell fastest.

Nothing of it is kept. The rate rises by the same factor each step; the loss is smoothed; the test ends when the
smoothed loss is four times its least. Reference: Smith, "Cyclical learning rates for training neural networks", 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice, pairwise, repeat
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from configs.commands import RunError, progress_bar, say
from model.learner import Learner
from model.recipe import Recipe
from model.steps import distribute
from model.training import recipe_batches
from model.workers import Workers
from pipelines.dataset import Records

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
SMOOTHING, GIVE_UP = 0.9, 4.0
ROWS, BAR = 20, 40


class Point(NamedTuple):
    """A step of the test."""

    rate: float
    loss: float


class _Rising(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step: Any) -> Any:
        return LOWEST * (HIGHEST / LOWEST) ** (tf.cast(step, tf.float32) / (STEPS - 1))


def find_learning_rate(recipe: Recipe, records: Records, strategy: tf.distribute.Strategy) -> float:
    """Run the test, show it as a table, and return the rate at which the loss fell fastest.

    Raises:
      RunError: the loss never fell.
    """
    points = smoothed(_losses(recipe, records, strategy))  # the same ones on all workers
    if Workers.of(strategy).first:
        for line in table(points):
            say(line)
    return steepest(points)


def smoothed(losses: Iterable[Point]) -> list[Point]:
    """The test's points, until the smoothed loss has grown too much."""
    points: list[Point] = []
    average = 0.0
    for step, (rate, loss) in enumerate(losses):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        value = average / (1 - SMOOTHING ** (step + 1))
        least = min((point.loss for point in points), default=math.inf)
        if not math.isfinite(value) or value > GIVE_UP * least:
            break
        points.append(Point(rate, value))
    return points


def steepest(points: Sequence[Point]) -> float:
    """The rate at which the smoothed loss fell most from one step to the next.

    Raises:
      RunError: it never fell.
    """
    falls = [(after.loss - before.loss, after.rate) for before, after in pairwise(points)]
    fall, rate = min(falls, default=(0.0, 0.0))
    if fall >= 0:
        raise RunError("--lr-find: the loss never fell; try --overfit-one-batch to see whether anything is learnt")
    return rate


def table(points: Sequence[Point]) -> Iterator[str]:
    """Some of the points, with a bar as long as the loss."""
    most = max((point.loss for point in points), default=1.0)
    yield "learning rate    loss"
    for point in points[:: max(len(points) // ROWS, 1)]:
        yield f"{point.rate:13.1e}  {point.loss:6.3f}  {'=' * round(BAR * point.loss / most)}"


def _losses(recipe: Recipe, records: Records, strategy: tf.distribute.Strategy) -> Iterator[Point]:
    """Each step's rate and loss; a step that float16 leaves out does not raise the rate."""
    learner = Learner(recipe, records.manifest, strategy, STEPS, goes_on=False)
    learner.optimizer.learning_rate = _Rising()
    epochs = count()
    batches = distribute(strategy, recipe_batches(recipe, records, Workers.of(strategy), lambda: (next(epochs), 0)))
    step = learner.make_step(batches.element_spec, recipe.augment)
    with progress_bar(STEPS, "step", "learning rates") as bar:
        for number, batch in enumerate(islice(chain.from_iterable(repeat(batches)), STEPS)):
            rate = learner.learning_rate
            loss = float(step(batch, tf.constant(number, tf.int32)).loss)
            bar.update(1)
            yield Point(rate, loss)
