"""AdamW whose update of a variable is one TensorFlow kernel; Keras 3 composes it of a dozen operations.

Less memory, because the composed update holds several copies of every variable, and less time (docs/performance.md).
State, configuration and values are Keras' own. For TensorFlow alone, as the training loop is.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("streetmask")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, fused but for ``amsgrad``. Gradients are dense."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move a variable and its two moments; called in the update context of a strategy, on each replica."""
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index, kind = self._get_variable_index(variable), variable.dtype
        if self.weight_decay is not None and self._use_weight_decay(variable):
            # Not before its gradient is there: done for all variables at once, decay holds a copy of the network.
            with tf.control_dependencies([gradient]):
                variable.assign_sub(variable * tf.cast(self.weight_decay * learning_rate, kind))
        steps = tf.cast(self.iterations.value + 1, kind)
        beta_1, beta_2 = tf.cast(self.beta_1, kind), tf.cast(self.beta_2, kind)
        tf.raw_ops.ResourceApplyAdam(
            var=_tensorflow_variable(variable).handle,
            m=_tensorflow_variable(self._momentums[index]).handle,
            v=_tensorflow_variable(self._velocities[index]).handle,
            beta1_power=beta_1**steps,
            beta2_power=beta_2**steps,
            lr=tf.cast(learning_rate, kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, kind),
            grad=tf.cast(gradient, kind),
        )

    def _apply_weight_decay(self, variables: Any) -> None:
        """`update_step` does it, but where that is Keras'."""
        if self.amsgrad:
            super()._apply_weight_decay(variables)


def _tensorflow_variable(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable
