"""One training step and one scoring step, compiled, on every replica of a distribution strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from model.averaging import WeightAverage
from model.gradients import Objective, loss_and_gradients, sum_gradients, sum_over_replicas
from model.loss_scale import SMALLEST, LossScale
from model.metrics import ConfusionMatrix
from model.recipe import TrainOptions
from model.scored import Loss, Statistics, score
from pipelines.augment import Augmentation, AugmentOptions
from pipelines.fitting import Fitting, content_size_of, unfit
from pipelines.random_key import RandomKey

Batch = tuple[tf.Tensor, tf.Tensor]


class Trained(NamedTuple):
    """What a training step says of itself."""

    loss: tf.Tensor
    """float32 (), of the whole batch."""
    gradient_norm: tf.Tensor
    """float32 (), before it was clipped."""
    left_out: tf.Tensor
    """bool (): gradients were too large for float16, and the step was left out and the loss scale halved."""


def make_training_step(
    strategy: tf.distribute.Strategy,
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    augmentation: AugmentOptions,
    options: TrainOptions,
    confusion: ConfusionMatrix,
    batch_spec: Any,
    loss_scale: LossScale | None = None,
    average: WeightAverage | None = None,
) -> Callable[[Any, tf.Tensor], Trained]:
    """A compiled function of (distributed batch, step) that trains once."""
    augment, network = Augmentation(augmentation), objective.network

    def find_gradients(batch: Batch, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        images, masks = augment(*batch, RandomKey(options.seed, step, replica))
        scale = loss_scale.value if loss_scale else 1.0
        value, parts, predicted = loss_and_gradients(objective, images, masks, options.accumulate, scale)
        confusion.update_state(masks, predicted)
        gradients, norm = sum_gradients(parts, scale, options.clip_norm)
        return value, norm, gradients

    def move(gradients: list[tf.Tensor], step: tf.Tensor) -> None:
        optimizer.apply(gradients, network.trainable_variables)
        if average:
            average.update(step)

    # One trace for full and last batches: the signature leaves the batch's size open. XLA is off: it makes the
    # network slower on CPUs. The augmentation compiles its own two loops.
    @tf.function(input_signature=[batch_spec, tf.TensorSpec([], tf.int32)], jit_compile=False)
    def training_step(batch: Any, step: tf.Tensor) -> Trained:
        _seed_dropout(network, options.seed, step)
        values, norms, gradients = strategy.run(find_gradients, args=(batch, step))
        value, norm = (strategy.experimental_local_results(each)[0] for each in (values, norms))
        if loss_scale is None:
            strategy.run(move, args=(gradients, step))
            return Trained(value, norm, tf.constant(False))
        finite = tf.math.is_finite(norm)

        def moved() -> tf.Tensor:
            strategy.run(move, args=(gradients, step))
            return tf.constant(True)

        tf.cond(finite, moved, lambda: tf.constant(False))
        # At the smallest scale it is not the scale that made them infinite.
        left_out = ~finite & (loss_scale.value > SMALLEST)
        loss_scale.update(finite)
        return Trained(value, norm, left_out)

    return training_step


def _seed_dropout(network: keras.Model, seed: int, step: tf.Tensor) -> None:
    """Make what the network itself draws at random a function of (seed, step), so that a resumed run repeats it.

    Keras saves the states of its seed generators nowhere. All replicas draw the same numbers.
    """
    saved = {id(variable) for variable in network.weights}
    states = [variable for variable in network.variables if id(variable) not in saved]
    for number, state in enumerate(states):
        state.assign(tf.stack([tf.cast((seed + number * 1_000_003) % 2**32, tf.uint32), tf.cast(step, tf.uint32)]))


def make_scoring_step(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    scores: Mapping[str, Loss],
    activation: str,
    fitting: Fitting,
    confusion: ConfusionMatrix,
    batch_spec: Any,
) -> Callable[[Any], tuple[dict[str, Statistics], list[Batch]]]:
    """A compiled function of a distributed batch that counts its pixels.

    It gives the statistics of each of ``scores``, by their names, and each replica's masks and predicted ids,
    uint8 (b, H, W). The network's logits are brought to the masks' own size first.
    """

    def replica_step(batch: Batch) -> tuple[dict[str, Statistics], tf.Tensor, tf.Tensor]:
        images, masks = batch
        logits = at_own_size(network, images, fitting, masks)
        confusion.update_state(masks, logits)
        scored = score(masks, logits, activation)
        statistics = {name: sum_over_replicas(loss.statistics(scored)) for name, loss in scores.items()}
        return statistics, masks, tf.cast(tf.argmax(logits, axis=-1), tf.uint8)

    @tf.function(input_signature=[batch_spec], jit_compile=False)
    def scoring_step(batch: Any) -> tuple[dict[str, Statistics], list[Batch]]:
        statistics, *images = strategy.run(replica_step, args=(batch,))
        first = {
            name: {key: strategy.experimental_local_results(value)[0] for key, value in sums.items()}
            for name, sums in statistics.items()
        }
        return first, list(zip(*map(strategy.experimental_local_results, images), strict=True))

    return scoring_step


def at_own_size(network: keras.Model, images: tf.Tensor, fitting: Fitting, like: tf.Tensor) -> tf.Tensor:
    """Logits (b, H, W, C) at the size of ``like`` (b, H, W), for images that were fitted."""
    logits = network(tf.cast(images, tf.float32), training=False)
    return unfit(logits, content_size_of(like, fitting), tf.shape(like)[1:3])


def distribute(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Any:
    """A data set whose elements are replicas' shares, in turn, as one of distributed batches."""
    if strategy.num_replicas_in_sync == 1:
        return batches
    return strategy.distribute_datasets_from_function(lambda _: batches)
