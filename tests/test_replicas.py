"""Any number of replicas, and of pieces of a batch, trains as one device does on the joined batch."""

from __future__ import annotations

import numpy as np
import pytest

CLASSES, HEIGHT, WIDTH, STEPS = 4, 32, 64, 20


def make_batches(count, images=4):
    """Batches with nearly all pixels of the first half ignored, and none of the second."""
    random = np.random.default_rng(3)
    for _ in range(count):
        colours = random.integers(0, 256, (images, HEIGHT, WIDTH, 3), dtype=np.uint8)
        masks = random.integers(0, CLASSES, (images, HEIGHT, WIDTH), dtype=np.uint8)
        masks[: images // 2][random.random((images // 2, HEIGHT, WIDTH)) < 0.95] = 255
        yield colours, masks


def shares_of(strategy, batch):
    """The batch as a distributed value: each replica has its slice."""
    import tensorflow as tf

    replicas = strategy.num_replicas_in_sync
    cut = list(zip(*(np.split(part, replicas) for part in batch), strict=True))
    return strategy.experimental_distribute_values_from_function(
        lambda context: tuple(tf.constant(part) for part in cut[context.replica_id_in_sync_group])
    )


def train_in_float64(strategy, **options):
    """Losses, final weights and confusion matrix of some steps of a small network that computes in float64."""
    import keras
    import tensorflow as tf

    from model.gradients import Objective
    from model.losses import cce_dice_loss
    from model.metrics import ConfusionMatrix
    from model.normalization import BatchNormalization
    from model.optimizer import build_optimizer
    from model.recipe import TrainOptions
    from model.steps import make_training_step
    from pipelines.augment import AugmentOptions

    keras.utils.set_random_seed(5)
    train = TrainOptions(**{"warmup_steps": 4, "learning_rate": 1e-3, **options})
    keras.config.set_dtype_policy("float64")
    try:
        with strategy.scope():
            synchronized = strategy.num_replicas_in_sync > 1
            # Small, because each synchronized normalisation makes tracing a step much slower.
            model = keras.Sequential(
                [
                    keras.layers.Input((HEIGHT, WIDTH, 3)),
                    BatchNormalization(synchronized=synchronized),
                    keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
                    BatchNormalization(synchronized=synchronized),
                    keras.layers.Conv2D(CLASSES, 3, padding="same"),
                ]
            )
            optimizer, confusion = build_optimizer(train, STEPS, model), ConfusionMatrix(CLASSES)
    finally:
        keras.config.set_dtype_policy("float32")
    batches = list(make_batches(STEPS))
    step = make_training_step(
        strategy,
        Objective(model, cce_dice_loss, "softmax"),
        optimizer,
        AugmentOptions(recipe="none"),
        train,
        confusion,
        spec_of(strategy, batches[0]),
    )
    losses = [float(step(shares_of(strategy, batch), tf.constant(n)).loss) for n, batch in enumerate(batches)]
    return losses, [weight.numpy() for weight in model.weights], confusion.counts()


def spec_of(strategy, batch):
    """What `make_training_step` is told of its batches."""
    import tensorflow as tf

    one = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batch)
    if strategy.num_replicas_in_sync == 1:
        return one
    data = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=one)
    return strategy.distribute_datasets_from_function(lambda _: data).element_spec


