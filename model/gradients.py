"""Loss and gradients of one batch, on every replica of a distribution strategy.

The loss is made of sums: each replica adds up its own pixels' statistics, one place sums them over the
replicas, and the formula that finishes them is the same everywhere. The gradient of the whole is then the
sum of the replicas' own gradients, each weighted by the derivative of the formula; so two replicas do
exactly what one device does on the joined batch. The same holds for a batch that is taken in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf

from configs.taxonomy import IGNORE_ID
from model.losses import OnOutputs
from model.scored import Loss, Statistics, score

Nested = TypeVar("Nested")


class Objective(NamedTuple):
    """What is trained, and to which end."""

    network: keras.Model
    """Gives logits, or a list of them, the main ones first."""
    loss: Loss | OnOutputs
    """Of all replicas' pixels; `OnOutputs` for a list."""
    activation: str
    """The network's, applied inside the loss."""

    def statistics(self, images: tf.Tensor, masks: tf.Tensor) -> tuple[Statistics, tf.Tensor]:
        """The loss's sums over some images, in training, and the predicted ids, uint8 (b, h, w)."""
        outputs = self.network(images, training=True)
        main = keras.tree.flatten(outputs)[0]
        own = self.loss.statistics(
            keras.tree.map_structure(lambda logits: score(masks, logits, self.activation), outputs)
        )
        return own, tf.cast(tf.argmax(main, axis=-1), tf.uint8)


def loss_and_gradients(
    objective: Objective, images: tf.Tensor, masks: tf.Tensor, pieces: int = 1, scale: tf.Tensor | float = 1.0
) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
    """In a replica's context: the loss of all replicas' batch, this replica's part of its gradients, its predictions.

    The gradients of the whole are the sum of all replicas' parts; see `sum_gradients`.

    Args:
      objective: the network and its loss.
      images: float32 (b, h, w, 3), this replica's share.
      masks: uint8 (b, h, w).
      pieces: into how many parts the share is cut to need less memory. The sums of the whole come first, by
        as many passes without gradients; then each piece's gradient is that of the whole batch's loss. What a
        batch normalisation sees is the piece.
      scale: by which the gradients are multiplied, so that they do not vanish in float16.

    Returns:
      The loss, float32 (); gradients like the network's trainable variables; predicted ids, uint8 (b, h, w).
    """
    variables = [variable.value for variable in objective.network.trainable_variables]
    if pieces == 1:
        with tf.GradientTape() as tape:
            own, predicted = objective.statistics(images, masks)
        value, weights = _finish(objective.loss, own, scale)
        return value, tape.gradient(own, variables, output_gradients=weights), predicted
    cut = list(_cut(images, masks, pieces))
    sums = [own for own, _ in _undone(objective.network, lambda: [objective.statistics(*piece) for piece in cut])]
    value, weights = _finish(objective.loss, keras.tree.map_structure(lambda *parts: tf.add_n(parts), *sums), scale)
    gradients, predictions = [tf.zeros_like(variable) for variable in variables], []
    for piece in cut:
        # One piece after the other: at once they would take the memory of the whole.
        with tf.control_dependencies(gradients), tf.GradientTape() as tape:
            own, predicted = objective.statistics(*piece)
        parts = tape.gradient(own, variables, output_gradients=weights)
        gradients = [total + part for total, part in zip(gradients, parts, strict=True)]
        predictions.append(predicted)
    return value, gradients, tf.concat(predictions, axis=0)[: tf.shape(images)[0]]


def sum_over_replicas(statistics: Statistics) -> Statistics:
    """In a replica's context: each statistic summed over all replicas."""
    return {key: _all_reduce(value) for key, value in statistics.items()}


def sum_gradients(
    parts: Sequence[tf.Tensor], scale: tf.Tensor | float = 1.0, clip_norm: float | None = None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """In a replica's context: the whole batch's gradients, and their global norm before they were clipped to one.

    Args:
      parts: each replica's, times ``scale``.
      scale: as in `loss_and_gradients`; it is taken away.
      clip_norm: the largest norm of the sum, or None.
    """
    gradients = _all_reduce(list(parts))
    if not isinstance(scale, float) or scale != 1.0:
        gradients = [gradient / tf.cast(scale, gradient.dtype) for gradient in gradients]
    norm = tf.linalg.global_norm(gradients)
    if clip_norm is not None:
        factor = clip_norm / tf.maximum(norm, clip_norm)
        gradients = [gradient * factor for gradient in gradients]
    return gradients, norm


def _all_reduce(values: Nested) -> Nested:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def _finish(loss: Loss | OnOutputs, own: Statistics, scale: tf.Tensor | float) -> tuple[tf.Tensor, Statistics]:
    """The loss of the sums over all replicas, and its scaled derivative for each of them."""
    total = sum_over_replicas(own)
    with tf.GradientTape() as formula:
        formula.watch(total)
        value = loss.finish(total)
    weights = formula.gradient(value, total, unconnected_gradients="zero")
    return value, {key: weight * tf.cast(scale, weight.dtype) for key, weight in weights.items()}


def _cut(images: tf.Tensor, masks: tf.Tensor, pieces: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Pieces of about equal size, none of them empty: a batch of too few images is filled up with unscored ones."""
    missing = tf.maximum(pieces - tf.shape(images)[0], 0)
    images = tf.concat([images, tf.repeat(images[:1], missing, axis=0)], axis=0)
    masks = tf.pad(masks, [[0, missing], [0, 0], [0, 0]], constant_values=IGNORE_ID)
    count = tf.shape(images)[0]
    for number in range(pieces):
        some = slice(number * count // pieces, (number + 1) * count // pieces)
        yield images[some], masks[some]


def _undone(network: keras.Model, work: Callable[[], Nested]) -> Nested:
    """The result of some work, after which moving statistics and seeds are what they were before."""
    state = network.non_trainable_variables
    before = [tf.identity(variable.value) for variable in state]
    result = work()
    for variable, value in zip(state, before, strict=True):
        variable.assign(value)
    return result
