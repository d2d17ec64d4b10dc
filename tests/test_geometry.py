"""Geometry: right to the half pixel, image and mask alike, nothing invented."""

import numpy as np
import pytest

from tests.augmenting import HEIGHT, WIDTH, blocks, fixed_draws, noise_batch

EVERYTHING = {"flip": 0.5, "flip_vertical": 0.5, "scale": (0.6, 1.8), "rotate": 30, "shear": 10, "translate": 0.2}


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def run(options, images, masks, step=0):
    from pipelines.augment import Augmentation, AugmentOptions
    from pipelines.random_key import RandomKey

    augmentation = Augmentation(AugmentOptions(recipe="none", **options))
    return tuple(np.asarray(part) for part in augmentation(images, masks, RandomKey(1, step, 0)))


def test_identity_is_exact_to_the_bit():
    from pipelines.geometry import resample

    images, masks = noise_batch()
    identity = np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (len(images), 1, 1))
    moved, moved_masks = resample(images, masks, identity, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(moved, images)
    np.testing.assert_array_equal(moved_masks, masks)
    same, same_masks = run({}, images, masks)
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(same_masks, masks)


def test_flips_map_x_to_width_minus_one_minus_x_and_y_alike():
    images, masks = noise_batch()
    for options, flipped in (
        ({"flip": 1.0}, np.s_[:, :, ::-1]),
        ({"flip_vertical": 1.0}, np.s_[:, ::-1]),
        ({"flip": 1.0, "flip_vertical": 1.0}, np.s_[:, ::-1, ::-1]),
    ):
        moved, moved_masks = run(options, images, masks)
        np.testing.assert_array_equal(moved, images[flipped])
        np.testing.assert_array_equal(moved_masks, masks[flipped])


def test_all_four_combinations_of_flips_occur_equally_often():
    images, masks = noise_batch(size=400)
    _, moved = run({"flip": 0.5, "flip_vertical": 0.5}, images, masks)
    ways = (np.s_[:, :], np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1])
    shares = [np.mean([np.array_equal(a, b[way]) for a, b in zip(moved, masks, strict=True)]) for way in ways]
    assert sum(shares) == pytest.approx(1.0)
    assert all(0.17 < share < 0.33 for share in shares)  # 0.25 ± 4 standard deviations of 400 throws


def test_quarter_turns_of_a_square_are_exact():
    from pipelines.geometry import geometry_matrices, resample

    square = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3)).astype(np.uint8)
    ids = square[..., 0]
    for degrees, turns in ((90.0, 1), (-90.0, -1), (180.0, 2)):
        matrices = geometry_matrices(fixed_draws(rotate=degrees), (48, 48), (48, 48), 0.0)
        turned, turned_ids = resample(square, ids, matrices, (48, 48))
        np.testing.assert_array_equal(turned_ids[0], np.rot90(ids[0], turns))
        np.testing.assert_array_equal(turned[0], np.rot90(square[0], turns))


def test_half_a_pixel_is_half_of_both_neighbours():
    from pipelines.geometry import resample

    images, masks = noise_batch(size=1)
    half = np.array([[[1, 0, 0.5], [0, 1, 0]]], np.float32)
    moved = np.asarray(resample(images, masks, half, (HEIGHT, WIDTH))[0])
    levels = images.astype(np.float32)
    np.testing.assert_array_equal(moved[:, :, :-1], (levels[:, :, :-1] + levels[:, :, 1:]) / 2)
    np.testing.assert_array_equal(moved[:, :, -1], levels[:, :, -1] / 2)  # the other half lies outside, black


