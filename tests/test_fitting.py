"""Fitting images to one size and bringing predictions back."""

import numpy as np
import pytest

from pipelines.fitting import content_size, round_up


@pytest.mark.parametrize(
    ("size", "canvas", "expected"),
    [
        ((48, 64), (48, 64), (48, 64)),
        ((360, 480), (180, 240), (180, 240)),
        ((100, 300), (60, 90), (30, 90)),  # scale 0.3: the width decides
        ((300, 100), (60, 90), (60, 20)),  # scale 0.2: the height decides
        ((1, 5000), (60, 90), (1, 90)),  # never less than one pixel
    ],
)
def test_content_keeps_the_aspect_ratio_and_fits(size, canvas, expected):
    assert content_size(size, canvas) == expected


def test_content_size_in_the_graph_is_the_same_number(tensorflow_ready):
    from pipelines.fitting import Fitting, content_size_of

    random = np.random.default_rng(3)
    for _ in range(50):
        size, canvas = (tuple(int(v) for v in random.integers(1, 700, 2)) for _ in range(2))
        mask = np.zeros(size, np.uint8)
        assert tuple(content_size_of(mask, Fitting(canvas, 1)).numpy()) == content_size(size, canvas)


def test_round_up_gives_the_next_multiples():
    assert round_up((180, 240), 32) == (192, 256)
    assert round_up((64, 96), 32) == (64, 96)


def test_fit_fills_right_and_bottom_with_black_and_255(tensorflow_ready):
    from pipelines.fitting import Fitting, fit

    image, mask = np.full((10, 20, 3), 200, np.uint8), np.full((10, 20), 3, np.uint8)
    fitted, fitted_mask = fit(image, mask, Fitting((10, 20), 16))
    assert fitted.shape == (16, 32, 3)
    assert (fitted[:10, :20].numpy() == 200).all()
    assert fitted[10:].numpy().max() == 0
    assert fitted[:, 20:].numpy().max() == 0
    assert (fitted_mask[:10, :20].numpy() == 3).all()
    assert (fitted_mask[10:].numpy() == 255).all()
    assert (fitted_mask[:, 20:].numpy() == 255).all()


def test_fit_leaves_an_image_of_the_right_size_untouched(tensorflow_ready):
    from pipelines.fitting import Fitting, fit

    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (32, 64, 3), np.uint8), random.integers(0, 11, (32, 64), np.uint8)
    fitted, fitted_mask = fit(image, mask, Fitting((32, 64), 32))
    np.testing.assert_array_equal(fitted, image)
    np.testing.assert_array_equal(fitted_mask, mask)


def test_fit_invents_no_id_when_it_shrinks_a_mask(tensorflow_ready):
    from pipelines.fitting import Fitting, fit

    mask = np.tile(np.array([[0, 9], [9, 255]], np.uint8), (24, 32))
    _, fitted = fit(np.zeros((48, 64, 3), np.uint8), mask, Fitting((20, 30), 32))
    assert set(np.unique(fitted)) <= {0, 9, 255}


def test_stretching_fills_the_size_exactly(tensorflow_ready):
    from pipelines.fitting import Fitting, content_size_of, fit

    # The left half is class 1, the right half class 2: also when the width shrinks by 2 and the height grows by 1.5.
    mask = np.repeat(np.array([[1, 2]], np.uint8), 20, axis=1).repeat(20, axis=0)
    fitting = Fitting((30, 20), 16, "stretch")
    _, fitted = fit(np.zeros((20, 40, 3), np.uint8), mask, fitting)
    assert fitted.shape == (32, 32)
    assert (fitted[:30, :10].numpy() == 1).all()
    assert (fitted[:30, 10:20].numpy() == 2).all()
    assert (fitted[30:].numpy() == 255).all()
    assert tuple(content_size_of(mask, fitting).numpy()) == (30, 20)


def test_whole_images_under_crop_keep_their_pixels_on_a_canvas_of_their_own(tensorflow_ready):
    from pipelines.fitting import Fitting, content_size_of, fit

    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (33, 50, 3), np.uint8), random.integers(0, 11, (33, 50), np.uint8)
    fitting = Fitting((16, 16), 16, "crop")
    fitted, fitted_mask = fit(image, mask, fitting)
    assert fitted.shape == (48, 64, 3)
    np.testing.assert_array_equal(fitted[:33, :50], image)
    np.testing.assert_array_equal(fitted_mask[:33, :50], mask)
    assert (fitted_mask[33:].numpy() == 255).all()
    assert tuple(content_size_of(mask, fitting).numpy()) == (33, 50)


@pytest.mark.parametrize("rule", ["letterbox", "stretch", "crop"])
def test_scores_come_back_to_the_pixels_they_belong_to(tensorflow_ready, rule):
    from pipelines.fitting import Fitting, content_size_of, fit, unfit

    # Scores that are the fitted mask itself: brought back, they are the mask, but within a few pixels of an edge.
    mask = np.zeros((40, 96), np.uint8)
    mask[:20, 48:] = 1
    fitting = Fitting((32, 48), 32, rule)
    _, fitted = fit(np.zeros((40, 96, 3), np.uint8), mask, fitting)
    scores = np.eye(2, dtype=np.float32)[np.where(fitted == 1, 1, 0)][None]
    back = np.argmax(unfit(scores, content_size_of(mask, fitting), mask.shape)[0], axis=-1)
    assert back.shape == (40, 96)
    for rows, columns in ((slice(0, 17), slice(51, 96)), (slice(23, 40), slice(0, 96)), (slice(0, 40), slice(0, 45))):
        np.testing.assert_array_equal(back[rows, columns], mask[rows, columns])


def test_unfit_brings_scores_to_the_images_own_size(tensorflow_ready):
    from pipelines.fitting import unfit

    # A ramp along x on the content (4 x 6) of an 8 x 8 canvas; what was filled must leave no trace.
    scores = np.full((1, 8, 8, 2), 1e6, np.float32)
    scores[0, :4, :6, 0] = np.arange(6)
    scores[0, :4, :6, 1] = 7
    own = unfit(scores, (4, 6), (8, 12)).numpy()
    assert own.shape == (1, 8, 12, 2)
    assert own.max() == 7
    # Half-pixel centres: output x = 5 lies at input (5 + 0.5) / 2 - 0.5 = 2.25.
    np.testing.assert_allclose(own[0, :, 5, 0], 2.25, rtol=1e-6)
