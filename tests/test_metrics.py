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


def test_dice_accuracy_and_frequency_weighted_iou_worked_by_hand():
    from model.metrics import class_accuracy, class_dice, class_mean, frequency_weighted_iou

    # Truth 2, 2, 1 pixels; predicted 2, 3, 0; right 1, 2, 0.
    np.testing.assert_allclose(class_dice(MATRIX), [2 / 4, 4 / 5, 0])
    np.testing.assert_allclose(class_accuracy(MATRIX), [1 / 2, 1, 0])
    assert class_mean(class_accuracy(MATRIX)) == pytest.approx(1 / 2)
    assert frequency_weighted_iou(MATRIX) == pytest.approx((2 * 1 / 3 + 2 * 2 / 3) / 5)


def test_a_coarser_level_forgives_what_is_wrong_within_one_parent():
    from model.metrics import coarser_confusion

    # Classes 0 and 2 have parent 1, class 1 has parent 0.
    # Parent 0: class 1, its 2 right. Parent 1: truth 0 or 2: predicted 0 or 2 twice, 1 once.
    np.testing.assert_array_equal(coarser_confusion(MATRIX, [1, 0, 1], 2), [[2, 0], [1, 2]])


def test_coarser_counts_are_those_of_coarser_masks():
    from model.metrics import coarser_confusion, confusion

    random = np.random.default_rng(1)
    truth, predicted = random.integers(0, 6, (2, 3, 8, 10))
    parents = np.array([0, 0, 2, 1, 2, 2])
    np.testing.assert_array_equal(
        coarser_confusion(np.asarray(confusion(truth, predicted, 6)), parents, 4),
        confusion(parents[truth], parents[predicted], 4),
    )


def test_a_class_that_is_neither_there_nor_predicted_has_no_iou():
    from model.metrics import class_accuracy, class_dice, class_iou, frequency_weighted_iou, mean_iou

    matrix = np.array([[4, 0, 0], [0, 2, 0], [0, 0, 0]])
    assert np.isnan(class_iou(matrix)[2])
    assert np.isnan(class_dice(matrix)[2])
    assert np.isnan(class_accuracy(matrix)[2])
    assert frequency_weighted_iou(matrix) == 1.0
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


def test_two_replicas_count_what_one_device_counts(tensorflow_ready, two_cpu_devices):
    from model.metrics import ConfusionMatrix, confusion

    tf = tensorflow_ready
    random = np.random.default_rng(2)
    truth, predicted = random.integers(0, 4, (2, 5, 8, 10)).astype(np.int32)
    strategy = tf.distribute.MirroredStrategy(two_cpu_devices)
    with strategy.scope():
        metric = ConfusionMatrix(4)
    cut = (slice(0, 4), slice(4, 5))  # unequal shares
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tuple(tf.constant(part[cut[context.replica_id_in_sync_group]]) for part in (truth, predicted))
    )
    strategy.run(lambda share: metric.update_state(*share), args=(shares,))
    np.testing.assert_array_equal(metric.counts(), confusion(truth, predicted, 4))
