"""Training steps: two replicas do exactly what one device does on the joined batch."""

import numpy as np
import pytest

CLASSES, HEIGHT, WIDTH = 4, 32, 64


@pytest.fixture(scope="module")
def batch():
    """Four images; nearly all pixels of the first two are ignored, none of the others."""
    random = np.random.default_rng(7)
    images = random.uniform(0, 255, (4, HEIGHT, WIDTH, 3)).astype(np.float32)
    masks = random.integers(0, CLASSES, (4, HEIGHT, WIDTH)).astype(np.uint8)
    masks[:2][random.random((2, HEIGHT, WIDTH)) < 0.95] = 255
    return images, masks


def loss_and_gradients_under(tf, strategy, batch):
    """Loss, and gradients summed over replicas, of step 1 on the batch cut into equal shares."""
    import keras

    from model.gradients import Objective, loss_and_gradients
    from model.losses import cce_dice_loss
    from model.outputs import logits_model
    from model.unet import Unet

    keras.utils.set_random_seed(5)
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        network = logits_model(
            Unet(
                "resnet18",
                classes=CLASSES,
                encoder_weights=None,
                activation="softmax",
                decoder_filters=(8, 8, 8, 4, 4),
                bn_synchronized=replicas > 1,
            )
        )
    shares = [tuple(np.split(part, replicas)[replica] for part in batch) for replica in range(replicas)]
    distributed = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(tf.constant(part) for part in shares[context.replica_id_in_sync_group])
    )

    def replica_step(share):
        value, gradients, _ = loss_and_gradients(Objective(network, cce_dice_loss, "softmax"), *share)
        context = tf.distribute.get_replica_context()
        return value, context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    value, gradients = tf.function(lambda shares: strategy.run(replica_step, args=(shares,)))(distributed)
    first = [strategy.experimental_local_results(gradient)[0].numpy() for gradient in gradients]
    return strategy.experimental_local_results(value)[0].numpy(), first


def test_two_replicas_give_loss_and_gradients_of_one_device(tensorflow_ready, two_cpu_devices, batch):
    tf = tensorflow_ready
    one_loss, one = loss_and_gradients_under(tf, tf.distribute.get_strategy(), batch)
    mirrored = tf.distribute.MirroredStrategy(two_cpu_devices)
    assert mirrored.num_replicas_in_sync == 2
    two_loss, two = loss_and_gradients_under(tf, mirrored, batch)
    assert two_loss == pytest.approx(one_loss, abs=1e-5)
    norm = np.sqrt(sum(np.sum(gradient.astype(np.float64) ** 2) for gradient in one))
    assert norm > 0.01
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * norm)


def test_averaging_the_replicas_own_losses_would_be_wrong(tensorflow_ready, batch):
    """The claim above has teeth: on this batch the mean of per-replica losses is off by more than 1e-3."""
    from model.losses import cce_dice_loss

    _, masks = batch
    logits = np.random.default_rng(1).normal(0, 2, (*masks.shape, CLASSES)).astype(np.float32)
    whole = float(cce_dice_loss(masks, logits, activation="softmax"))
    parts = [float(cce_dice_loss(masks[half], logits[half], activation="softmax")) for half in (slice(2), slice(2, 4))]
    assert abs(np.mean(parts) - whole) > 1e-3


def test_gradients_equal_those_of_the_plain_loss(tensorflow_ready, batch):
    """Statistics, then formula, by two tapes is the chain rule: one tape over all gives the same."""
    import keras

    from model.gradients import Objective, loss_and_gradients
    from model.losses import cce_dice_loss
    from model.scored import score

    tf, (images, masks) = tensorflow_ready, batch
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.layers.Input((HEIGHT, WIDTH, 3)), keras.layers.Conv2D(CLASSES, 3, padding="same")]
    )
    value, gradients, _ = loss_and_gradients(Objective(network, cce_dice_loss, "softmax"), images / 255, masks)
    with tf.GradientTape() as tape:
        plain = cce_dice_loss.finish(cce_dice_loss.statistics(score(masks, network(images / 255), "softmax")))
    assert float(value) == pytest.approx(float(plain), rel=1e-6)
    for a, b in zip(gradients, tape.gradient(plain, [v.value for v in network.trainable_variables]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_networks_dropout_follows_from_seed_and_step(tensorflow_ready, batch):
    import keras

    from model.canet import CANet
    from model.gradients import Objective
    from model.losses import OnOutputs, cce_dice_loss
    from model.metrics import ConfusionMatrix
    from model.outputs import training_model
    from model.recipe import TrainOptions
    from model.steps import make_training_step
    from pipelines.augment import AugmentOptions

    tf = tensorflow_ready
    keras.utils.set_random_seed(0)
    model = CANet("resnet34", classes=CLASSES, auxiliary=True)
    optimizer = keras.optimizers.SGD(0.0)
    optimizer.build(model.trainable_variables)
    spec = (tf.TensorSpec((None, HEIGHT, WIDTH, 3), tf.uint8), tf.TensorSpec((None, HEIGHT, WIDTH), tf.uint8))
    loss, confusion = OnOutputs(cce_dice_loss, (1.0, 0.4)), ConfusionMatrix(CLASSES)
    step = make_training_step(
        tf.distribute.get_strategy(),
        Objective(training_model(model), loss, "softmax"),
        optimizer,
        AugmentOptions(recipe="none"),
        TrainOptions(seed=3),
        confusion,
        spec,
    )
    images, masks = tf.cast(batch[0], tf.uint8), tf.constant(batch[1])
    # Nothing is learnt, and batch statistics are used: what differs is dropout alone.
    losses = [float(step((images, masks), tf.constant(number)).loss) for number in (7, 8, 7)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]
    assert confusion.counts().sum() == 3 * (batch[1] != 255).sum()


def test_a_last_batch_is_filled_up_so_that_no_replica_goes_without(tensorflow_ready):
    from pipelines.input import split_batches

    tf = tensorflow_ready
    images = tf.constant(np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8))
    masks = tf.constant(np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8))
    shares = list(split_batches(tf.data.Dataset.from_tensor_slices((images, masks)).batch(4), 2))
    # Batches of 4 and 1: shares [0 1] [2 3] and [4] [4 again, all 255].
    assert [share[0][:, 0, 0, 0].numpy().tolist() for share in shares] == [[0, 1], [2, 3], [4], [4]]
    assert [share[1][:, 0, 0].numpy().tolist() for share in shares] == [[0, 1], [2, 3], [4], [255]]
