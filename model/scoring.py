"""Scoring a split: its exact confusion matrix and loss, at the masks' own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from model.boundary import BoundaryIoU
from model.losses import iou_score
from model.metrics import ConfusionMatrix, mean_iou
from model.recipe import Recipe, network_stride
from model.scored import Loss, Statistics
from model.steps import distribute, make_scoring_step
from model.workers import Workers
from pipelines.dataset import Records
from pipelines.input import evaluation_batches, make_fitting


class Score(NamedTuple):
    """Of a whole split at once: int64 (classes, classes) counts, rows are the truth; loss; the library's iou_score."""

    confusion: np.ndarray
    loss: float
    iou_score: float

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur."""
        return mean_iou(self.confusion)


class Scorer:
    """Scores one split as often as wanted; its step is compiled once."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: keras.Model,
        loss: Loss,
        recipe: Recipe,
        records: Records,
        split: str,
    ) -> None:
        """``network`` gives logits and was built in the strategy's scope."""
        workers = Workers.of(strategy)
        fitting = make_fitting(records.manifest, recipe.data, network_stride(recipe.model))
        batches = evaluation_batches(
            records,
            split,
            fitting,
            batch_size=recipe.train.batch_size,
            replicas=workers.replicas,
            worker=workers.number,
            workers=workers.total,
        )
        self._batches = distribute(strategy, batches)
        with strategy.scope():
            self._confusion = ConfusionMatrix(len(records.manifest.taxonomy.classes))
        self._scores = {"loss": loss, "iou_score": iou_score}
        self._step = make_scoring_step(
            strategy,
            network,
            self._scores,
            recipe.model.activation,
            fitting,
            self._confusion,
            self._batches.element_spec,
        )

    def __call__(self, on_batch: Callable[[], object] = lambda: None, boundary: BoundaryIoU | None = None) -> Score:
        """Score the whole split; ``on_batch`` is called after each batch, and ``boundary`` counts its images."""
        self._confusion.reset_state()
        totals: dict[str, Statistics] = {name: {} for name in self._scores}
        for batch in self._batches:
            statistics, images = self._step(batch)
            for name, total in totals.items():
                for key, value in statistics[name].items():
                    # In float64: single batches are float32 sums, their sum over a split must not round.
                    total[key] = total.get(key, 0.0) + tf.cast(value, tf.float64)
            if boundary:
                for masks, predicted in images:
                    boundary.update(masks.numpy(), predicted.numpy())
            on_batch()
        values = {
            name: float(loss.finish(totals[name])) if totals[name] else 0.0 for name, loss in self._scores.items()
        }
        return Score(self._confusion.counts(), **values)
