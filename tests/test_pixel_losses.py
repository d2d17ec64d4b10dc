"""Cross-entropy, focal and hard pixels: worked by hand, and against the library's own values."""

from pathlib import Path

import numpy as np
import pytest

GOLDEN = np.load(Path(__file__).parent / "data" / "golden_losses.npz")
"""Made by segmentation_models itself: tests/data/make_golden_losses.py."""


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def golden_losses():
    from model.losses import cce_dice_loss
    from model.pixel_losses import CrossEntropy, Focal

    return {
        "categorical_crossentropy": CrossEntropy(divide_by_classes=True),
        "categorical_focal_loss": Focal(),
        "categorical_focal_loss(alpha=0.5,gamma=1.5)": Focal(gamma=1.5, alpha=0.5),
        "cce_dice_loss": cce_dice_loss,
    }


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_values_equal_the_librarys(activation):
    for name, loss in golden_losses().items():
        value = float(loss(GOLDEN["ids"], GOLDEN[activation]))
        assert value == pytest.approx(float(GOLDEN[f"{activation}/{name}"]), abs=1e-6), name


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_class_weights_equal_the_librarys_but_for_the_division_by_their_sum(activation):
    from model.pixel_losses import CrossEntropy

    weights = GOLDEN["weights"]
    value = float(CrossEntropy(weights, divide_by_classes=True)(GOLDEN["ids"], GOLDEN[activation]))
    mean_weight = float(weights[GOLDEN["ids"]].mean())  # the library divides by the number of pixels
    library = float(GOLDEN[f"{activation}/categorical_crossentropy(class_weights)"])
    assert value * mean_weight == pytest.approx(library, abs=1e-6)


def test_binary_focal_equals_the_librarys():
    from model.pixel_losses import BinaryFocal

    # The library's one channel is "the class": id 0. Id 1 has no channel, and so is "not the class".
    ids = 1 - GOLDEN["binary_truth"][..., 0].astype(int)
    value = float(BinaryFocal()(ids, GOLDEN["binary"]))
    assert value == pytest.approx(float(GOLDEN["binary/binary_focal_loss"]), abs=1e-6)


def test_cross_entropy_worked_by_hand():
    from model.pixel_losses import CrossEntropy

    # Two scored pixels with shares 1/4 and 1/2 of the true class, one ignored: (ln 4 + ln 2) / 2.
    masks = np.array([[[0, 1, 255]]])
    p = np.array([[[[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]]], np.float32)
    assert float(CrossEntropy()(masks, p)) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-6)
    # Weights 3 and 1: (3 ln 4 + ln 2) / 4.
    assert float(CrossEntropy([3, 1])(masks, p)) == pytest.approx((3 * np.log(4) + np.log(2)) / 4, rel=1e-6)


def test_focal_worked_by_hand():
    from model.pixel_losses import BinaryFocal, Focal

    # One scored pixel of class 0, p = (1/4, 3/4). Focal, mean of two classes: 0.25 (3/4)^2 ln 4 / 2.
    masks, p = np.array([[[0, 255]]]), np.array([[[[0.25, 0.75], [0.5, 0.5]]]], np.float32)
    of_class_0 = 0.25 * 0.75**2 * np.log(4)
    assert float(Focal()(masks, p)) == pytest.approx(of_class_0 / 2, rel=1e-6)
    # Binary: class 1 adds 0.75 (3/4)^2 ln 4, as 1 - 3/4 = 1/4.
    of_class_1 = 0.75 * 0.75**2 * np.log(4)
    assert float(BinaryFocal()(masks, p)) == pytest.approx((of_class_0 + of_class_1) / 2, rel=1e-6)


