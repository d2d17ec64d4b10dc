"""Batch normalisation in one fused TensorFlow kernel while training; Keras 3 composes it of a dozen operations.

The one place in the networks that knows a backend. It pays a tenth of UNET's training step on the CPU
(docs/performance.md). On other backends, in float64, over the replicas of a strategy, and out of training it is Keras'
own layer, of which it has the name, the configuration, the weights and the values.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

_FUSED = ("float32", "float16", "bfloat16")


@keras.saving.register_keras_serializable("streetmask")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, faster; it bears the name by which checkpoints know that layer."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (B, H, W, C) over all but the channels; moving statistics follow while training."""
        if not (training and self.trainable and mask is None and self._fusable(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=self.gamma if self.scale else ops.ones_like(self.beta),
            offset=self.beta,
            epsilon=self.epsilon,
        )
        # The kernel's variance is the unbiased one, n / (n − 1) times that of the batch, which Keras keeps.
        count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * ((count - 1) / count))
        return outputs

    def _follow(self, moving: keras.Variable, value: Any) -> None:
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))

    def _fusable(self, inputs: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and not self.synchronized
            and len(inputs.shape) == 4
            and keras.backend.standardize_dtype(inputs.dtype) in _FUSED
        )
