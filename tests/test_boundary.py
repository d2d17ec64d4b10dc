"""Boundary IoU: against erosion as the paper has it, worked by hand, and whatever the batches."""

import numpy as np
import pytest

from configs.taxonomy import IGNORE_ID
from model.boundary import BoundaryIoU, boundary, boundary_distance


def eroded(mask, times):
    """A binary mask after 3x3 erosions; what lies outside is not of it."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        mask = np.all(
            [padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)], axis=0
        )
    return mask


def blobs(seed, size=(40, 56), classes=5):
    """Rectangles of random classes over each other."""
    random = np.random.default_rng(seed)
    ids = np.zeros(size, np.uint8)
    for _ in range(12):
        top, left = random.integers(0, size[0] - 5), random.integers(0, size[1] - 5)
        ids[top : top + random.integers(3, 20), left : left + random.integers(3, 25)] = random.integers(classes)
    return ids


@pytest.mark.parametrize("distance", [1, 2, 3, 5, 8, 30])
def test_a_boundary_is_each_class_without_what_erosion_leaves(distance):
    ids = blobs(1)
    near = boundary(ids, distance)
    for class_id in range(5):
        mask = ids == class_id
        np.testing.assert_array_equal(near & mask, mask & ~eroded(mask, distance))


def test_scores_are_those_of_the_papers_definition():
    truth, predicted = blobs(2), blobs(3)
    metric = BoundaryIoU(5)
    metric.update(truth[None], predicted[None])
    distance = boundary_distance(truth.shape)
    assert distance == 1  # 2 % of a diagonal of 68.8
    for class_id in range(5):
        of_truth, of_prediction = (
            mask & ~eroded(mask, distance) for mask in (truth == class_id, predicted == class_id)
        )
        expected = (of_truth & of_prediction).sum() / (of_truth | of_prediction).sum()
        assert metric.result()[class_id] == pytest.approx(expected)


def test_worked_by_hand():
    # Five rows, seven columns; 0 but for a column of 1 at column 3 in the truth and at column 4 in the prediction.
    truth, predicted = np.zeros((2, 1, 5, 7), np.uint8)
    truth[..., 3], predicted[..., 4] = 1, 1
    metric = BoundaryIoU(2, dilation_ratio=0.01)
    metric.update(truth, predicted)
    # Class 1: 5 and 5 pixels, none in common: 0 of 10. Class 0, truth: 30 pixels but the inner ones, which are
    # rows 1-3 of columns 1 and 5: 24. Prediction: 30 but rows 1-3 of columns 1, 2: 24. In both: all 35 pixels
    # but columns 3 and 4 (10) and rows 1-3 of columns 1, 2, 5 (9): 16. Union: 24 + 24 - 16 = 32.
    assert metric.intersection.tolist() == [16, 0]
    assert metric.union.tolist() == [32, 10]
    np.testing.assert_allclose(metric.result(), [0.5, 0])


def test_the_distance_is_a_part_of_the_diagonal_and_never_0():
    assert boundary_distance((1080, 1920)) == 44
    assert boundary_distance((360, 480)) == 12
    assert boundary_distance((8, 12)) == 1


def test_a_perfect_prediction_scores_1_whatever_it_says_where_nothing_is_scored():
    truth = np.stack([blobs(4), blobs(5)])
    predicted = truth.copy()
    truth[:, 10:20, 7:30] = IGNORE_ID
    metric = BoundaryIoU(6)
    metric.update(truth, predicted)
    assert np.isnan(metric.result()[5])  # neither there nor predicted
    np.testing.assert_array_equal(metric.result()[:5], 1)
    before = metric.intersection.copy()
    predicted[truth == IGNORE_ID] = 5
    again = BoundaryIoU(6)
    again.update(truth, predicted)
    np.testing.assert_array_equal(again.intersection, before)


def test_what_is_not_known_makes_no_boundary():
    ids = np.zeros((20, 30), np.uint8)
    ids[8:12, 10:20] = IGNORE_ID
    inside = boundary(ids, 2)[2:-2, 2:-2]
    assert not inside.any()


def test_any_batch_split_gives_the_same_counts():
    truth, predicted = (np.stack([blobs(seed + index) for index in range(6)]) for seed in (10, 20))
    whole = BoundaryIoU(5)
    whole.update(truth, predicted)
    parts = BoundaryIoU(5)
    for start, end in ((0, 1), (1, 4), (4, 6)):
        parts.update(truth[start:end], predicted[start:end])
    np.testing.assert_array_equal(parts.intersection, whole.intersection)
    np.testing.assert_array_equal(parts.union, whole.union)
    assert whole.union.dtype == np.int64
    assert 0 < np.nanmean(whole.result()) < 1


def test_an_image_of_nothing_but_ignored_pixels_changes_no_count():
    metric = BoundaryIoU(5)
    metric.update(np.full((1, 20, 30), IGNORE_ID, np.uint8), blobs(1, (20, 30))[None])
    assert metric.union.sum() == 0
