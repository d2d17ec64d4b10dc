"""Learning rates, worked by hand."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("curve", "middle", "end"), [("cosine", 0.5, 0.0), ("poly", 0.5**0.9, 0.0), ("constant", 1.0, 1.0)]
)
def test_warm_up_then_the_curve(tensorflow_ready, curve, middle, end):
    from model.schedules import LearningRate

    rate = LearningRate(0.2, steps=30, warmup=10, curve=curve)
    warm = [float(rate(step)) for step in range(10)]
    np.testing.assert_allclose(warm, 0.02 * np.arange(1, 11), rtol=1e-6)
    assert float(rate(10)) == pytest.approx(0.2)
    assert float(rate(20)) == pytest.approx(0.2 * middle, rel=1e-5)
    assert float(rate(30)) == pytest.approx(0.2 * end, abs=1e-7)
    assert float(rate(99)) == pytest.approx(0.2 * end, abs=1e-7)


def test_without_warm_up_it_starts_at_the_full_rate(tensorflow_ready):
    from model.schedules import LearningRate

    assert float(LearningRate(0.3, steps=4)(0)) == pytest.approx(0.3)


def test_a_warm_up_longer_than_the_run_leaves_a_step(tensorflow_ready):
    from model.schedules import LearningRate

    rate = LearningRate(1.0, steps=3, warmup=100)
    np.testing.assert_allclose([float(rate(step)) for step in range(3)], [0.5, 1.0, 1.0], rtol=1e-6)


def test_it_survives_keras_serialisation(tensorflow_ready):
    import keras

    from model.schedules import LearningRate

    rate = LearningRate(0.2, 30, 10, "poly")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert [float(again(step)) for step in (0, 9, 17)] == [float(rate(step)) for step in (0, 9, 17)]