def test_a_crop_at_scale_one_is_a_piece_of_the_image():
    images, masks = noise_batch(size=8)
    cropped, cropped_masks = run({"crop": (16, 32)}, images, masks)
    assert cropped.shape == (8, 16, 32, 3)
    for crop, mask in zip(cropped_masks, masks, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(mask, (16, 32))
        assert (windows == crop).all(axis=(2, 3)).any()


def test_what_lies_outside_is_black_and_255():
    images, masks = noise_batch()
    small, small_masks = run({"scale": (0.5, 0.5)}, np.full_like(images, 200), masks)
    assert (small_masks[:, 0] == 255).all()
    assert (small[:, 0] == 0).all()
    assert 0.7 < np.mean(small_masks == 255) < 0.8  # a quarter of the area is left
    far, far_masks = run({"translate": 1.0, "scale": (0.01, 0.01)}, images, masks)
    assert np.isfinite(far).all()
    assert set(np.unique(far_masks)) <= {*range(11), 255}


@pytest.mark.parametrize("extra", [{}, {"elastic": 0.05}, {"crop": (32, 40)}])
def test_an_image_that_is_its_mask_stays_equal_to_it(extra):
    """The mask's id painted into the image, in blocks: where bilinear has one colour to mix, nearest has its id."""
    images, masks = blocks()
    for step in range(3):
        moved, moved_masks = run({**EVERYTHING, **extra}, images, masks, step=step)
        flat = np.ptp(np.lib.stride_tricks.sliding_window_view(moved[..., 0], (3, 3), axis=(1, 2)), axis=(3, 4)) < 1e-3
        inner, inner_mask = moved[:, 1:-1, 1:-1, 0][flat], moved_masks[:, 1:-1, 1:-1][flat]
        assert (inner_mask != 255).mean() > 0.3
        np.testing.assert_allclose(inner, np.where(inner_mask == 255, 0, inner_mask * 20.0 + 20.0), atol=1e-3)


def test_every_pixel_lies_between_the_colours_of_its_neighbours_ids():
    """Without a flat place to hide: on noise the mask is one of the four pixels that the image mixes."""
    ids = np.random.default_rng(3).integers(0, 2, (2, HEIGHT, WIDTH)).astype(np.uint8)
    images = np.repeat(ids[..., None] * 255, 3, axis=-1)
    moved, moved_masks = run({**EVERYTHING, "elastic": 0.05}, images, ids, step=5)
    # An id of 1 (white) that is the nearest weighs at least a quarter; an id of 0 leaves at most three quarters.
    assert (moved[..., 0][moved_masks == 1] >= 255 / 4 - 0.1).all()
    assert (moved[..., 0][moved_masks == 0] <= 255 * 3 / 4 + 0.1).all()


def test_the_elastic_warp_moves_by_at_most_what_it_says_and_differs_from_place_to_place():
    x = np.arange(WIDTH, dtype=np.uint8) * 3
    images = np.broadcast_to(x[None, None, :, None], (4, HEIGHT, WIDTH, 3)).copy()
    moved, _ = run({"elastic": 0.05}, images, np.zeros((4, HEIGHT, WIDTH), np.uint8))
    inner = np.s_[:, 4:-4, 4:-4, 0]
    shift = (moved[inner] - images[inner]) / 3.0
    # 0.05 · 48 = 2.4 pixels; the cubic interpolation may overshoot its points a little.
    assert 0.2 < np.abs(shift).max() < 2.4 * 1.3
    assert all(np.ptp(one) > 0.1 for one in shift)


def test_a_mask_never_holds_an_id_that_was_not_in_it():
    images, _ = noise_batch()
    masks = np.where(np.random.default_rng(0).random(images.shape[:3]) < 0.5, 2, 9).astype(np.uint8)
    assert set(np.unique(run({**EVERYTHING, "elastic": 0.1}, images, masks)[1])) <= {2, 9, 255}


def test_the_mask_taken_at_places_is_the_nearest_pixel_and_the_edge_beyond_it():
    from pipelines.geometry import nearest_mask

    masks = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    x, y = np.array([[[0.4, 0.6, 9.0, -3.0]]], np.float32), np.array([[[0.0, 0.6, 5.0, 0.4]]], np.float32)
    assert np.asarray(nearest_mask(masks, x, y)).tolist() == [[[0, 4, 5, 0]]]


def test_wrong_ranges_are_refused():
    from pydantic import ValidationError

    from pipelines.geometry import GeometryOptions

    with pytest.raises(ValidationError, match="0 < least <= most"):
        GeometryOptions(scale=(1.5, 0.5))
    with pytest.raises(ValidationError, match="at least"):
        GeometryOptions(elastic_grid=(1, 4))
