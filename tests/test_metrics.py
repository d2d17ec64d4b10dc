"""The confusion matrix: exact, whatever the batches, and what is read off it."""

import numpy as np
import pytest

from configs.taxonomy import IGNORE_ID

# Truth    0 0 1 1 2 255        matrix[truth, prediction]:  1 1 0
# Predict  0 1 1 1 0 2                                      0 2 0
#                                                           1 0 0
TRUTH = np.array([[[0, 0, 1], [1, 2, IGNORE_ID]]], np.uint8)
PREDICTED = np.array([[[0, 1, 1], [1, 0, 2]]], np.uint8)
MATRIX = np.array([[1, 1, 0], [0, 2, 0], [1, 0, 0]])


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def test_the_matrix_counts_truth_in_rows_and_leaves_ignored_pixels_out():
    from model.metrics import confusion

    np.testing.assert_array_equal(confusion(TRUTH, PREDICTED, 3), MATRIX)


def test_class_scores_are_counted_by_their_largest():
    from model.metrics import confusion

    np.testing.assert_array_equal(confusion(TRUTH, np.eye(3, dtype=np.float32)[PREDICTED], 3), MATRIX)


def test_iou_worked_by_hand():
    from model.metrics import class_iou, mean_iou, pixel_accuracy

    # Class 0: 1 / (2 + 2 - 1) = 1/3; class 1: 2 / (2 + 3 - 2) = 2/3; class 2: 0 / 1 = 0. Three of five are right.
    np.testing.assert_allclose(class_iou(MATRIX), [1 / 3, 2 / 3, 0])
    assert mean_iou(MATRIX) == pytest.approx(1 / 3)
    assert pixel_accuracy(MATRIX) == pytest.approx(3 / 5)


def test_a_class_that_is_neither_there_nor_predicted_has_no_iou():
    from model.metrics import class_iou, mean_iou

    matrix = np.array([[4, 0, 0], [0, 2, 0], [0, 0, 0]])
    assert np.isnan(class_iou(matrix)[2])
    assert mean_iou(matrix) == 1.0
    assert mean_iou(np.zeros((3, 3), int)) == 0.0


def test_any_batch_split_gives_the_same_matrix_and_reset_forgets():
    from model.metrics import ConfusionMatrix, confusion, mean_iou

    random = np.random.default_rng(1)
    truth, predicted = random.integers(0, 4, (2, 6, 8, 10))
    truth[random.random(truth.shape) < 0.2] = IGNORE_ID
    whole = np.asarray(confusion(truth, predicted, 4))
    metric = ConfusionMatrix(4)
    for start, end in ((0, 1), (1, 5), (5, 6)):
        metric.update_state(truth[start:end], predicted[start:end])
    np.testing.assert_array_equal(metric.counts(), whole)
    assert float(metric.result()) == pytest.approx(mean_iou(whole), abs=1e-6)
    metric.reset_state()
    assert metric.counts().sum() == 0


def test_counts_stay_exact_beyond_the_integers_of_float32():
    from model.metrics import ConfusionMatrix

    metric = ConfusionMatrix(2)
    metric.matrix.assign([[2**40, 0], [0, 2**24]])
    metric.update_state(np.array([[[0, 1]]]), np.array([[[0, 1]]]))
    np.testing.assert_array_equal(metric.counts(), [[2**40 + 1, 0], [0, 2**24 + 1]])
