"""Bilinear enlargement and spreading: against TensorFlow's resizing, at sizes known and unknown."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 16])
def test_enlarging_is_tensorflows_bilinear_resizing(tensorflow_ready, factor):
    from model.enlarging import enlarge

    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = tensorflow_ready.image.resize(x, (3 * factor, 5 * factor), method="bilinear")
    np.testing.assert_allclose(enlarge(x, factor), expected, atol=1e-6)


def test_sizes_need_not_be_known_when_it_is_traced(tensorflow_ready):
    from model.enlarging import Enlarge, EnlargeLike, SpreadLike

    tf = tensorflow_ready
    spec = tf.TensorSpec([None, None, None, 2], tf.float32)
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 2)).astype(np.float32)
    like = np.zeros((1, 3, 5, 2), np.float32)
    for layer, arguments in ((Enlarge(2), (x,)), (EnlargeLike(2), (x, like)), (SpreadLike(), (x[:, :1, :1], like))):
        traced = tf.function(layer.call, input_signature=[spec] * len(arguments))
        np.testing.assert_allclose(traced(*map(tf.constant, arguments)), layer(*arguments), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 16), (7, 9), (13, 3)])
def test_pooled_values_come_back_to_the_middle_of_their_windows(size):
    from keras import layers

    from model.enlarging import EnlargeLike

    # A ramp is bilinear: pooled and enlarged it is the same again, but for the windows at the border.
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    ramp = np.stack([rows, columns], axis=-1)[None]
    back = np.asarray(EnlargeLike(4)(layers.AveragePooling2D(4, padding="same")(ramp), ramp))
    assert back.shape == ramp.shape
    inner = (slice(None), *(slice(6, side - 6) for side in size))
    np.testing.assert_allclose(back[inner], ramp[inner], atol=1e-5)
    assert np.abs(back - ramp).max() <= 2.5


def test_spreading_repeats_a_vector_at_every_place():
    from model.enlarging import SpreadLike

    vector = np.array([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], np.float32)
    spread = np.asarray(SpreadLike()(vector, np.zeros((2, 3, 4, 7), np.float32)))
    assert spread.shape == (2, 3, 4, 2)
    assert (spread == vector).all()
