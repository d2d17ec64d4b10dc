"""One training step and one scoring step, on every replica of a distribution strategy.

The loss is made of sums: each replica adds up its own pixels' statistics, one place sums them over the
replicas, and the formula that finishes them is the same everywhere. The gradient of the whole is then the
sum of the replicas' own gradients, each weighted by the derivative of the formula; so two replicas do
exactly what one device does on the joined batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from model.losses import OnOutputs
from model.metrics import ConfusionMatrix
from model.scored import Loss, Statistics, score
from pipelines.augment import Augmentation, AugmentOptions
from pipelines.fitting import Fitting, content_size_of, unfit
from pipelines.random_key import RandomKey

Batch = tuple[tf.Tensor, tf.Tensor]


def loss_and_gradients(
    network: keras.Model, loss: Loss | OnOutputs, activation: str, images: tf.Tensor, masks: tf.Tensor
) -> tuple[tf.Tensor, list[tf.Tensor], tf.Tensor]:
    """In a replica's context: the loss of all replicas' batch, this replica's part of its gradients, its main logits.

    The gradients of the whole are the sum of all replicas' parts, which Keras' optimizers take themselves.

    Args:
      network: gives logits, or a list of them, the main ones first.
      loss: of all replicas' pixels; `OnOutputs` for a list.
      activation: the network's, applied inside the loss.
      images: float32 (b, h, w, 3), this replica's share.
      masks: uint8 (b, h, w).
    """
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = network(images, training=True)
        own = loss.statistics(keras.tree.map_structure(lambda logits: score(masks, logits, activation), outputs))
    total = sum_over_replicas(own)
    with tf.GradientTape() as formula:
        formula.watch(total)
        value = loss.finish(total)
    weights = formula.gradient(value, total, unconnected_gradients="zero")
    gradients = tape.gradient(own, variables, output_gradients=weights)
    return value, gradients, keras.tree.flatten(outputs)[0]


def sum_over_replicas(statistics: Statistics) -> Statistics:
    """In a replica's context: each statistic summed over all replicas."""
    context = tf.distribute.get_replica_context()
    return {key: context.all_reduce(tf.distribute.ReduceOp.SUM, value) for key, value in statistics.items()}


def make_training_step(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: Loss | OnOutputs,
    activation: str,
    augmentation: AugmentOptions,
    seed: int,
    confusion: ConfusionMatrix,
    batch_spec: Any,
) -> Callable[[Any, tf.Tensor], tf.Tensor]:
    """A compiled function of (distributed batch, step) that trains once and gives the loss."""
    augment = Augmentation(augmentation)

    def replica_step(batch: Batch, step: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        images, masks = augment(*batch, RandomKey(seed, step, replica))
        value, gradients, logits = loss_and_gradients(network, loss, activation, images, masks)
        optimizer.apply(gradients, network.trainable_variables)
        confusion.update_state(masks, logits)
        return value

    # One trace for full and last batches: the signature leaves the batch's size open. XLA is off: it makes the
    # network slower on CPUs. The augmentation compiles its own two loops.
    @tf.function(input_signature=[batch_spec, tf.TensorSpec([], tf.int32)], jit_compile=False)
    def training_step(batch: Any, step: tf.Tensor) -> tf.Tensor:
        _seed_dropout(network, seed, step)
        values = strategy.run(replica_step, args=(batch, step))
        return strategy.experimental_local_results(values)[0]

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
