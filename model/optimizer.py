"""The optimizers: Keras' own AdamW and SGD with what a training loop over replicas needs besides.

Both scale the *update* of chosen variables, for under Adam a scaled gradient changes nothing; and both take gradients
that are sums over all replicas already, so that these can be clipped by the norm of the whole batch's gradient. Keras
clips each replica's part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from model.recipe import TrainOptions, encoder_variables
from model.schedules import LearningRate

# Biases and the scales and offsets of normalisation are few and free: decaying them only slows training.
NOT_DECAYED = ("bias", "gamma", "beta")


class _Updates:
    """What both optimizers do otherwise than Keras'."""

    gradients_are_summed = False
    """Over the replicas, when they come to ``apply``. Otherwise each replica brings its part, as with Keras."""

    def scale_updates(self: Any, variables: Iterable[keras.Variable], factor: float) -> None:
        """Multiply the learning rate of some variables; the optimizer is built."""
        self._factors = {self._get_variable_index(variable): factor for variable in variables}

    def _rate(self: Any, variable: Any, learning_rate: Any) -> Any:
        return learning_rate * getattr(self, "_factors", {}).get(self._get_variable_index(variable), 1.0)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        if self.gradients_are_summed:
            return list(grads_and_vars)
        return super()._all_reduce_sum_gradients(grads_and_vars)  # type: ignore[misc]


@keras.saving.register_keras_serializable("streetmask")
class AdamW(_Updates, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, fused but for ``amsgrad``. Gradients are dense.

    The update of a variable is one TensorFlow kernel; Keras 3 composes it of a dozen operations, with several copies
    of every variable at a time (docs/performance.md). State, configuration and values are Keras' own.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move a variable and its two moments; called in the update context of a strategy, on each replica."""
        learning_rate = self._rate(variable, learning_rate)
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


@keras.saving.register_keras_serializable("streetmask")
class SGD(_Updates, keras.optimizers.SGD):
    """`keras.optimizers.SGD` whose weight decay is part of the gradient (L2), and so of the momentum.

    That is the decay of the published recipes, "SGD, momentum 0.9, weight decay 1e-4"; with Keras', which moves the
    weights beside the momentum, the same number decays ten times less.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move a variable and its momentum; called in the update context of a strategy, on each replica."""
        if self.weight_decay is not None and self._use_weight_decay(variable):
            gradient = gradient + variable * tf.cast(self.weight_decay, variable.dtype)
        super().update_step(gradient, variable, self._rate(variable, learning_rate))

    def _apply_weight_decay(self, variables: Any) -> None:
        """`update_step` does it."""


def _tensorflow_variable(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def build_optimizer(options: TrainOptions, steps: int, network: keras.Model) -> AdamW | SGD:
    """The recipe's optimizer for a network's variables, its learning rate over ``steps`` steps in all.

    It takes gradients that are summed over the replicas, as `model.gradients.sum_gradients` gives them.
    """
    rate = LearningRate(options.learning_rate, steps, options.warmup_steps, options.schedule)
    optimizer = (
        AdamW(rate, weight_decay=options.weight_decay)
        if options.optimizer == "adamw"
        else SGD(rate, momentum=options.momentum, weight_decay=options.weight_decay)
    )
    optimizer.gradients_are_summed = True
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    optimizer.build(network.trainable_variables)
    if options.encoder_learning_rate_factor != 1.0:
        optimizer.scale_updates(encoder_variables(network), options.encoder_learning_rate_factor)
    return optimizer
