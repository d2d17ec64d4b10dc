"""Loss scaling for float16, whose smallest number is larger than many a gradient.

The loss, and so every gradient, is multiplied by a power of two that is as large as it can be without overflow: a step
whose gradients are not finite is left out and halves the scale, and 2,000 good ones in a row double it.

Reference: Micikevicius et al., "Mixed precision training", 2018.
"""

from __future__ import annotations

import tensorflow as tf

FIRST, SMALLEST = 2.0**15, 1.0
GROWTH_STEPS = 2000


class LossScale:
    """The scale and the number of good steps since it last changed; made in the scope of the strategy."""

    def __init__(self) -> None:
        options = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self._scale = tf.Variable(FIRST, dtype=tf.float32, **options)
        self._good_steps = tf.Variable(0, dtype=tf.int32, **options)

    @property
    def value(self) -> tf.Tensor:
        """float32 (): what gradients are multiplied by."""
        return tf.convert_to_tensor(self._scale)

    def state(self) -> tuple[float, int]:
        """Both numbers, for a checkpoint."""
        return float(self._scale.numpy()), int(self._good_steps.numpy())

    def set_state(self, scale: float, good_steps: int) -> None:
        """Go on from a checkpoint's."""
        self._scale.assign(scale)
        self._good_steps.assign(good_steps)

    def update(self, finite: tf.Tensor) -> None:
        """In the strategy's own context, after a step: whether its gradients were finite, bool ()."""
        good_steps = tf.where(finite, self._good_steps + 1, 0)
        grow = good_steps >= GROWTH_STEPS
        factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
        self._scale.assign(tf.maximum(self._scale * factor, SMALLEST))
        self._good_steps.assign(tf.where(grow, 0, good_steps))
