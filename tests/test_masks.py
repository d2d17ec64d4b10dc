"""Tests of the reader of ready masks: what PNGs hold, which image is theirs, and all that is refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.formats import masks as reader
from beam_jobs.formats.base import Files
from beam_jobs.scan import scan
from configs.taxonomy import Taxonomy
from tests.folders import build_all, keys, letters, masks, refused, write_images
from tests.streets import TINY

IGNORED = 255


def ids(seed: int = 0, most: int = 11) -> np.ndarray:
    """Random class ids, uint8 (48, 64)."""
    return np.random.default_rng(seed).integers(0, most, TINY, np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def palette(values: np.ndarray, seed: int) -> Image.Image:
    """A palette picture of these indices whose colours are random."""
    picture = Image.fromarray(values)
    picture.putpalette(np.random.default_rng(seed).integers(0, 256, 768, np.uint8).tobytes())
    return picture


def png(bits: int, color_type: int, rows: bytes, size: tuple[int, int]) -> bytes:
    """A PNG written by hand, in a bit depth that Pillow does not write: each row begins with its filter, 0."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", size[1], size[0], bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write(folder, path, data):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data if isinstance(data, bytes) else encoded(data))


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_grey_mask_holds_its_levels(kind):
    found = reader.read(encoded(Image.fromarray(ids(most=256)), kind))
    assert (found.height, found.width, found.shapes) == (48, 64, [])
    assert found.ids.dtype == np.uint8
    np.testing.assert_array_equal(found.ids, ids(most=256))


@pytest.mark.parametrize("seed", range(3))
def test_of_a_palette_only_the_indices_count(seed):
    np.testing.assert_array_equal(reader.read(encoded(palette(ids(), seed))).ids, ids())


def test_a_palette_of_four_bits_and_one_with_transparency_hold_their_indices():
    picture = palette(ids(most=16), 0)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=4, transparency=3)
    assert buffer.getvalue()[24] == 4
    np.testing.assert_array_equal(reader.read(buffer.getvalue()).ids, ids(most=16))


def test_a_mask_of_one_bit_holds_0_and_1():
    found = reader.read(encoded(Image.fromarray(ids(most=2) > 0)))
    assert found.ids.dtype == np.uint8
    np.testing.assert_array_equal(found.ids, ids(most=2))


MODE = "expected 8 bits, grey or palette"
WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (b"<html>", "mask_damaged", "the mask: not a PNG"),
    (encoded(Image.new("RGB", (64, 48)), "JPEG"), "mask_damaged", "the mask: not a PNG"),
    (encoded(Image.new("RGB", (64, 48))), "mask_mode", f"the mask has mode RGB; {MODE}"),
    (encoded(Image.new("RGBA", (64, 48))), "mask_mode", f"the mask has mode RGBA; {MODE}"),
    (encoded(Image.new("LA", (64, 48))), "mask_mode", f"the mask has mode LA; {MODE}"),
    (encoded(Image.new("I;16", (64, 48))), "mask_mode", f"the mask has mode I;16; {MODE}"),
    # Two pixels of ids 1 and 2, in 4 bits each; 1, 2, 3, 0 in 2 bits each. Pillow gives 17, 34 and 85, 170, 255, 0.
    (png(4, 0, b"\0\x12", (1, 2)), "mask_mode", f"the mask has mode grey of 4 bits; {MODE}"),
    (png(2, 0, b"\0\x6c", (1, 4)), "mask_mode", f"the mask has mode grey of 2 bits; {MODE}"),
    (
        png(8, 0, b"", (100_000, 100_000)),
        "mask_too_large",
        "masks (1) of size [100000, 100000] have more than 1073741824 pixels",
    ),
]


