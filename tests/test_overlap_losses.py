"""Dice, Jaccard, Tversky, Lovász-softmax and ``iou_score``: worked by hand, and against the library's own values."""

from pathlib import Path

import numpy as np
import pytest

GOLDEN = np.load(Path(__file__).parent / "data" / "golden_losses.npz")
"""Made by segmentation_models itself: tests/data/make_golden_losses.py."""

# Class 0: both 1, truth 1, prediction 2. Class 1: both 1, truth 2, prediction 1. The last pixel is ignored.
MASKS = np.array([[[0, 1, 1, 255]]])
P = np.array([[[[1, 0], [1, 0], [0, 1], [0, 1]]]], np.float32)


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def golden_losses():
    from model.overlap_losses import Dice, Jaccard, SoftIoU

    return {
        "dice_loss": Dice(),
        "dice_loss(beta=2)": Dice(beta=2),
        "jaccard_loss": Jaccard(),
        "iou_score": SoftIoU(),
        "iou_score(threshold=0.5)": SoftIoU(threshold=0.5),
        "iou_score(threshold=0.3)": SoftIoU(threshold=0.3),
    }


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_values_equal_the_librarys(activation):
    for name, loss in golden_losses().items():
        value = float(loss(GOLDEN["ids"], GOLDEN[activation]))
        assert value == pytest.approx(float(GOLDEN[f"{activation}/{name}"]), abs=1e-6), name


def test_values_of_one_class_equal_the_librarys():
    losses = golden_losses()
    ids = 1 - GOLDEN["binary_truth"][..., 0].astype(int)  # id 0 is the class, id 1 none
    for name in ("dice_loss", "jaccard_loss", "iou_score", "iou_score(threshold=0.5)"):
        value = float(losses[name](ids, GOLDEN["binary"]))
        assert value == pytest.approx(float(GOLDEN[f"binary/{name}"]), abs=1e-6), name


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_class_weights_equal_the_librarys_but_for_their_mean(activation):
    from model.overlap_losses import Dice, Jaccard, SoftIoU

    weights = GOLDEN["weights"]
    mean = float(weights.mean())
    for name, kind in (("iou_score", SoftIoU), ("dice_loss", Dice), ("jaccard_loss", Jaccard)):
        library = float(GOLDEN[f"{activation}/{name}(class_weights)"])
        value = float(kind(class_weights=weights)(GOLDEN["ids"], GOLDEN[activation]))
        if name == "iou_score":
            assert value * mean == pytest.approx(library, abs=1e-6)
        else:
            assert 1 - (1 - value) * mean == pytest.approx(library, abs=1e-6)


def test_dice_and_jaccard_worked_by_hand():
    from model.losses import dice_loss, iou_score, jaccard_loss

    assert float(dice_loss(MASKS, P)) == pytest.approx(1 / 3, abs=1e-5)  # 2·1 / 3 in both classes
    assert float(iou_score(MASKS, P)) == pytest.approx(1 / 2, abs=1e-5)  # 1 / 2 in both
    assert float(jaccard_loss(MASKS, P)) == pytest.approx(1 / 2, abs=1e-5)


def test_a_threshold_makes_predictions_0_or_1():
    from model.overlap_losses import SoftIoU

    # Above 0.3: class 0 at both pixels, class 1 at the second. Class 0: 1 / 2; class 1: 1 / 1.
    p = np.array([[[[0.9, 0.1], [0.4, 0.6]]]], np.float32)
    assert float(SoftIoU(threshold=0.3)(np.array([[[0, 1]]]), p)) == pytest.approx(3 / 4, abs=1e-5)
    assert float(SoftIoU(threshold=0.5)(np.array([[[0, 1]]]), p)) == pytest.approx(1, abs=1e-5)


def test_tverskys_alpha_is_on_false_positives_and_its_beta_on_false_negatives():
    from model.overlap_losses import Tversky

    # Class 0 has one false positive: 1 / (1 + alpha). Class 1 has one false negative: 1 / (1 + beta).
    for alpha, beta in ((0.3, 0.7), (1.0, 0.0)):
        expected = 1 - (1 / (1 + alpha) + 1 / (1 + beta)) / 2
        assert float(Tversky(alpha, beta)(MASKS, P)) == pytest.approx(expected, abs=1e-5)
    # With weight on class 0 alone only its false positive counts.
    assert float(Tversky(1.0, 0.0, [1, 0])(MASKS, P)) == pytest.approx(1 / 2, abs=1e-5)
    assert float(Tversky(0.0, 1.0, [1, 0])(MASKS, P)) == pytest.approx(0, abs=1e-5)


def test_tversky_with_halves_is_dice_and_with_ones_jaccard():
    from model.overlap_losses import Dice, Jaccard, Tversky

    ids, p = GOLDEN["ids"][:, :, :5] % 4, GOLDEN["softmax"][:, :, :5, :4]
    assert float(Tversky(0.5, 0.5)(ids, p)) == pytest.approx(float(Dice()(ids, p)), abs=1e-5)
    assert float(Tversky(1.0, 1.0)(ids, p)) == pytest.approx(float(Jaccard()(ids, p)), abs=1e-6)


def test_lovasz_of_hard_predictions_is_1_minus_the_mean_iou():
    from model.overlap_losses import LovaszSoftmax

    assert float(LovaszSoftmax()(MASKS, P)) == pytest.approx(1 / 2, abs=1e-6)


def test_lovasz_worked_by_hand():
    from model.overlap_losses import LovaszSoftmax

    # Class 0 is true at the first of two pixels; p there 0.4, at the other 0.3. Errors 0.6 (truth), 0.3.
    # 1 - IoU with the first wrong: 1 - 0/1 = 1, with both: 1 - 0/2 = 1; so 0.6 · 1 + 0.3 · 0 = 0.6.
    # Class 1 is true at the second; p 0.6 and 0.7. Errors 0.6 (not truth), 0.3 (truth).
    # 1 - IoU with the first wrong: 1 - 1/2, with both: 1; so 0.6 · 0.5 + 0.3 · 0.5 = 0.45. Class 2 is not there.
    masks = np.array([[[0, 1]]])
    p = np.array([[[[0.4, 0.6, 0.0], [0.3, 0.7, 0.0]]]], np.float32)
    assert float(LovaszSoftmax()(masks, p)) == pytest.approx((0.6 + 0.45) / 2, abs=1e-6)
    assert float(LovaszSoftmax([3, 1, 1])(masks, p)) == pytest.approx((3 * 0.6 + 0.45) / 4, abs=1e-6)
    assert LovaszSoftmax().per_replica


def test_lovasz_of_parts_is_their_mean_by_scored_pixels_and_not_that_of_the_whole():
    from model.overlap_losses import LovaszSoftmax
    from model.scored import score

    random = np.random.default_rng(0)
    masks, logits = random.integers(0, 4, (2, 6, 7)), random.normal(size=(2, 6, 7, 4)).astype(np.float32)
    masks[0, 2:] = 255  # 14 pixels against 42
    loss = LovaszSoftmax()
    parts = [loss.statistics(score(masks[i : i + 1], logits[i : i + 1], "softmax")) for i in (0, 1)]
    joined = float(loss.finish({key: parts[0][key] + parts[1][key] for key in parts[0]}))
    values = [float(loss(masks[i : i + 1], logits[i : i + 1], "softmax")) for i in (0, 1)]
    assert joined == pytest.approx((14 * values[0] + 42 * values[1]) / 56, rel=1e-6)
    assert joined != pytest.approx(float(loss(masks, logits, "softmax")), rel=1e-3)
