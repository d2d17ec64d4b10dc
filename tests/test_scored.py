"""What losses look at: truth, predictions and logarithms of a batch."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


MASKS = np.array([[[0, 2, 255]]])
LOGITS = np.array([[[[1.0, -2.0, 0.5], [3.0, 0.0, 1.0], [9.0, 9.0, 9.0]]]], np.float32)


def test_truth_is_one_hot_and_nothing_at_ignored_pixels():
    from model.scored import score

    scored = score(MASKS, LOGITS, "softmax")
    np.testing.assert_array_equal(scored.truth, [[[[1, 0, 0], [0, 0, 1], [0, 0, 0]]]])
    np.testing.assert_array_equal(scored.valid, [[[1, 1, 0]]])
    np.testing.assert_array_equal(scored.prediction[0, 0, 2], [0, 0, 0])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_predictions_and_logarithms_are_those_of_the_activation(activation):
    from model.scored import score

    logits = LOGITS.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) if activation == "softmax" else 1 / (1 + np.exp(-logits))
    for scored in (score(MASKS, LOGITS, activation), score(MASKS, p.astype(np.float32))):
        here = np.s_[0, 0, :2]
        np.testing.assert_allclose(scored.prediction[here], p[here], rtol=1e-5)
        np.testing.assert_allclose(scored.log_prediction[here], np.log(p[here]), rtol=1e-4)
        np.testing.assert_allclose(scored.log_complement[here], np.log(1 - p[here]), rtol=1e-4)
        np.testing.assert_allclose(scored.log_share[here], np.log(p / p.sum(-1, keepdims=True))[here], rtol=1e-4)


def test_logarithms_of_logits_are_exact_where_probabilities_would_be_zero():
    from model.scored import score

    logits = np.array([[[[0.0, -200.0]]]], np.float32)
    assert float(score(np.array([[[1]]]), logits, "softmax").log_share[0, 0, 0, 1]) == -200.0
    assert float(score(np.array([[[1]]]), logits, "sigmoid").log_prediction[0, 0, 0, 1]) == -200.0


def test_weights_are_those_of_the_true_class():
    from model.scored import score

    scored = score(MASKS, LOGITS, "softmax")
    np.testing.assert_array_equal(scored.weights((3.0, 5.0, 7.0)), [[[3, 7, 0]]])
    np.testing.assert_array_equal(scored.weights(None), [[[1, 1, 0]]])


def test_an_unknown_activation_is_refused_with_those_there_are():
    from model.scored import score

    with pytest.raises(ValueError, match="activation 'relu' is unknown; there are softmax and sigmoid"):
        score(MASKS, LOGITS, activation="relu")