@pytest.mark.parametrize(("data", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message(data, code, message):
    assert refused("masks", data) == (code, message)


@pytest.mark.parametrize("left", [8, 20, 40, 60, 1000])
def test_a_mask_that_is_cut_off_anywhere_is_damaged(left):
    code, message = refused("masks", encoded(Image.fromarray(ids()))[:left])
    assert code == "mask_damaged"
    assert message.startswith("the mask: ")
    assert " at 0x" not in message  # an address would differ from run to run


def test_pairs_lie_in_parallel_trees_under_one_name(tmp_path):
    write_images(tmp_path, "images/train/a.jpg", "images/val/d 1/é.png")
    write(tmp_path, "masks/train/a.png", Image.fromarray(ids(1)))
    write(tmp_path, "masks/val/d 1/é.png", palette(ids(2), 2))
    assert (scan(tmp_path).format, keys(tmp_path), letters(tmp_path)) == ("masks", ["train/a", "val/d 1/é"], [])
    found = masks(tmp_path)
    np.testing.assert_array_equal(found["train/a"], ids(1))
    np.testing.assert_array_equal(found["val/d 1/é"], ids(2))


@pytest.mark.parametrize(
    ("image", "mask", "key"),
    [
        ("a.jpg", "masks/a.png", "a"),
        ("images/a.jpg", "annotations/a_mask.png", "a"),
        ("701_StillsRaw_full/0001TP_1.png", "labels/701_StillsRaw_full/0001TP_1_L.png", "701_StillsRaw_full/0001TP_1"),
        ("images/training/ADE_1.jpg", "annotations/training/ADE_1.png", "training/ADE_1"),
        ("JPEGImages/2007_1.jpg", "SegmentationClass/2007_1.png", "2007_1"),
        ("leftImg8bit/val/m/m_1_leftImg8bit.png", "gtFine/val/m/m_1_gtFine_labelIds.png", "val/m/m_1"),
        # The innermost folder that has a meaning tells what a file is.
        ("labels/set/images/a.png", "labels/set/masks/a.png", "set/a"),
    ],
)
def test_real_layouts_give_one_key(tmp_path, image, mask, key):
    write_images(tmp_path, image)
    write(tmp_path, mask, Image.fromarray(ids()))
    assert keys(tmp_path) == [key]


def test_left_and_right_cameras_are_two_images(tmp_path):
    """CamVid's masks end in _L, but so may an image."""
    write_images(tmp_path, "images/a_L.jpg", "images/a_R.jpg", "images/b.jpg")
    for name in ("a_L", "a_R", "b_L"):
        write(tmp_path, f"masks/{name}.png", Image.fromarray(ids()))
    assert (keys(tmp_path), letters(tmp_path)) == (["a_L", "a_R", "b"], [])


def test_other_maps_of_the_same_images_are_left_out(tmp_path):
    write_images(tmp_path, "leftImg8bit/val/m/m_1_leftImg8bit.png", "JPEGImages/v.jpg")
    write_images(tmp_path, "SegmentationObject/v.png", "gtFine/val/m/m_1_gtFine_color.png")
    write_images(tmp_path, "gtFine/val/m/m_1_gtFine_instanceIds.png")
    write(tmp_path, "gtFine/val/m/m_1_gtFine_labelIds.png", Image.fromarray(ids()))
    write(tmp_path, "SegmentationClass/v.png", Image.fromarray(ids()))
    assert (keys(tmp_path), letters(tmp_path)) == (["v", "val/m/m_1"], [])


def test_what_has_no_partner_or_two_is_a_dead_letter(tmp_path):
    write_images(tmp_path, "images/a.jpg", "images/b.jpg", "images/d.jpg")
    for name in ("a", "c", "d_mask", "d_label"):
        write(tmp_path, f"masks/{name}.png", Image.fromarray(ids()))
    assert keys(tmp_path) == ["a"]
    assert letters(tmp_path) == [
        ("b", "no_annotation", "images/b.jpg: there is no annotation for this image"),
        ("c", "no_image", "masks/c.png: there is no image for this annotation"),
        ("d", "duplicate_key", "masks/d_label.png and masks/d_mask.png have one key, 'd'"),
    ]


def test_a_folder_has_masks_if_a_tree_of_that_name_holds_a_picture(tmp_path):
    assert reader.has_masks(Files(tmp_path, ["images/a.png", "Masks/x/a.PNG"]))
    assert not reader.has_masks(Files(tmp_path, ["images/a.png", "masks.png", "masks/a.jpg", "masks/a.json"]))


TWO = Taxonomy.model_validate(
    {
        "name": "two",
        "classes": [{"name": "road", "color": (1, 2, 3)}, {"name": "car", "color": (4, 5, 6)}],
        "labels": {},
        "ids": {7: "road", 26: "car", 0: "ignore"},
    }
)


def one_mask(folder, values):
    write_images(folder, "images/a.png")
    write(folder, "masks/a.png", Image.fromarray(values))
    return folder


def test_values_are_mapped_by_the_taxonomys_table(tmp_path):
    values = np.array([0, 7, 26], np.uint8)[ids(most=3)]
    expected = np.array([IGNORED, 0, 1])[ids(most=3)]
    np.testing.assert_array_equal(masks(one_mask(tmp_path, values), TWO)["a"], expected)


def test_without_a_table_values_are_class_ids_and_255(tmp_path):
    values = ids()
    values[:5] = IGNORED
    np.testing.assert_array_equal(masks(one_mask(tmp_path, values))["a"], values)


@pytest.mark.parametrize(("taxonomy", "value"), [("camvid11", 11), (TWO, 255), (TWO, 1)])
def test_a_value_outside_the_taxonomy_is_refused_or_ignored(tmp_path, taxonomy, value):
    values = np.full(TINY, 7, np.uint8)
    values[3, 40] = value
    error = build_all(one_mask(tmp_path, values), taxonomy)["a"]
    assert isinstance(error, BadInput)
    assert (error.code, error.source) == ("unknown_id", "masks/a.png")
    assert str(error).startswith(f"the mask holds value {value}, which taxonomy ")
    allowed = masks(tmp_path, taxonomy, unknown_labels="ignore")["a"]
    assert allowed[3, 40] == IGNORED
    assert (allowed == IGNORED).sum() == 1


@pytest.mark.parametrize("rescale", [False, True])
def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path, rescale):
    error = build_all(one_mask(tmp_path, np.zeros((64, 48), np.uint8)), rescale_polygons=rescale)["a"]
    assert isinstance(error, BadInput)
    assert error.code == "size_differs"
    assert str(error).startswith("the image is 48x64, its annotation says 64x48 (height x width)")
