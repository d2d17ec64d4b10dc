"""Scoring a split: its exact confusion matrix and loss, at the masks' own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from model.metrics import ConfusionMatrix, mean_iou
from model.recipe import Recipe, network_stride
from model.scored import Loss, Statistics
from model.steps import distribute, make_scoring_step
from pipelines.input import Records, evaluation_batches, network_size


class Score(NamedTuple):
    """int64 (classes, classes) counts, rows are the truth, and the loss of the whole split at once."""

    confusion: np.ndarray
    loss: float

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
        size = network_size(records.manifest, recipe.data.size)
        batches = evaluation_batches(
            records,
            split,
            size,
            batch_size=recipe.train.batch_size,
            stride=network_stride(recipe.model),
            replicas=strategy.num_replicas_in_sync,
        )
        self._batches = distribute(strategy, batches)
        with strategy.scope():
            self._confusion = ConfusionMatrix(len(records.manifest.taxonomy.classes))
        self._loss = loss
        self._step = make_scoring_step(
            strategy, network, loss, recipe.model.activation, size, self._confusion, self._batches.element_spec
        )

    def __call__(self, on_batch: Callable[[], object] = lambda: None) -> Score:
        """Score the whole split; ``on_batch`` is called after each batch."""
        self._confusion.reset_state()
        total: Statistics = {}
        for batch in self._batches:
            for key, value in self._step(batch).items():
                # In float64: single batches are float32 sums, their sum over a split must not round.
                total[key] = total.get(key, 0.0) + tf.cast(value, tf.float64)
            on_batch()
        return Score(self._confusion.counts(), float(self._loss.finish(total)) if total else 0.0)
