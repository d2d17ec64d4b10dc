"""Colour: one matrix an image, then gamma and noise, always within 0..255."""

import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64
ALL = {
    "brightness": 0.3, "contrast": 0.3, "saturation": 0.5, "hue": 20, "channel_gain": 0.1, "gamma": 0.5, "noise": 9,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _tensorflow(tensorflow_ready):
    return tensorflow_ready


class Halves:
    """A key whose draws are all 1/2."""

    def uniform(self, shape, purpose):
        return np.full(shape, 0.5, np.float32)

    def fold(self, purpose):
        return np.array([1, purpose], np.int32)


def recolored(image, key=None, **options):
    from pipelines.color import ColorOptions, draw_color, recolor

    settings = ColorOptions(**options)
    return np.asarray(recolor(image, draw_color(len(image), settings, key or Halves()), settings))


def test_brightness_and_contrast_worked_by_hand():
    image = np.full((1, 2, 3, 3), 100, np.float32)
    # brightness 0.4: 100 · 1.2 = 120; contrast 0.6 on top: (120 − 127.5) · 1.3 + 127.5 = 117.75
    np.testing.assert_allclose(recolored(image, brightness=0.4, contrast=0.6), 117.75, rtol=1e-5)


def test_saturation_worked_by_hand():
    image = np.broadcast_to(np.array([100, 50, 0], np.float32), (1, 2, 3, 3))
    # Luma is 29.9 + 29.35 = 59.25; saturation 0.4 makes distances from it 1.2 times as long.
    expected = 59.25 + 1.2 * (np.array([100, 50, 0]) - 59.25)
    np.testing.assert_allclose(recolored(image, saturation=0.4)[0, 0, 0], np.maximum(expected, 0), atol=1e-3)


def test_gamma_worked_by_hand():
    image = np.full((1, 2, 3, 3), 0.25 * 255, np.float32)
    # log-uniform between 1/4 and 4, drawn at 1/2: 4^(1/2) = 2, and 0.25² = 0.0625
    np.testing.assert_allclose(recolored(image, gamma=3.0), 0.0625 * 255, rtol=1e-4)


def test_noise_has_the_deviation_that_was_drawn_and_differs_from_image_to_image():
    image = np.full((2, 200, 100, 3), 128, np.float32)
    noisy = recolored(image, noise=20) - 128  # drawn at 1/2 of [−1, 1): 3/4 of 20
    assert noisy.std() == pytest.approx(15, rel=0.02)
    assert abs(noisy.mean()) < 0.3
    assert not np.array_equal(noisy[0], noisy[1])


def test_grey_stays_grey_under_saturation_and_hue():
    grey = np.full((3, HEIGHT, WIDTH, 3), 100, np.float32)
    np.testing.assert_allclose(recolored(grey, saturation=0.9, hue=90), 100, atol=1e-2)


def test_a_whole_turn_of_the_hue_gives_the_colour_back():
    image = np.broadcast_to(np.array([120, 80, 100], np.float32), (1, 2, 3, 3))

    class WholeTurn(Halves):
        def uniform(self, shape, purpose):
            return np.full(shape, 2.0, np.float32)

    np.testing.assert_allclose(recolored(image, WholeTurn(), hue=180), image, atol=1e-2)
    assert np.abs(recolored(image, hue=180) - image).max() > 10


def test_levels_stay_in_0_to_255():
    from pipelines.random_key import RandomKey

    images = np.random.default_rng(0).choice([0.0, 255.0, 90.0], (6, HEIGHT, WIDTH, 3)).astype(np.float32)
    colored = recolored(images, RandomKey(3, 4, 0), **ALL)
    assert colored.min() >= 0
    assert colored.max() <= 255
    assert np.isfinite(colored).all()
