"""Augmentation: geometry right to the half pixel, colour as one matrix, draws keyed on (seed, step, replica)."""

import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


def batch(seed=0, size=3):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (size, HEIGHT, WIDTH, 3)).astype(np.uint8)
    return images, random.integers(0, 11, (size, HEIGHT, WIDTH)).astype(np.uint8)


def run(options, images, masks, step=0, replica=0, seed=1):
    from pipelines.augment import AugmentOptions, RandomKey, augment

    output = augment(images, masks, AugmentOptions(**options), RandomKey(seed, step, replica))
    return np.asarray(output[0]), np.asarray(output[1])


STRONG = {
    "flip": 0.5, "scale": (0.6, 1.8), "rotate": 30, "shear": 10, "translate": 0.2,
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.5, "hue": 20, "channel_gain": 0.1,
}  # fmt: skip


def test_identity_is_exact_to_the_bit():
    from pipelines.augment import resample

    images, masks = batch()
    identity = np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (3, 1, 1))
    moved, moved_masks = resample(images.astype(np.float32), masks, identity, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(moved, images)
    np.testing.assert_array_equal(moved_masks, masks)
    same, same_masks = run({"flip": 0.0}, images, masks)
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(same_masks, masks)


def test_a_flip_maps_x_to_width_minus_one_minus_x():
    images, masks = batch()
    flipped, flipped_masks = run({"flip": 1.0}, images, masks)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])
    np.testing.assert_array_equal(flipped_masks, masks[:, :, ::-1])


def test_a_flip_of_half_the_images_happens_for_about_half_of_them():
    images, masks = batch(size=200)
    flipped, _ = run({"flip": 0.5}, images, masks)
    share = np.mean([np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, images, strict=True)])
    assert 0.4 < share < 0.6


def test_a_quarter_turn_of_a_square_is_exact():
    from pipelines.augment import AugmentOptions, geometry_matrices, resample

    class QuarterTurn:
        """A key whose draws are all 0 but the angle's, which is 1."""

        def uniform(self, shape, purpose):
            return np.tile(np.array([[0, 1, 0, 0, 0, 0]], np.float32), (shape[0], 1))

    square = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3)).astype(np.float32)
    ids = square[..., 0].astype(np.uint8)
    options = AugmentOptions(flip=0.0, rotate=90)
    matrices = geometry_matrices(1, (48, 48), (48, 48), options, QuarterTurn())
    turned, turned_ids = resample(square, ids, np.round(matrices, 4), (48, 48))
    np.testing.assert_array_equal(turned_ids[0], np.rot90(ids[0], 1))
    np.testing.assert_array_equal(turned[0], np.rot90(square[0], 1))


def test_a_crop_at_scale_one_is_a_piece_of_the_image():
    images, masks = batch(size=8)
    cropped, cropped_masks = run({"flip": 0.0, "crop": (16, 32)}, images, masks)
    assert cropped.shape == (8, 16, 32, 3)
    # Offsets are drawn continuously; the mask is moved by nearest, so each must occur in the image.
    for crop, mask in zip(cropped_masks, masks, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(mask, (16, 32))
        assert (windows == crop).all(axis=(2, 3)).any()


def test_what_lies_outside_is_black_and_255():
    images, masks = batch()
    small, small_masks = run({"flip": 0.0, "scale": (0.5, 0.5)}, np.full_like(images, 200), masks)
    assert (small_masks[:, 0] == 255).all()
    assert (small[:, 0] == 0).all()
    assert 0.7 < np.mean(small_masks == 255) < 0.8  # a quarter of the area is left


def test_an_image_that_is_its_mask_stays_equal_to_it():
    # Blocks of one id: away from their edges bilinear and nearest must agree.
    ids = np.kron(np.random.default_rng(2).integers(0, 11, (4, 6, 8)), np.ones((8, 8), int)).astype(np.uint8)
    images = np.repeat(ids[..., None] * 20, 3, axis=-1)
    geometry = {key: STRONG[key] for key in ("flip", "scale", "rotate", "shear", "translate")}
    for step in range(4):
        moved, moved_masks = run(geometry, images, ids, step=step)
        flat = np.ptp(
            np.lib.stride_tricks.sliding_window_view(moved[..., 0], (3, 3), axis=(1, 2)), axis=(3, 4)
        ) < 1e-3  # fmt: skip
        inner, inner_mask = moved[:, 1:-1, 1:-1, 0][flat], moved_masks[:, 1:-1, 1:-1][flat]
        scored = inner_mask != 255
        assert scored.sum() > 2000
        np.testing.assert_allclose(inner[scored], inner_mask[scored] * 20.0, atol=1e-3)


def test_a_mask_never_holds_an_id_that_was_not_in_it():
    images, _ = batch()
    masks = np.where(np.random.default_rng(0).random((3, HEIGHT, WIDTH)) < 0.5, 2, 9).astype(np.uint8)
    assert set(np.unique(run(STRONG, images, masks)[1])) <= {2, 9, 255}


def test_levels_stay_in_0_to_255_and_grey_stays_grey_under_saturation_and_hue():
    images, masks = batch()
    colored, _ = run(STRONG, images, masks)
    assert colored.min() >= 0
    assert colored.max() <= 255
    grey = np.full((3, HEIGHT, WIDTH, 3), 100, np.uint8)
    turned, _ = run({"flip": 0.0, "saturation": 0.9, "hue": 90}, grey, masks)
    np.testing.assert_allclose(turned, 100, atol=1e-2)


def test_brightness_and_contrast_worked_by_hand():
    from pipelines.augment import AugmentOptions, color_matrices, recolor

    class Half:
        """A key whose draws are all 1/2."""

        def uniform(self, shape, purpose):
            return np.full(shape, 0.5, np.float32)

    image = np.full((1, 2, 3, 3), 100, np.float32)
    # brightness 0.4: 100 · 1.2 = 120; contrast 0.6 on top: (120 − 127.5) · 1.3 + 127.5 = 117.75
    matrices = color_matrices(1, AugmentOptions(brightness=0.4, contrast=0.6), Half())
    np.testing.assert_allclose(recolor(image, *matrices), 117.75, rtol=1e-5)


def test_draws_are_a_function_of_seed_step_and_replica():
    images, masks = batch()
    first = run(STRONG, images, masks, step=5, replica=1, seed=3)[0]
    np.testing.assert_array_equal(first, run(STRONG, images, masks, step=5, replica=1, seed=3)[0])
    for other in (
        {"step": 6, "replica": 1, "seed": 3},
        {"step": 5, "replica": 0, "seed": 3},
        {"step": 5, "replica": 1, "seed": 4},
    ):
        assert not np.array_equal(first, run(STRONG, images, masks, **other)[0])


def test_a_graph_gives_what_eager_execution_gives(tensorflow_ready):
    from pipelines.augment import AugmentOptions, RandomKey, augment

    images, masks = batch()
    options = AugmentOptions(**STRONG, crop=(32, 32))
    compiled = tensorflow_ready.function(lambda i, m, step: augment(i, m, options, RandomKey(1, step, 0)))
    in_graph = compiled(images, masks, tensorflow_ready.constant(7))
    eager = augment(images, masks, options, RandomKey(1, 7, 0))
    np.testing.assert_allclose(in_graph[0], eager[0], atol=1e-3)
    np.testing.assert_array_equal(in_graph[1], eager[1])


def test_wrong_ranges_are_refused():
    from pydantic import ValidationError

    from pipelines.augment import AugmentOptions

    with pytest.raises(ValidationError, match="0 < least <= most"):
        AugmentOptions(scale=(1.5, 0.5))
