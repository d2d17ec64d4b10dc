"""Loss scaling: a step that overflows changes nothing but the scale."""

import numpy as np
import pytest


def test_it_halves_on_overflow_and_doubles_after_many_good_steps(tensorflow_ready, monkeypatch):
    from model import loss_scale

    tf = tensorflow_ready
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 3)
    scale, seen = loss_scale.LossScale(), []
    for finite in (True, False, True, True, True, True, False):
        scale.update(tf.constant(finite))
        seen.append(scale.state())
    first = loss_scale.FIRST
    assert seen == [
        (first, 1), (first / 2, 0), (first / 2, 1), (first / 2, 2), (first, 0), (first, 1), (first / 2, 0),
    ]  # fmt: skip


def test_it_never_falls_below_one(tensorflow_ready):
    from model.loss_scale import LossScale

    scale = LossScale()
    scale.set_state(1.0, 5)
    scale.update(tensorflow_ready.constant(False))
    assert scale.state() == (1.0, 0)


@pytest.mark.parametrize("largest", [1.0, 1e38])
def test_a_step_is_left_out_only_when_its_gradients_overflow(tensorflow_ready, largest):
    import keras

    from model.gradients import Objective
    from model.loss_scale import LossScale
    from model.losses import cce_dice_loss
    from model.metrics import ConfusionMatrix
    from model.optimizer import build_optimizer
    from model.recipe import TrainOptions
    from model.steps import make_training_step
    from pipelines.augment import AugmentOptions

    tf = tensorflow_ready
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.layers.Input((4, 6, 3)), keras.layers.Conv2D(3, 1)])
    options = TrainOptions(precision="float16", warmup_steps=0)
    optimizer, scale = build_optimizer(options, 10, network), LossScale()
    scale.set_state(largest, 0)
    step = make_training_step(
        tf.distribute.get_strategy(),
        Objective(network, cce_dice_loss, "softmax"),
        optimizer,
        AugmentOptions(recipe="none"),
        options,
        ConfusionMatrix(3),
        (tf.TensorSpec((None, 4, 6, 3), tf.uint8), tf.TensorSpec((None, 4, 6), tf.uint8)),
        scale,
    )
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    masks = random.integers(0, 3, (2, 4, 6), dtype=np.uint8)
    before = network.layers[0].kernel.numpy()
    # Colours of up to 255 make gradients of about 50 here, which times 1e38 is more than float32 holds.
    trained = step((images, masks), tf.constant(0))
    moved = not trained.left_out
    assert moved == (largest == 1.0)
    assert (network.layers[0].kernel.numpy() != before).any() == moved
    assert scale.state() == (pytest.approx(1.0 if moved else largest / 2), int(moved))
    # What is not finite at the smallest scale is no fault of the scale, and is not passed over.
    network.layers[0].kernel.assign(np.full_like(before, np.nan))
    scale.set_state(1.0, 0)
    assert not step((images, masks), tf.constant(1)).left_out
