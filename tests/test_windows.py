"""Windows of large images: anywhere, or around pixels of rare classes."""

import numpy as np
import pytest

WINDOW = (6, 9)


@pytest.fixture
def corners(tensorflow_ready):
    """``corners(mask, rare, weights)``: (top, left) at 300 positions, int (300, 2)."""
    from pipelines.windows import WindowDraw, window_corner

    tf = tensorflow_ready

    def draw(mask, rare=0.0, weights=(), seed=1, epoch=0):
        every = np.zeros(256, np.float32)
        every[: len(weights)] = weights
        draw = WindowDraw(WINDOW, rare, every, seed)
        positions = tf.data.Dataset.range(300).map(
            lambda n: window_corner(tf.constant(mask), draw, epoch, tf.cast(n, tf.int32))
        )
        return np.stack(list(positions.as_numpy_iterator()))

    return draw


def holds(corners, pixels):
    """Which windows hold at least one of the pixels."""
    inside = (pixels >= corners[:, None]) & (pixels < corners[:, None] + WINDOW)
    return inside.all(axis=2).any(axis=1)


def test_windows_lie_everywhere_inside_and_are_a_function_of_seed_epoch_and_position(corners):
    mask = np.zeros((20, 30), np.uint8)
    found = corners(mask)
    assert found.min(axis=0).tolist() == [0, 0]
    assert found.max(axis=0).tolist() == [20 - 6, 30 - 9]
    assert len(np.unique(found[:, 0])) == 15  # every row of 0..14 occurs
    np.testing.assert_array_equal(found, corners(mask))
    assert not np.array_equal(found, corners(mask, epoch=1))
    assert not np.array_equal(found, corners(mask, seed=2))


def test_an_image_smaller_than_the_window_is_taken_whole(corners):
    assert (corners(np.zeros((5, 9), np.uint8)) == 0).all()
    assert (corners(np.ones((5, 9), np.uint8), rare=1.0, weights=[1, 1]) == 0).all()


def test_rare_windows_hold_a_pixel_of_the_rare_class_wherever_it_is(corners):
    for pixel in ([0, 0], [19, 29], [10, 3]):
        mask = np.zeros((20, 30), np.uint8)
        mask[tuple(pixel)] = 2
        found = corners(mask, rare=1.0, weights=[0.0, 5.0, 1.0])
        assert holds(found, np.array([pixel])).all()
    # A pixel in the middle stands at many places in its windows, not only in the middle.
    assert len({tuple(corner) for corner in found.tolist()}) > 20


def test_classes_are_drawn_by_their_weight_whatever_their_area(corners):
    # Class 1 fills the left third, class 2 is one pixel far at the right: thrice the weight, thrice the windows.
    mask = np.full((20, 60), 255, np.uint8)
    mask[:, :20], mask[10, 55] = 1, 2
    found = corners(mask, rare=1.0, weights=[0, 1.0, 3.0])
    share = holds(found, np.array([[10, 55]])).mean()
    # 300 draws of probability 0.75: deviation 0.025.
    assert 0.65 < share < 0.85
    assert (holds(found, np.array([[10, 55]])) | holds(found, np.argwhere(mask == 1))).all()


def test_only_the_share_of_windows_that_was_asked_for_is_rare(corners):
    mask = np.zeros((100, 100), np.uint8)[:, :90]
    mask[50, 50] = 1
    weights = [0.0, 1.0]
    assert 0.4 < holds(corners(mask, 0.5, weights), np.array([[50, 50]])).mean() < 0.6
    assert holds(corners(mask, 0.0, weights), np.array([[50, 50]])).mean() < 0.05


def test_a_mask_without_a_class_to_draw_has_windows_anywhere(corners):
    found = corners(np.full((20, 30), 255, np.uint8), rare=1.0, weights=[1.0])
    assert found.max(axis=0).tolist() == [14, 21]


def test_rarity_is_one_over_the_share_of_the_scored_pixels():
    pytest.importorskip("tensorflow")
    from pipelines.windows import rarity

    weights = rarity([75, 0, 25])
    np.testing.assert_allclose(weights[:3], [100 / 75, 0, 4])
    assert weights[3:].sum() == 0


def test_image_and_mask_are_cut_at_the_same_place(tensorflow_ready):
    from pipelines.windows import WindowDraw, cut_window

    mask = np.random.default_rng(0).integers(0, 11, (20, 30)).astype(np.uint8)
    image = np.stack([mask] * 3, axis=-1)
    draw = WindowDraw(WINDOW, 0.5, np.ones(256, np.float32), 1)
    window, cut = cut_window(tensorflow_ready.constant(image), tensorflow_ready.constant(mask), draw, 0, 7)
    assert window.shape == (*WINDOW, 3)
    np.testing.assert_array_equal(window[..., 0], cut)
