"""The moving average of the weights, worked by hand, and swapped in and out to the bit."""

import numpy as np
import pytest


@pytest.fixture
def network(tensorflow_ready):
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.layers.Input((4, 6, 3)), keras.layers.Conv2D(2, 1), keras.layers.BatchNormalization()]
    )


def test_it_follows_the_weights_and_their_moving_statistics(tensorflow_ready, network):
    from model.averaging import WeightAverage

    tf = tensorflow_ready
    average = WeightAverage(network, 0.9)
    expected = [weight.numpy() for weight in network.weights]
    random = np.random.default_rng(0)
    for step in range(40):
        for number, weight in enumerate(network.weights):
            weight.assign(random.normal(size=weight.shape))
            momentum = min(0.9, (1 + step) / (10 + step))
            expected[number] = momentum * expected[number] + (1 - momentum) * weight.numpy()
        average.update(tf.constant(step))
    with average.in_place():
        for weight, value in zip(network.weights, expected, strict=True):
            np.testing.assert_allclose(weight.numpy(), value, rtol=1e-4, atol=1e-6)


def test_the_networks_own_weights_come_back_to_the_bit_also_after_an_error(tensorflow_ready, network):
    from model.averaging import WeightAverage

    average = WeightAverage(network, 0.5)
    for weight in network.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    before = [weight.numpy() for weight in network.weights]
    average.update(tensorflow_ready.constant(1000))
    with pytest.raises(KeyError, match=r"[1-9]"), average.in_place():
        raise KeyError(sum(float(abs(weight.numpy() - old).sum()) for weight, old in zip(network.weights, before)))
    for weight, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