@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"optimizer": "sgd", "learning_rate": 0.01}])
def test_twenty_steps_in_float64_on_two_replicas_are_those_of_one_device(tensorflow_ready, two_cpu_devices, options):
    """Weights, moving statistics of the synchronized batch normalisation, losses; the confusion matrix exactly."""
    tf = tensorflow_ready
    mirrored = tf.distribute.MirroredStrategy(two_cpu_devices, tf.distribute.ReductionToOneDevice())
    one_losses, one_weights, one_confusion = train_in_float64(tf.distribute.get_strategy(), **options)
    two_losses, two_weights, two_confusion = train_in_float64(mirrored, **options)
    np.testing.assert_allclose(two_losses, one_losses, rtol=0, atol=1e-9)
    assert one_losses[-1] < one_losses[0]
    for one, two in zip(one_weights, two_weights, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(two_confusion, one_confusion)
    assert one_confusion.sum() == sum((masks != 255).sum() for _, masks in make_batches(STEPS))


@pytest.mark.parametrize(("pieces", "images"), [(2, 4), (3, 4), (3, 2)])
def test_a_batch_in_pieces_gives_loss_gradients_and_predictions_of_the_whole(tensorflow_ready, pieces, images):
    """With normalisation by groups; also where pieces are of unequal size, or more than there are images."""
    import keras

    from model.gradients import Objective, loss_and_gradients
    from model.losses import cce_dice_loss
    from model.outputs import logits_model
    from model.recipe import ModelOptions, build_network

    keras.utils.set_random_seed(2)
    network = logits_model(
        build_network(
            ModelOptions(backbone="resnet18", normalization="group", decoder_filters=(8, 8, 8, 4, 4)), CLASSES
        )
    )
    objective = Objective(network, cce_dice_loss, "softmax")
    (colours, masks), *_ = make_batches(1, images)
    colours = colours.astype(np.float32)
    whole_loss, whole, whole_ids = loss_and_gradients(objective, colours, masks)
    loss, gradients, ids = loss_and_gradients(objective, colours, masks, pieces)
    assert float(loss) == pytest.approx(float(whole_loss), abs=1e-6)
    norm = float(tensorflow_ready.linalg.global_norm(whole))
    for one, other in zip(gradients, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * norm)
    assert (ids.numpy() == whole_ids.numpy()).mean() > 0.999
    assert ids.shape == masks.shape


def test_in_pieces_moving_statistics_move_once_a_piece(tensorflow_ready):
    """The passes that only count leave no trace: not in the statistics, not in dropout's seeds."""
    import keras

    from model.gradients import Objective, loss_and_gradients
    from model.losses import cce_dice_loss

    keras.utils.set_random_seed(2)
    norm = keras.layers.BatchNormalization(momentum=0.5)
    network = keras.Sequential(
        [keras.layers.Input((HEIGHT, WIDTH, 3)), norm, keras.layers.Dropout(0.5), keras.layers.Conv2D(CLASSES, 1)]
    )
    (colours, masks), *_ = make_batches(1)
    colours = colours.astype(np.float32)
    loss_and_gradients(Objective(network, cce_dice_loss, "softmax"), colours, masks, 2)
    means = [half.mean(axis=(0, 1, 2)) for half in np.split(colours, 2)]
    np.testing.assert_allclose(norm.moving_mean, 0.25 * means[0] + 0.5 * means[1], rtol=1e-4)


def test_counts_of_a_checkpoint_go_on_exactly_on_two_replicas(tensorflow_ready, two_cpu_devices):
    """Odd counts too, of which no replica can have half."""
    from model.metrics import ConfusionMatrix

    tf = tensorflow_ready
    strategy = tf.distribute.MirroredStrategy(two_cpu_devices, tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        confusion = ConfusionMatrix(2)
    before = np.array([[5, 3], [1, 7]])
    confusion.set_counts(before)
    masks = np.array([[[0, 1, 1]]], np.uint8)
    tf.function(lambda: strategy.run(confusion.update_state, args=(masks, masks.astype(np.int32))))()
    np.testing.assert_array_equal(confusion.counts(), before + 2 * np.diag([1, 2]))
    confusion.reset_state()
    assert not confusion.counts().any()


@pytest.mark.parametrize("norm", [0.01, 1e6])
def test_clipping_is_by_the_norm_of_the_whole_batchs_gradient(tensorflow_ready, two_cpu_devices, norm):
    from model.gradients import sum_gradients

    tf = tensorflow_ready
    strategy = tf.distribute.MirroredStrategy(two_cpu_devices, tf.distribute.ReductionToOneDevice())
    parts = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)

    @tf.function
    def clipped(values):
        return strategy.run(lambda value: sum_gradients([value * 8.0], 8.0, norm), args=(values,))

    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )
    (gradient,), found = clipped(values)
    whole = parts.sum(axis=0)
    length = np.sqrt((whole**2).sum())
    assert float(strategy.experimental_local_results(found)[0]) == pytest.approx(length, rel=1e-5)
    for replica in strategy.experimental_local_results(gradient):
        np.testing.assert_allclose(replica, whole * min(1.0, norm / length), rtol=1e-5)
