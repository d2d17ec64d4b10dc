"""Tests of the LabelMe reader: every shape type, where files lie, images that viewers turn, and all that is refused."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.convert import Built
from beam_jobs.formats import labelme
from beam_jobs.scan import scan
from tests.folders import DEEP, build_all, keys, letters, masks, refused, write_images, write_json

CAR, ROAD, IGNORED = 8, 3, 255
BOX = [[10, 5], [19, 5], [19, 14], [10, 14]]


def document(*shapes: object, **changes: object) -> dict[str, object]:
    head = {"version": "5.2.1", "flags": {}, "imagePath": "a.jpg", "imageData": None}
    return {**head, "imageHeight": 48, "imageWidth": 64, "shapes": list(shapes), **changes}


def shape(points: object, kind: object = "polygon", label: object = "car", **more: object) -> dict[str, object]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def png(mask: object, mode: str | None = None) -> str:
    """A mask as LabelMe writes it: a PNG in base64."""
    picture = Image.fromarray(np.asarray(mask, np.uint8))
    buffer = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def read(*shapes: object, **changes: object):
    return labelme.read(json.dumps(document(*shapes, **changes)).encode())


def test_polygons_come_in_the_files_order():
    found = read(shape(BOX, label="road"), shape(BOX[:3]), shape(BOX, None), {"label": "sky", "points": BOX})
    assert (found.height, found.width) == (48, 64)
    assert [(one.number, one.label) for one in found.shapes] == [(0, "road"), (1, "car"), (2, "car"), (3, "sky")]
    np.testing.assert_array_equal(found.shapes[1].polygon, BOX[:3])


@pytest.mark.parametrize("points", [[[10, 5], [20, 15]], [[20, 15], [10, 5]], [[20, 5], [10, 15]]])
def test_a_rectangle_has_four_corners_whichever_two_are_given(points):
    corners = {tuple(corner) for corner in read(shape(points, "rectangle")).shapes[0].polygon.tolist()}
    assert corners == {(10, 5), (20, 5), (20, 15), (10, 15)}


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation"])
def test_a_rectangle_of_four_corners_is_their_ring(kind):
    turned = [[30, 5], [40, 15], [30, 25], [20, 15]]
    np.testing.assert_array_equal(read(shape(turned, kind)).shapes[0].polygon, turned)


def test_a_circle_is_given_by_its_centre_and_a_point_on_it():
    # The radius is 5, by 3² + 4² = 5²; the first point lies to the right of the centre.
    ring = read(shape([[20, 15], [23, 19]], "circle")).shapes[0].polygon
    assert ring.shape == (labelme.CIRCLE_POINTS, 2)
    np.testing.assert_allclose(np.hypot(*(ring - [20, 15]).T), 5)
    np.testing.assert_allclose(ring[0], [25, 15])
    assert (ring.max(axis=0) == [25, 20]).all()


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_what_covers_nothing_is_counted_and_not_drawn(kind):
    found = read(shape(BOX, kind), shape(BOX))
    assert [one.number for one in found.shapes] == [1]
    assert found.counts["objects_that_are_lines"] == 1


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_a_mask_fills_the_box_between_its_two_points(mode):
    # 3 rows and 2 columns with their corner at x = 10, y = 5. LabelMe writes 0 and 1, others 0 and 255.
    small = np.array([[0, 255], [255, 255], [255, 0]])
    found = read(shape([[10.9, 5.2], [11.0, 7.9]], "mask", mask=png(small, mode)))
    expected = np.zeros((48, 64), bool)
    expected[[5, 6, 6, 7], [11, 10, 11, 10]] = True
    np.testing.assert_array_equal(found.shapes[0].bitmap, expected)
    assert len(found.shapes[0].polygon) == 0


def test_a_mask_of_zeros_and_ones_is_no_darker_than_one_of_0_and_255():
    assert read(shape([[1, 2], [2, 2]], "mask", mask=png([[0, 1]]))).shapes[0].bitmap.sum() == 1


def test_a_mask_that_reaches_outside_is_cut_at_the_images_edges():
    # 4x4, one pixel out at the top and left: 3x3 remain. And the same at the bottom and right.
    whole = png(np.ones((4, 4)))
    first = read(shape([[-1, -1], [2, 2]], "mask", mask=whole)).shapes[0].bitmap
    last = read(shape([[61, 45], [64, 48]], "mask", mask=whole)).shapes[0].bitmap
    away = read(shape([[100, -50], [103, -47]], "mask", mask=whole)).shapes[0].bitmap
    assert (first.sum(), last.sum(), away.sum()) == (9, 9, 0)
    assert first[:3, :3].all()
    assert last[45:, 61:].all()


def test_an_old_file_without_a_size_has_the_images():
    found = read(shape(BOX), imageHeight=None, imageWidth=None)
    assert (found.height, found.width, len(found.shapes)) == (None, None, 1)


OBJECT = "object 0 ('car')"
POINT = "is not a point [x, y] of two numbers"
ONE = png([[1]])
WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (b"{", "annotation_not_json", "not JSON in UTF-8 (unexpected end of data: line 1 column 2 (char 1))"),
    (DEEP.encode(), "annotation_too_deep", "brackets are nested deeper than 200"),
    ([], "annotation_not_object", "the file: expected a JSON object, found a list"),
    ({}, "no_objects", "'shapes' is missing"),
    (document(shapes={}), "no_objects", "'shapes' is an object"),
    (document(None), "annotation_not_object", "object 0: expected a JSON object, found null"),
    (document(imageHeight=None), "annotation_size", "imageHeight is missing"),
    (document(imageWidth=-64), "annotation_size", "imageWidth is -64"),
    (document(imageWidth="64"), "annotation_size", 'imageWidth is "64"'),
    (document(shape(BOX, label=None)), "label_not_text", "object 0 has label null, which is not text"),
    (document({"label": "car"}), "polygon_not_list", f"{OBJECT}: polygon is missing"),
    (document(shape([[1, 2], [3]])), "polygon_points", f"{OBJECT}: [3] {POINT}"),
    (document(shape([[1, float("nan")]])), "coordinate_not_finite", f"{OBJECT}: point [1, NaN] is not finite"),
    (document(shape([[1, 2e9]])), "coordinate_range", f"{OBJECT}: point [1, 2000000000.0] is beyond ±1e6"),
    (document(shape(BOX, "cuboid")), "shape_type", f'{OBJECT} has shape_type "cuboid", which is unknown'),
    (document(shape(BOX, "Polygon")), "shape_type", f'{OBJECT} has shape_type "Polygon", which is unknown'),
    (document(shape(BOX, "")), "shape_type", f'{OBJECT} has shape_type "", which is unknown'),
    (document(shape(BOX, [])), "shape_type", f"{OBJECT} has shape_type [], which is unknown"),
    (document(shape(BOX, {"a": 1})), "shape_type", f'{OBJECT} has shape_type {{"a": 1}}, which is unknown'),
    (document(shape(BOX, False)), "shape_type", f"{OBJECT} has shape_type false, which is unknown"),
    (document(shape(BOX[:3], "rectangle")), "polygon_points", f"{OBJECT}: a rectangle has 2 or 4 points, found 3"),
    (document(shape(BOX, "circle")), "polygon_points", f"{OBJECT}: a circle has 2 points, found 4"),
    (document(shape([], "circle")), "polygon_points", f"{OBJECT}: a circle has 2 points, found 0"),
    (document(shape(BOX[:2], "rotation")), "polygon_points", f"{OBJECT}: a rotation has 4 points, found 2"),
    (document(shape(BOX[:2], "mask")), "mask_damaged", f"{OBJECT}: mask is not base64: null"),
    (document(shape(BOX[:2], "mask", mask=7)), "mask_damaged", f"{OBJECT}: mask is not base64: 7"),
    (document(shape(BOX[:2], "mask", mask="%")), "mask_damaged", f'{OBJECT}: mask is not base64: "%"'),
    (document(shape(BOX[:2], "mask", mask="\ud800")), "mask_damaged", f'{OBJECT}: mask is not base64: "\\ud800"'),
    (document(shape(BOX[:2], "mask", mask="aGVsbG8=")), "mask_damaged", f"{OBJECT}: mask: not a PNG"),
    (document(shape(BOX[:1], "mask", mask=ONE)), "polygon_points", f"{OBJECT}: a mask has 2 points, found 1"),
    (document(shape([[1, 1], [4, 3]], "mask", mask=ONE)), "mask_size", f"{OBJECT}: its mask is 1x1, its box 3x4"),
    (
        document(shape(BOX[:2], "mask"), imageHeight=10**6, imageWidth=10**7),
        "mask_too_large",
        "masks (1) of size [1000000, 10000000] have more than 1073741824 pixels",
    ),
    (document(shape(BOX[:2], "mask"), imageHeight=None, imageWidth=None), "annotation_size", "imageHeight is missing"),
]


@pytest.mark.parametrize(("value", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(value, code, message):
    assert refused("labelme", value) == (code, message)


def test_a_mask_that_is_cut_off_is_damaged():
    cut = base64.b64encode(base64.b64decode(png(np.eye(30)))[:-30]).decode()
    code, message = refused("labelme", document(shape([[0, 0], [29, 29]], "mask", mask=cut)))
    assert code == "mask_damaged"
    assert message.startswith("object 0 ('car'): mask: the PNG does not decode to its end (")


@pytest.mark.parametrize("path", ["a.jpg", "C:\\Users\\ann\\other.jpg", "../images/a.png", "", None, 7])
def test_the_partner_is_the_image_of_the_files_name_whatever_the_file_calls_it(tmp_path, path):
    write_json(write_images(tmp_path, "a.jpg"), "a.json", document(shape(BOX), imagePath=path))
    assert keys(tmp_path) == ["a"]
    assert scan(tmp_path).format == "labelme"


def test_files_beside_their_images_and_in_a_parallel_tree_have_the_same_keys(tmp_path):
    write_images(tmp_path, "beside/train/d 1/é.jpg", "beside/val/d2/b.PNG", "tree/images/train/d 1/é.jpg")
    for path in ("beside/train/d 1/é", "beside/val/d2/b", "tree/annotations/train/d 1/é"):
        write_json(tmp_path, f"{path}.json", document())
    assert keys(tmp_path / "beside") == ["train/d 1/é", "val/d2/b"]
    assert keys(tmp_path / "tree") == ["train/d 1/é"]


def test_what_has_no_partner_or_two_is_a_dead_letter(tmp_path):
    write_images(tmp_path, "a.jpg", "b.jpg", "c.jpg", "c.png")
    for name in ("a", "c", "flags"):
        write_json(tmp_path, f"{name}.json", document())
    assert keys(tmp_path) == ["a"]
    assert letters(tmp_path) == [
        ("b", "no_annotation", "b.jpg: there is no annotation for this image"),
        ("c", "duplicate_key", "c.jpg and c.png have one key, 'c'"),
        ("flags", "no_image", "flags.json: there is no image for this annotation"),
    ]


@pytest.mark.parametrize("data", [None, "", "A" * 3_000_000, "%not base64%", 7, ["x"]])
def test_the_images_own_bytes_in_the_file_do_not_matter(tmp_path, data):
    write_json(write_images(tmp_path, "a.png"), "a.json", document(shape(BOX), imageData=data))
    assert (masks(tmp_path)["a"] == CAR).sum() == 100


def test_the_masks_of_all_kinds_of_shapes_lie_where_they_were_drawn(tmp_path):
    shapes = [
        shape([[0, 0], [63, 47]], "rectangle", "road"),
        shape([[30, 20], [30, 25]], "circle"),
        shape([[2, 3], [5, 4]], "mask", mask=png(np.ones((2, 4)))),
        shape([[0, 40], [63, 40]], "line", "sky"),
        shape(BOX, label="void"),
    ]
    write_json(write_images(tmp_path, "a.png"), "a.json", document(*shapes))
    expected = np.full((48, 64), ROAD)
    down, across = np.mgrid[:48, :64]
    distance = np.hypot(across - 30, down - 20)
    expected[3:5, 2:6] = CAR
    expected[5:15, 10:20] = IGNORED
    mask = masks(tmp_path)["a"]
    np.testing.assert_array_equal(mask[:, :20], expected[:, :20])
    assert (mask[distance < 4] == CAR).all()
    assert (mask[(distance > 6) & (across > 19)] == ROAD).all()


@pytest.mark.parametrize("size", [{}, {"imageHeight": None, "imageWidth": None}])
def test_polygons_mean_the_image_as_viewers_turn_it(tmp_path, size):
    """A white block, the upper left 16x32 of the stored image, stands upright at the upper right when turned."""
    stored = np.zeros((48, 64), np.uint8)
    stored[:16, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the stored pixel (row, column) goes to x = 47 − row, y = column
    Image.fromarray(stored).convert("RGB").save(tmp_path / "a.jpg", quality=95, exif=exif)
    block = shape([[32, 0], [47, 0], [47, 31], [32, 31]])
    write_json(tmp_path, "a.json", document(block, **{"imageHeight": 64, "imageWidth": 48, **size}))
    built = build_all(tmp_path)["a"]
    assert isinstance(built, Built), built
    image = np.asarray(Image.open(io.BytesIO(built.record.image)).convert("L"))
    mask = masks(tmp_path)["a"]
    assert image.shape == mask.shape == (64, 48)
    np.testing.assert_array_equal(mask == CAR, image > 127)
    assert built.counts["images_turned"] == 1


def test_a_damaged_file_costs_its_own_image_only(tmp_path):
    write_images(tmp_path, *(f"{name}.png" for name in "abc"))
    write_json(tmp_path, "a.json", b'{"shapes": [')
    write_json(tmp_path, "b.json", document(shape(BOX, "blob")))
    write_json(tmp_path, "c.json", document(shape(BOX)))
    built = build_all(tmp_path)
    assert {key: one.code for key, one in built.items() if isinstance(one, BadInput)} == {
        "a": "annotation_not_json",
        "b": "shape_type",
    }
    assert isinstance(built["c"], Built)
