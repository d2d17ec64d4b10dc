"""A moving average of a network's weights (EMA), which is what is evaluated and exported when it is on.

All weights are averaged, the moving statistics of batch normalisation too: those of the trained network are
not those of the averaged one. In the first steps the average follows faster, with a momentum of
min(m, (1 + t) / (10 + t)) at step t, as TensorFlow's ExponentialMovingAverage does when it is told the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """The averages of a network's weights; made in the scope of the strategy."""

    def __init__(self, network: keras.Model, momentum: float) -> None:
        self._weights, self._momentum = network.weights, momentum
        self._averages = [
            keras.Variable(weight, trainable=False, aggregation="only_first_replica", name=f"average_{number}")
            for number, weight in enumerate(self._weights)
        ]

    def update(self, step: tf.Tensor) -> None:
        """In a replica's context, after the weights moved; ``step`` counts from 0, int32 ()."""
        step = tf.cast(step, tf.float32)
        share = 1.0 - tf.minimum(self._momentum, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self._averages, self._weights, strict=True):
            average.assign(average + (weight - average) * tf.cast(share, weight.dtype))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network has the averaged weights; afterwards its own again, to the bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for average, weight in zip(self._averages, self._weights, strict=True):
            value = weight.numpy()
            weight.assign(average.numpy())
            average.assign(value)
