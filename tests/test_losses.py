"""Losses as sums and formulas: worked by hand, against the library's definition, and with ignored pixels."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def random_case(seed=0, classes=5, shape=(2, 6, 7)):
    random = np.random.default_rng(seed)
    return random.integers(0, classes, shape), random.normal(0, 2, (*shape, classes)).astype(np.float32)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def library_values(masks, p):
    """segmentation_models 1.0.1, in float64: s = 1e-5, sums over batch, height and width."""
    p = p.astype(np.float64)
    g = np.eye(p.shape[-1])[masks]
    s, axes = 1e-5, (0, 1, 2)
    both, truth, prediction = (g * p).sum(axes), g.sum(axes), p.sum(axes)
    iou = np.mean((both + s) / (truth + prediction - both + s))
    dice = 1 - np.mean((2 * both + s) / (truth + prediction + s))
    share = np.clip(p / p.sum(-1, keepdims=True), 1e-7, 1 - 1e-7)
    return iou, dice, dice - np.mean(g * np.log(share))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("seed", range(3))
def test_values_equal_the_librarys_from_probabilities_and_from_logits(activation, seed):
    from model.losses import cce_dice_loss, dice_loss, iou_score

    masks, logits = random_case(seed)
    p = softmax(logits) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    for function, expected in zip((iou_score, dice_loss, cce_dice_loss), library_values(masks, p), strict=True):
        assert float(function(masks, p)) == pytest.approx(expected, abs=1e-6)
        assert float(function(masks, logits, activation=activation)) == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_worked_by_hand():
    from model.losses import CrossEntropy

    # Two scored pixels with shares 1/4 and 1/2 of the true class, one ignored: (ln 4 + ln 2) / 2.
    masks = np.array([[[0, 1, 255]]])
    p = np.array([[[[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]]], np.float32)
    assert float(CrossEntropy()(masks, p)) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-6)
    # Weights 3 and 1: (3 ln 4 + ln 2) / 4.
    assert float(CrossEntropy([3, 1])(masks, p)) == pytest.approx((3 * np.log(4) + np.log(2)) / 4, rel=1e-6)


def test_dice_worked_by_hand():
    from model.losses import dice_loss

    # Class 0: both 1, truth 1, prediction 2 -> 2/3. Class 1: both 1, truth 2, prediction 1 -> 2/3.
    masks = np.array([[[0, 1, 1, 255]]])
    p = np.array([[[[1, 0], [1, 0], [0, 1], [0, 1]]]], np.float32)
    assert float(dice_loss(masks, p)) == pytest.approx(1 / 3, abs=1e-5)


@pytest.mark.parametrize("poison", [1e9, np.inf, np.nan])
def test_scores_at_ignored_pixels_change_no_bit_of_value_or_gradient(tensorflow_ready, poison):
    from model.losses import cce_dice_loss

    tf = tensorflow_ready
    masks, logits = random_case(4)
    masks[:, 2:4] = 255
    results = []
    for value in (0.0, poison):
        changed = tf.constant(np.where((masks == 255)[..., None], np.float32(value), logits))
        with tf.GradientTape() as tape:
            tape.watch(changed)
            loss = cce_dice_loss(masks, changed, activation="softmax")
        results.append((loss.numpy(), tape.gradient(loss, changed).numpy()))
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert (results[1][1][masks == 255] == 0).all()


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    from model.losses import cce_dice_loss, score

    masks, logits = random_case(5, shape=(4, 6, 7))
    masks[0, :, 3:] = 255  # unevenly spread
    parts = [cce_dice_loss.statistics(score(masks[i : i + 2], logits[i : i + 2], "softmax")) for i in (0, 2)]
    joined = {key: parts[0][key] + parts[1][key] for key in parts[0]}
    whole = float(cce_dice_loss(masks, logits, activation="softmax"))
    assert float(cce_dice_loss.finish(joined)) == pytest.approx(whole, rel=1e-6)


def test_a_batch_without_a_scored_pixel_has_a_finite_loss_and_no_gradient(tensorflow_ready):
    from model.losses import cce_dice_loss

    tf = tensorflow_ready
    logits = tf.constant(random_case()[1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = cce_dice_loss(np.full((2, 6, 7), 255), logits, activation="softmax")
    assert np.isfinite(loss.numpy())
    assert (tape.gradient(loss, logits).numpy() == 0).all()


def test_unknown_names_are_refused_with_those_there_are():
    from model.losses import make_loss, score

    with pytest.raises(ValueError, match="loss 'dise' is unknown; there are cross_entropy, dice_loss, cce_dice_loss"):
        make_loss("dise")
    with pytest.raises(ValueError, match="activation 'relu' is unknown"):
        score(*random_case(), activation="relu")
