"""The sheet of validation images: which ones, and what its four columns show."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


@pytest.mark.parametrize(
    ("count", "wanted", "numbers"),
    [(100, 4, [12, 37, 62, 87]), (5, 2, [1, 3]), (3, 8, [0, 1, 2]), (7, 1, [3]), (4, 4, [0, 1, 2, 3])],
)
def test_the_images_are_spread_evenly_over_the_split(count, wanted, numbers):
    from model.validation_sheet import spread

    assert spread(count, wanted) == numbers


def test_a_row_shows_input_truth_prediction_and_where_it_is_wrong(tiny_records):
    import keras

    from model.recipe import Recipe
    from model.validation_sheet import ValidationSheet
    from pipelines.dataset import open_records

    records = open_records(tiny_records)
    # A network that takes all for road, class 3: its logits are the bias.
    inputs = keras.Input((None, None, 3))
    bias = keras.initializers.Constant(np.eye(11)[3])
    network = keras.Model(inputs, keras.layers.Conv2D(11, 1, kernel_initializer="zeros", bias_initializer=bias)(inputs))
    sheet = ValidationSheet(Recipe.model_validate({"train": {"pictures": 2}}), records, network).draw()
    # Pictures of 48x64 are drawn 180x240, with 4 pixels between them.
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 4 * 240 + 3 * 4
    head = 20 + 4
    _, truth, prediction, wrong = (sheet[head : head + 180, left : left + 240] for left in (0, 244, 488, 732))
    road, black = np.all(truth == (128, 64, 128), axis=-1), ~truth.any(axis=-1)
    assert 0.1 < road.mean() < 0.9
    assert np.all(prediction == (128, 64, 128))
    red = np.all(wrong == (235, 30, 30), axis=-1)
    np.testing.assert_array_equal(red, ~road & ~black)
    np.testing.assert_array_equal(~wrong.any(axis=-1), black)
