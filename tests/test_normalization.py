"""The fused batch normalisation is Keras' own layer: values, gradients, moving statistics, files."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (3, 4, 6, 5)


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def pair(**arguments):
    """Our layer and Keras' own, both built."""
    import keras

    from model.normalization import BatchNormalization

    layers = BatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments)
    for layer in layers:
        layer.build(SHAPE)
        for weight in layer.trainable_weights:
            weight.assign(np.random.default_rng(len(weight.name)).uniform(0.5, 1.5, weight.shape))
    return layers


def images(dtype="float32"):
    return np.random.default_rng(0).normal(3, 2, SHAPE).astype(dtype)


@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("training", [True, False])
def test_values_gradients_and_moving_statistics_are_keras(tensorflow_ready, scale, center, training):
    tf = tensorflow_ready
    results = []
    for layer in pair(momentum=0.7, epsilon=2e-5, scale=scale, center=center):
        x = tf.constant(images())
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y**3)  # a plain sum has no gradient through a normalisation
        gradients = tape.gradient(loss, [x, *weights])
        results.append([y, *gradients, *layer.weights])
    assert len(results[0]) == (8 if scale and center else 6)
    for ours, keras_own in zip(*results, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-4, atol=2e-4)


def test_moving_variance_is_the_batchs_own():
    layer, _ = pair(momentum=0.5)
    x = images()
    layer(x, training=True)
    # Half of what it was, half of the batch's, which is divided by n = 72 and not by 71.
    np.testing.assert_allclose(layer.moving_variance, 0.5 * 1 + 0.5 * x.var(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.5 * x.mean(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("arguments", [{"dtype": "float64"}, {"synchronized": True}, {"trainable": False}])
def test_where_there_is_no_kernel_it_is_keras_to_the_bit(arguments):
    ours, own = pair(**arguments)
    x = images(arguments.get("dtype", "float32"))
    np.testing.assert_array_equal(ours(x, training=True), own(x, training=True))
    np.testing.assert_array_equal(ours.moving_variance, own.moving_variance)


def test_the_kernel_is_what_runs(tensorflow_ready):
    """One device in float32 takes it, and nothing else does."""
    tf = tensorflow_ready

    def operations(**arguments):
        layer, _ = pair(**arguments)
        x = tf.TensorSpec(SHAPE, arguments.get("dtype", "float32"))
        graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(x).graph
        return {operation.type for operation in graph.get_operations()}

    assert "FusedBatchNormV3" in operations()
    assert "FusedBatchNormV3" not in operations(dtype="float64") | operations(synchronized=True)


def test_checkpoints_are_keras_own(tmp_path):
    import keras

    ours, own = pair()
    ours(images(), training=True)
    models = [keras.Sequential([keras.Input(SHAPE[1:]), layer]) for layer in (ours, own)]
    models[0].save_weights(tmp_path / "x.weights.h5")
    models[1].load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(models[1](images()), models[0](images()))
    models[0].save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again(images()), models[0](images()))
