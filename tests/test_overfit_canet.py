"""Both CANETs learn four generated images by heart, from nothing."""

from itertools import pairwise

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SIZE, CLASSES, BOUND = (64, 96), 5, 0.991


@pytest.fixture(scope="module", autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def cuts(random, side, least=16):
    """Where a side is cut into parts of at least 16 pixels: 0, …, side."""
    places = [0]
    while side - places[-1] >= 2 * least:
        places.append(places[-1] + int(random.integers(least, min(2 * least, side - places[-1] - least) + 1)))
    return [*places, side]


def tiled(seed):
    """One image: bands of tiles, each at least 16 pixels wide and high, of a class and its colour, under noise."""
    random = np.random.default_rng(seed)
    mask = np.zeros(SIZE, np.uint8)
    rows = cuts(random, SIZE[0])
    for top, bottom in pairwise(rows):
        columns = cuts(random, SIZE[1])
        for left, right in pairwise(columns):
            mask[top:bottom, left:right] = random.integers(CLASSES)
    colors = np.array([[40, 40, 200], [200, 60, 40], [60, 180, 60], [220, 220, 90], [120, 120, 120]])
    return np.clip(colors[mask] + random.normal(0, 8, (*SIZE, 3)), 0, 255).astype(np.float32), mask


@pytest.fixture(scope="module")
def batch():
    images, masks = zip(*(tiled(seed) for seed in range(4)))
    return np.stack(images), np.stack(masks)


def miou(masks, logits):
    from model.metrics import confusion, mean_iou

    return mean_iou(np.asarray(confusion(masks, logits, CLASSES)))


def test_what_a_perfect_prediction_at_a_fourth_of_the_size_scores(batch):
    """The bound of any network that ends in a bilinear enlargement by 4 without more than the truth at 1/4.

    The truth, averaged over 4x4 pixels and enlarged, scores 0.991 on these images: tiles' borders lie anywhere.
    """
    from model.enlarging import enlarge

    _, masks = batch
    truth = np.eye(CLASSES, dtype=np.float32)[masks]
    quarter = truth.reshape(4, SIZE[0] // 4, 4, SIZE[1] // 4, 4, CLASSES).mean((2, 4))
    assert miou(masks, enlarge(quarter, 4)) == pytest.approx(BOUND, abs=0.001)


@pytest.mark.parametrize(("backbone", "steps", "rate"), [("resnet34", 120, 1e-3), ("compact", 500, 5e-3)])
def test_four_images_are_learnt_by_heart(tensorflow_ready, batch, backbone, steps, rate):
    """To mIoU 0.97, from random weights, scored as in evaluation; the published form with its auxiliary head."""
    import keras

    from model import CANet
    from model.gradients import Objective, loss_and_gradients
    from model.losses import OnOutputs, WeightedSum, dice_loss
    from model.outputs import logits_model, training_model
    from model.pixel_losses import CrossEntropy

    tf, (images, masks) = tensorflow_ready, batch
    keras.utils.set_random_seed(1)
    auxiliary = backbone != "compact"
    model = CANet(backbone, (*SIZE, 3), classes=CLASSES, auxiliary=auxiliary, bn_momentum=0.9)
    loss = WeightedSum([(1.0, CrossEntropy()), (1.0, dice_loss)])
    loss = OnOutputs(loss, (1.0, 0.4)) if auxiliary else loss
    network, scored = training_model(model), logits_model(model)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.02))
    optimizer.build(network.trainable_variables)

    @tf.function
    def step():
        value, gradients, _ = loss_and_gradients(Objective(network, loss, "softmax"), images, masks)
        optimizer.apply(gradients, network.trainable_variables)
        return value

    reached = []
    for number in range(1, steps + 1):
        step()
        if number % 20 == 0:
            reached.append(miou(masks, scored(images, training=False)))
            if reached[-1] >= 0.97:
                break
    assert max(reached) >= 0.97
