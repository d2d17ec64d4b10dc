"""Tests of pictures of masks: colours, overlay, legend and sheets."""

from __future__ import annotations

import numpy as np
from PIL import Image

from configs.taxonomy import load_taxonomy
from pipelines.pictures import below, beside, captions, colorize, legend, mistakes, overlay, save_png, sheet

CAMVID = load_taxonomy("camvid11")


def mask() -> np.ndarray:
    """uint8 (48, 64): sky on the left half, road on the right half, the last column ignored."""
    ids = np.zeros((48, 64), np.uint8)
    ids[:, 32:] = 3
    ids[:, 63] = 255
    return ids


def test_classes_have_the_taxonomys_colours_and_ignored_pixels_are_black():
    colored = colorize(mask(), CAMVID)
    assert (colored.shape, colored.dtype) == ((48, 64, 3), np.uint8)
    assert colored[0, 0].tolist() == [128, 128, 128]
    assert colored[0, 32].tolist() == [128, 64, 128]
    assert colored[0, 63].tolist() == [0, 0, 0]


def test_an_overlay_blends_scored_pixels_and_leaves_the_others():
    image = np.full((48, 64, 3), 100, np.uint8)
    # Road (128, 64, 128) at 0.25 over 100: 75 + 32 = 107, 75 + 16 = 91, 107.
    blended = overlay(image, mask(), CAMVID, opacity=0.25)
    assert blended.dtype == np.uint8
    assert blended[5, 40].tolist() == [107, 91, 107]
    assert blended[5, 63].tolist() == [100, 100, 100]
    assert overlay(image, mask(), CAMVID, opacity=1.0)[5, 0].tolist() == [128, 128, 128]


def test_wrong_pixels_are_red_over_the_dimmed_image_and_those_not_scored_are_black():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = (90, 120, 240)  # mean 150: 60 + 0.4 * 150 = 120
    predicted = mask()
    predicted[40:, 63] = 3  # is not scored, so it is not wrong
    predicted[10:20, 5:9] = 3  # sky taken for road
    shown = mistakes(image, mask(), predicted)
    assert (shown.shape, shown.dtype) == ((48, 64, 3), np.uint8)
    assert np.unique(shown[10:20, 5:9].reshape(-1, 3), axis=0).tolist() == [[235, 30, 30]]
    assert shown[0, 0].tolist() == [120, 120, 120]
    assert shown[47, 40].tolist() == [60, 60, 60]
    assert not shown[:, 63].any()
    # All that is red is the 10 x 4 pixels that are wrong.
    assert np.sum(shown[..., 0] != shown[..., 1]) == 40


def test_the_legend_shows_every_class_and_grows_with_a_narrow_width():
    wide, narrow = legend(CAMVID, 2000), legend(CAMVID, 100)
    assert wide.shape[1:] == (2000, 3)
    assert narrow.shape[1:] == (100, 3)
    assert narrow.shape[0] > 5 * wide.shape[0]
    for picture in (wide, narrow):
        colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
        assert {entry.color for entry in CAMVID.classes} <= colors


def test_pictures_stand_beside_each_other_with_a_gap():
    left, right = np.zeros((48, 64, 3), np.uint8), np.full((48, 10, 3), 7, np.uint8)
    joined = beside([left, right], gap=4)
    assert joined.shape == (48, 64 + 4 + 10, 3)
    assert (joined[:, :64] == 0).all()
    assert (joined[:, 68:] == 7).all()
    assert beside([left]).shape == (48, 64, 3)


def test_pictures_stand_below_each_other_filled_to_the_widest():
    top, bottom = np.zeros((48, 64, 3), np.uint8), np.full((8, 10, 3), 7, np.uint8)
    joined = below([top, bottom], gap=4)
    assert joined.shape == (48 + 4 + 8, 64, 3)
    assert (joined[52:, :10] == 7).all()
    assert (joined[52:, 10:] == 250).all()
    assert below([top, bottom], gap=0).shape == (56, 64, 3)


def test_captions_are_as_wide_as_the_row_beneath():
    line = captions(["image", "truth", "prediction"], 64)
    assert line.shape[1] == 3 * 64 + 2 * 4
    assert (line != 250).any()


def test_a_sheet_holds_titles_rows_and_legend():
    image = np.full((48, 64, 3), 100, np.uint8)
    row = [image, colorize(mask(), CAMVID)]
    made = sheet([row, row], ["image", "truth"], CAMVID)
    width = 2 * 64 + 4
    assert made.shape[1] == width
    assert made.shape[0] == 20 + 4 + 48 + 4 + 48 + 4 + legend(CAMVID, width).shape[0]
    np.testing.assert_array_equal(made[24:72, :64], image)


def test_pictures_and_masks_are_saved_with_their_values(tmp_path):
    path = tmp_path / "new" / "folder" / "mask.png"
    save_png(path, mask())
    with Image.open(path) as saved:
        assert saved.mode == "L"
        np.testing.assert_array_equal(np.asarray(saved), mask())
    save_png(path, colorize(mask(), CAMVID))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), colorize(mask(), CAMVID))


def test_a_text_is_broken_into_lines_that_fit():
    from pipelines.pictures import text_block

    one, three = (
        text_block("scale 1.2", 300),
        text_block("scale 1.2, rotate -3.4, hue 5.1, noise 3.2, brightness 1.1", 140),
    )
    assert one.shape == (23, 300, 3)
    assert three.shape[1] == 140
    assert three.shape[0] >= 17 * 3
    assert (three[:, -3:] == three[0, 0]).all()  # nothing runs over the right edge
