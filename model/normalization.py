"""Batch normalisation in one fused TensorFlow kernel while training; Keras 3 composes it of a dozen operations.

The one place in the networks that knows a backend. It pays a tenth of UNET's training step on the CPU
(docs/performance.md). Over the replicas of a strategy there is no such kernel; there, sums and count of a layer go
through one reduction where Keras has three, for TensorFlow walks through the graph to trace each. On other
backends, on one device in float64, and out of training it is Keras' own layer, of which it has the name, the
configuration, the weights and the values.
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
        if not training or not self.trainable or mask is not None or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        if self.synchronized and _replicas() > 1:
            return self._over_replicas(inputs)
        if self.synchronized or len(inputs.shape) != 4 or keras.backend.standardize_dtype(inputs.dtype) not in _FUSED:
            return super().call(inputs, training=training)
        return self._fused(inputs)

    def _fused(self, inputs: Any) -> Any:
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=self.gamma if self.scale else ops.ones_like(self.moving_mean),
            offset=self.beta if self.center else ops.zeros_like(self.moving_mean),
            epsilon=self.epsilon,
        )
        # The kernel's variance is the unbiased one, n / (n − 1) times that of the batch, which Keras keeps.
        count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * ((count - 1) / count))
        return outputs

    def _over_replicas(self, inputs: Any) -> Any:
        import tensorflow as tf

        # Half the digits are not enough for sums of squares.
        values = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axes = list(range(len(inputs.shape) - 1))
        count = ops.cast(ops.size(values) // inputs.shape[-1], values.dtype)
        local = tf.concat([tf.reduce_sum(values, axes), tf.reduce_sum(tf.square(values), axes), [count]], axis=0)
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, local)
        mean, square = tf.split(total[:-1] / total[-1], 2)
        variance = tf.maximum(square - tf.square(mean), 0.0)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance)
        outputs = ops.batch_normalization(
            values,
            mean,
            variance,
            axis=-1,
            offset=ops.cast(self.beta, values.dtype) if self.center else None,
            scale=ops.cast(self.gamma, values.dtype) if self.scale else None,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)

    def _follow(self, moving: keras.Variable, value: Any) -> None:
        moving.assign(moving * self.momentum + value * (1.0 - self.momentum))


def _replicas() -> int:
    """Of the strategy in whose replica this is called; 1 without one."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1