def test_focal_with_gamma_0_is_alpha_times_cross_entropy():
    from model.pixel_losses import CrossEntropy, Focal

    random = np.random.default_rng(0)
    masks, logits = random.integers(0, 3, (2, 4, 5)), random.normal(size=(2, 4, 5, 3)).astype(np.float32)
    entropy = float(CrossEntropy(divide_by_classes=True)(masks, logits, "softmax"))
    assert float(Focal(gamma=0, alpha=0.25)(masks, logits, "softmax")) == pytest.approx(0.25 * entropy, rel=1e-6)


def shares(*values):
    """One row of pixels of class 0 with these shares of it."""
    return np.zeros((1, 1, len(values)), int), np.array([[[[v, 1 - v] for v in values]]], np.float32)


def test_hard_pixels_below_the_threshold_worked_by_hand():
    from model.pixel_losses import HardPixels

    # Shares 1/2 and 1/4 are below 0.7, 0.9 and 0.8 are not: (ln 2 + ln 4) / 2.
    masks, p = shares(0.5, 0.9, 0.25, 0.8)
    assert float(HardPixels(0.7, 0.1)(masks, p)) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    # Just the one with 1/4 is below 0.3; a quarter of four is that one.
    assert float(HardPixels(0.3, 0.25)(masks, p)) == pytest.approx(np.log(4), rel=1e-6)


def test_the_hardest_share_is_kept_when_too_few_are_hard():
    from model.pixel_losses import HardPixels

    # None is below 0.01; half of four are the two hardest: (ln 4 + ln 2) / 2.
    masks, p = shares(0.5, 0.9, 0.25, 0.8)
    assert float(HardPixels(0.01, 0.5)(masks, p)) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    # 3/8 of four: the hardest and half of the next: (ln 4 + ln 2 / 2) / 1.5.
    expected = (np.log(4) + np.log(2) / 2) / 1.5
    assert float(HardPixels(0.01, 3 / 8)(masks, p)) == pytest.approx(expected, rel=1e-6)
    # All of them are kept: cross-entropy.
    assert float(HardPixels(0.01, 1.0)(masks, p)) == pytest.approx(-np.mean(np.log([0.5, 0.9, 0.25, 0.8])), rel=1e-5)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_the_hardest_share_is_that_of_a_sort_within_the_width_of_a_bin(share):
    from model.pixel_losses import CrossEntropy, HardPixels

    random = np.random.default_rng(3)
    masks, logits = random.integers(0, 4, (2, 50, 40)), random.normal(0, 3, (2, 50, 40, 4)).astype(np.float32)
    losses = np.log(np.exp(logits.astype(float)).sum(-1)) - np.take_along_axis(logits, masks[..., None], -1)[..., 0]
    hardest = np.sort(losses.ravel())[::-1][: round(share * losses.size)]
    value = float(HardPixels(0.0001, share)(masks, logits, "softmax"))
    assert value == pytest.approx(hardest.mean(), rel=0.001)
    assert value > 1.05 * float(CrossEntropy()(masks, logits, "softmax"))


def test_pixels_that_are_not_hard_get_no_gradient(tensorflow_ready):
    from model.pixel_losses import HardPixels

    tf = tensorflow_ready
    masks, p = shares(0.5, 0.9, 0.25, 0.8)
    logits = tf.constant(np.log(p))
    for loss in (HardPixels(0.7, 0.1), HardPixels(0.01, 0.5)):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(masks, logits, "softmax")
        gradient = np.abs(tape.gradient(value, logits).numpy()).sum((0, 1, 3))
        assert (gradient > 0).tolist() == [True, False, True, False]


def test_class_weights_weigh_the_kept_pixels_and_do_not_choose_them():
    from model.pixel_losses import HardPixels

    masks = np.array([[[0, 1]]])
    p = np.array([[[[0.25, 0.75], [0.5, 0.5]]]], np.float32)
    value = float(HardPixels(0.7, 0.0, class_weights=[3, 1])(masks, p))
    assert value == pytest.approx((3 * np.log(4) + np.log(2)) / 4, rel=1e-6)
