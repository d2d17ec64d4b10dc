"""Tests of the Cityscapes and IDD reader: keys of paths, shapes of a file, and a code for everything wrong."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import numpy as np
import pytest

from beam_jobs.annotation import BadInput
from beam_jobs.formats.cityscapes import annotation_key, image_key
from beam_jobs.formats.cityscapes import read as read_annotation

BOX = [[1, 2], [10, 2], [10, 8.5]]
DEEP = "[" * 1000 + "]" * 1000


def document(*objects: object, **changes: object) -> bytes:
    return json.dumps({"imgHeight": 48, "imgWidth": 64, "objects": list(objects), **changes}).encode()


def with_polygon(text: str) -> bytes:
    return f'{{"imgHeight": 48, "imgWidth": 64, "objects": [{{"label": "car", "polygon": {text}}}]}}'.encode()


@pytest.mark.parametrize(
    ("image", "annotation", "key"),
    [
        (
            "leftImg8bit/train/aachen/a_1_leftImg8bit.png",
            "gtFine/train/aachen/a_1_gtFine_polygons.json",
            "train/aachen/a_1",
        ),
        ("leftImg8bit/val/0/7_leftImg8bit.JPG", "gtCoarse/val/0/7_gtCoarse_polygons.json", "val/0/7"),
        ("7_leftImg8bit.jpeg", "7_gtFine_polygons.json", "7"),
        (
            "deep/leftImg8bit/b c/é [1]*_leftImg8bit.png",
            "deep/gtFine/b c/é [1]*_gtFine_polygons.json",
            "deep/b c/é [1]*",
        ),
    ],
)
def test_an_image_and_its_annotation_have_one_key(image, annotation, key):
    assert image_key(PurePosixPath(image)) == key
    assert annotation_key(PurePosixPath(annotation)) == key


@pytest.mark.parametrize("name", ["a.png", "_leftImg8bit.png", "a_leftImg8bit.gif", "a_gtFine_labelIds.png", "a.json"])
def test_other_files_have_no_key(name):
    assert image_key(PurePosixPath("train") / name) is None
    assert annotation_key(PurePosixPath("train") / name) is None


def test_shapes_come_in_the_files_order_with_their_numbers():
    found = read_annotation(document({"label": "sky", "polygon": BOX}, {"label": "Car ", "polygon": []}))
    assert (found.height, found.width) == (48, 64)
    assert [(shape.number, shape.label) for shape in found.shapes] == [(0, "sky"), (1, "Car ")]
    assert found.shapes[0].polygon.dtype == np.float64
    np.testing.assert_array_equal(found.shapes[0].polygon, BOX)
    assert found.shapes[1].polygon.shape == (0, 2)


@pytest.mark.parametrize("mark", [1, True, "1", "true", " TRUE "])
def test_deleted_objects_are_dropped_unseen_and_numbers_stay_those_of_the_file(mark):
    objects = [{"deleted": mark, "label": 3, "polygon": "nonsense"}, {"label": "car", "polygon": BOX}]
    assert [(shape.number, shape.label) for shape in read_annotation(document(*objects)).shapes] == [(1, "car")]


@pytest.mark.parametrize("mark", [0, False, "0", "false", "", None])
def test_objects_that_are_not_deleted_stay(mark):
    assert len(read_annotation(document({"deleted": mark, "label": "car", "polygon": BOX})).shapes) == 1


def test_a_byte_order_mark_and_whole_numbers_written_as_floats_are_read():
    found = read_annotation(b"\xef\xbb\xbf" + document(imgHeight=48.0))
    assert (found.height, type(found.height)) == (48, int)


def test_many_points_and_objects_are_read():
    ring = [[index % 64, index % 48] for index in range(100_000)]
    assert read_annotation(document({"label": "car", "polygon": ring})).shapes[0].polygon.shape == (100_000, 2)
    assert len(read_annotation(document(*[{"label": "car", "polygon": BOX}] * 10_000)).shapes) == 10_000


CAR = "object 0 ('car')"
POINT = "is not a point [x, y] of two numbers"


WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (b" \n", "annotation_empty", "the file is empty"),
    (b"\xef\xbb\xbf", "annotation_empty", "the file is empty"),
    (b"{", "annotation_not_json", "not JSON in UTF-8 ("),
    (document()[:-5], "annotation_not_json", "not JSON in UTF-8 ("),
    (document().decode().encode("utf-16"), "annotation_not_json", "not JSON in UTF-8 ("),
    ('{"label": "é"}'.encode("latin-1"), "annotation_not_json", "not JSON in UTF-8 ("),
    (b"[" * 100_000, "annotation_too_deep", "brackets are nested deeper than 200"),
    (b"[]", "annotation_not_object", "the file: expected a JSON object, found a list"),
    (b"null", "annotation_not_object", "the file: expected a JSON object, found null"),
    (b"3", "annotation_not_object", "the file: expected a JSON object, found a number"),
    (b"true", "annotation_not_object", "the file: expected a JSON object, found true or false"),
    (b'"x"', "annotation_not_object", "the file: expected a JSON object, found text"),
    (b"{}", "no_objects", "'objects' is missing"),
    (document(objects={}), "no_objects", "'objects' is an object"),
    (b'{"objects": []}', "annotation_size", "imgHeight is missing"),
    (document(imgWidth=0), "annotation_size", "imgWidth is 0"),
    (document(imgWidth=-64), "annotation_size", "imgWidth is -64"),
    (document(imgWidth="64"), "annotation_size", 'imgWidth is "64"'),
    (document(imgWidth=True), "annotation_size", "imgWidth is true"),
    (document(imgWidth=64.5), "annotation_size", "imgWidth is 64.5"),
    (document(imgHeight=float("nan")), "annotation_size", "imgHeight is NaN"),
    (b'{"imgHeight": 48, "imgWidth": 1e999, "objects": []}', "annotation_size", "imgWidth is Infinity"),
    (document(5), "object_not_object", "object 0 is a number"),
    (document({"label": "car", "polygon": BOX}, None), "object_not_object", "object 1 is null"),
    (document({"polygon": BOX}), "label_not_text", "object 0 has label null, which is not text"),
    (document({"label": 7, "polygon": BOX}), "label_not_text", "object 0 has label 7, which is not text"),
    (document({"label": "car"}), "polygon_not_list", f"{CAR}: polygon is missing"),
    (with_polygon("{}"), "polygon_not_list", f"{CAR}: polygon is an object"),
    (with_polygon("[1, 2, 3]"), "polygon_points", f"{CAR}: 1 {POINT}"),
    (with_polygon("[[1, 2], [3, 4, 5]]"), "polygon_points", f"{CAR}: [3, 4, 5] {POINT}"),
    (with_polygon("[[1, 2, 0], [3, 4, 5]]"), "polygon_points", f"{CAR}: [1, 2, 0] {POINT}"),
    (with_polygon("[[1, 2], [null, 4]]"), "polygon_points", f"{CAR}: [null, 4] {POINT}"),
    (with_polygon('[[1, 2], ["3", 4]]'), "polygon_points", f'{CAR}: ["3", 4] {POINT}'),
    (with_polygon("[[1, 2], [true, 4]]"), "polygon_points", f"{CAR}: [true, 4] {POINT}"),
    (with_polygon("[[[1, 2], [3, 4]]]"), "polygon_points", f"{CAR}: [[1, 2], [3, 4]] {POINT}"),
    (with_polygon("[[]]"), "polygon_points", f"{CAR}: [] {POINT}"),
    (with_polygon("[[1, 2], [NaN, 4]]"), "coordinate_not_finite", f"{CAR}: point [NaN, 4] is not finite"),
    (
        with_polygon("[[1, 2], [3, -Infinity]]"),
        "coordinate_not_finite",
        f"{CAR}: point [3, -Infinity] is not finite",
    ),
    (with_polygon("[[1, 2], [3, 1e999]]"), "coordinate_not_finite", f"{CAR}: point [3, Infinity] is not finite"),
    (with_polygon("[[1, 2], [3, 1e9]]"), "coordinate_range", f"{CAR}: point [3, 1000000000.0] is beyond ±1e6"),
    (with_polygon("[[1, 2], [3, -1000001]]"), "coordinate_range", f"{CAR}: point [3, -1000001] is beyond ±1e6"),
    (with_polygon(f"[[1, 2], [3, 1{'0' * 30}]]"), "coordinate_range", f"{CAR}: point [3, 1e+30] is beyond ±1e6"),
]


@pytest.mark.parametrize(("data", "code", "message"), WRONG, ids=[code for _, code, _ in WRONG])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(data, code, message):
    with pytest.raises(BadInput) as caught:
        read_annotation(data)
    assert caught.value.code == code
    assert str(caught.value).startswith(message)
    if not message.endswith("("):
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "data",
    [
        with_polygon(DEEP[1:-1]),
        f'{{"imgHeight": 48, "imgWidth": 64, "objects": [{{"label": {DEEP}, "polygon": []}}]}}'.encode(),
        f'{{"imgHeight": {DEEP}, "imgWidth": 64, "objects": []}}'.encode(),
        DEEP.encode(),
    ],
    ids=["polygon", "label", "size", "all"],
)
def test_values_nested_a_thousand_deep_are_bad_input_with_a_short_message(data):
    with pytest.raises(BadInput) as caught:
        read_annotation(data)
    assert len(str(caught.value)) < 200


def test_a_long_label_is_shortened_in_the_message():
    with pytest.raises(BadInput) as caught:
        read_annotation(document({"label": list(range(10_000)), "polygon": BOX}))
    assert len(str(caught.value)) < 200
