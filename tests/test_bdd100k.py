"""Tests of the BDD100K and Scalabel reader: curves worked out by hand, lanes, oldest files, all that is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beam_jobs.formats import bdd100k
from beam_jobs.formats.bdd100k import CURVE_POINTS, flatten
from beam_jobs.scan import scan
from tests.folders import DEEP, keys, letters, masks, refused, write_images, write_json

CAR, ROAD, IGNORED = 8, 3, 255
BOX = [[10, 5], [19, 5], [19, 14], [10, 14]]


def path(vertices: object = BOX, types: object = "LLLL", closed: object = True) -> dict[str, object]:
    return {"vertices": vertices, "types": types, "closed": closed}


def label(*parts: object, category: object = "car", **more: object) -> dict[str, object]:
    return {"id": "1", "category": category, "attributes": {}, "poly2d": list(parts), **more}


def frame(name: object, *labels: object) -> dict[str, object]:
    return {"name": name, "attributes": {"weather": "clear"}, "timestamp": 10000, "labels": list(labels)}


def labels(*values: object) -> dict[str, object]:
    return {"labels": list(values)}


def read(*values: object):
    return bdd100k.read(json.dumps(labels(*values)).encode())


def test_corners_are_points_as_they_are():
    found = read(label(path()), label(path(BOX[:3], None), category="road"))
    assert (found.height, found.width) == (None, None)
    assert [(one.number, one.label, len(one.polygon)) for one in found.shapes] == [(0, "car", 4), (1, "road", 3)]
    np.testing.assert_array_equal(found.shapes[0].polygon, BOX)


def test_parts_of_an_object_are_shapes_of_their_own():
    assert [(one.number, len(one.polygon)) for one in read(label(path(), path(BOX[:3], "LLL"))).shapes] == [
        (0, 4),
        (0, 3),
    ]


ARCH = np.array([[0.0, 0], [0, 8], [16, 8], [16, 0]])
"""A curve from (0, 0) with handles (0, 8) and (16, 8) to (16, 0).

At t the weights are (1−t)³, 3(1−t)²t, 3(1−t)t², t³. At 1/4: 27/64, 27/64, 9/64, 1/64, which gives
x = 16·(9 + 1)/64 = 2.5 and y = 8·(27 + 9)/64 = 4.5. At 1/2: 1/8, 3/8, 3/8, 1/8: x = 16·4/8 = 8, y = 8·6/8 = 6.
"""


@pytest.mark.parametrize("types", ["LCCC", "LCCL", "CCCC"])
def test_a_curve_has_two_handles_and_an_end(types):
    found = flatten(ARCH, types)
    assert found.shape == (1 + CURVE_POINTS, 2)
    np.testing.assert_allclose(found[[0, 4, 8, 12, 16]], [[0, 0], [2.5, 4.5], [8, 6], [13.5, 4.5], [16, 0]])


def test_a_curve_may_end_where_the_path_began():
    # From (16, 0) by way of (16, 8) and (0, 8) back to (0, 0): the arch the other way round.
    found = flatten(np.array([[0, 0], [16, 0], [16, 8], [0, 8]]), "LLCC")
    np.testing.assert_allclose(found[[0, 1, 5, 9, 17]], [[0, 0], [16, 0], [13.5, 4.5], [8, 6], [0, 0]])


def test_curves_follow_each_other_and_corners():
    second = ARCH[1:] + np.array([16, 0])
    found = flatten(np.concatenate([ARCH, second, [[40, 40], [0, 40]]]), "LCCCCCCLL")
    assert len(found) == 1 + 2 * CURVE_POINTS + 2
    np.testing.assert_allclose(found[[8, 16, 24, 32]], [[8, 6], [16, 0], [24, 6], [32, 0]])
    np.testing.assert_array_equal(found[-2:], [[40, 40], [0, 40]])


def test_a_curve_covers_less_than_its_handles(tmp_path):
    write_images(tmp_path, "a.png")
    write_json(tmp_path, "bdd.json", [frame("a.png", label(path((2 * ARCH).tolist(), "LCCC")))])
    mask = masks(tmp_path)["a"]
    # The arch twice as large: 12 high at x = 16, 9 at x = 5 and 27; its handles would reach 16.
    assert (mask[:, 16] == CAR).sum() == 13
    assert (mask[:, 5] == CAR).sum() == (mask[:, 27] == CAR).sum() == 10


@pytest.mark.parametrize("values", [{"box2d": {"x1": 1}}, {"poly2d": None}])
def test_boxes_are_counted_and_not_drawn(values):
    found = read({"category": "car", **values}, label(path()))
    assert [one.number for one in found.shapes] == [1]
    assert found.counts["objects_without_polygon"] == 1


def test_open_lines_are_counted_and_not_drawn():
    found = read(label(path(closed=False), category="lane"), label(path()))
    assert [one.number for one in found.shapes] == [1]
    assert found.counts["objects_that_are_lines"] == 1


TRIPLES = [[*point, "L"] for point in BOX]


def test_the_oldest_files_triples_are_one_path():
    found = read({"category": "area/drivable", "id": 1, "poly2d": TRIPLES}).shapes
    np.testing.assert_array_equal(found[0].polygon, BOX)
    curved = [[*point, kind] for point, kind in zip(ARCH.tolist(), "LCCC", strict=True)]
    np.testing.assert_allclose(read(label(*curved)).shapes[0].polygon, flatten(ARCH, "LCCC"))


def test_the_oldest_files_lanes_are_open():
    found = read(label(*TRIPLES, category="lane/crosswalk"), label(*TRIPLES, category="area/drivable"))
    assert [one.label for one in found.shapes] == ["area/drivable"]
    assert found.counts["objects_that_are_lines"] == 1


def test_a_file_for_many_images_of_a_split(tmp_path):
    write_images(tmp_path, "images/10k/train/a.jpg", "images/10k/val/b.png")
    write_json(tmp_path, "labels/pan_seg_train.json", [frame("a.jpg", label(path()))])
    write_json(tmp_path, "labels/pan_seg_val.json", {"frames": [frame("b.png")], "config": {}})
    assert scan(tmp_path).format == "bdd100k"
    assert keys(tmp_path) == ["10k/train/a", "10k/val/b"]
    found = masks(tmp_path)
    assert (found["10k/train/a"] == CAR).sum() == 100
    assert set(found["10k/val/b"].ravel()) == {IGNORED}


def test_a_file_for_each_image_names_it_without_its_suffix(tmp_path):
    write_images(tmp_path, "images/100k/train/0a-1.jpg", "images/100k/train/0b-2.jpg")
    for name, box in (("0a-1", TRIPLES), ("0b-2", TRIPLES[:3])):
        objects = [{"category": "road", "poly2d": box}, {"category": "lane/x", "poly2d": box}, {"category": "car"}]
        value = {"name": name, "frames": [{"timestamp": 10000, "objects": objects}], "attributes": {}}
        write_json(tmp_path, f"labels/100k/train/{name}.json", value)
    assert keys(tmp_path) == ["100k/train/0a-1", "100k/train/0b-2"]
    assert (masks(tmp_path)["100k/train/0a-1"] == ROAD).sum() == 100


@pytest.mark.parametrize("missing", [{"labels": None}, {}])
def test_a_frame_without_labels_is_all_canvas(tmp_path, missing):
    write_images(tmp_path, "a.png", "b.png")
    write_json(tmp_path, "x.json", [{"name": "a.png", **missing}, frame("b.png")])
    assert set(masks(tmp_path)["a"].ravel()) == {IGNORED}


def test_damaged_frames_cost_their_own_images_only(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png")
    write_json(tmp_path, "x.json", [None, frame(7), frame("a.png"), {"name": "b.png", "labels": 0}, frame("x.png")])
    assert keys(tmp_path) == ["a", "b"]
    assert letters(tmp_path) == [
        ("c", "no_annotation", "c.png: there is no annotation for this image"),
        ("x.json#0", "image_entry", "x.json: frame 0 has no name: null"),
        (
            "x.json#1",
            "image_entry",
            'x.json: frame 1 has no name: {"name": 7, "attributes": {"weather": "clear"}, "timestam...',
        ),
        ("x.json#x.png", "no_image", "x.json: image 'x.png': there is no such image"),
    ]
    assert refused("bdd100k", scan(tmp_path).pairs[1].inline.encode()) == ("no_objects", "'labels' is a number")


def test_a_damaged_file_costs_its_own_image_only(tmp_path):
    write_images(tmp_path, "a.png", "b.png")
    write_json(tmp_path, "a.json", b"[{")
    write_json(tmp_path, "b.json", [frame("b.png")])
    assert keys(tmp_path) == ["b"]
    assert [(key, code) for key, code, _ in letters(tmp_path)] == [
        ("a", "no_annotation"),
        ("a.json", "annotation_not_json"),
    ]


def test_an_images_own_file_with_two_frames_is_refused(tmp_path):
    value = {"name": "a", "frames": [{"objects": []}, {"objects": []}]}
    write_json(write_images(tmp_path, "a.jpg"), "a.json", value)
    assert letters(tmp_path) == [("a", "duplicate_key", "a.jpg: stands in a.json and again in a.json")]


CAR_0 = "object 0 ('car')"
POINT = "is not a point [x, y] of two numbers"
WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (DEEP.encode(), "annotation_too_deep", "brackets are nested deeper than 200"),
    ([], "annotation_not_object", "the frame: expected a JSON object, found a list"),
    ({}, "no_objects", "'labels' is missing"),
    (labels("x"), "annotation_not_object", "object 0: expected a JSON object, found text"),
    (labels(label(category=None)), "label_not_text", "object 0 has label null, which is not text"),
    (labels(label(poly2d="x")), "polygon_not_list", f"{CAR_0}: poly2d is text"),
    (labels(label(poly2d={})), "polygon_not_list", f"{CAR_0}: poly2d is an object"),
    (labels(label(None)), "annotation_not_object", f"{CAR_0}: poly2d: expected a JSON object, found null"),
    (labels(label([1, 2])), "annotation_not_object", f"{CAR_0}: poly2d: expected a JSON object, found a list"),
    (
        labels(label(*TRIPLES, path())),
        "annotation_not_object",
        f"{CAR_0}: poly2d: expected a JSON object, found a list",
    ),
    (labels(label({})), "polygon_not_list", f"{CAR_0}: polygon is missing"),
    (labels(label(path([[1, 2, 3]], "L"))), "polygon_points", f"{CAR_0}: [1, 2, 3] {POINT}"),
    (labels(label([1, None, "L"])), "polygon_points", f"{CAR_0}: [1, null] {POINT}"),
    (labels(label(path([[1, 2e9]], "L"))), "coordinate_range", f"{CAR_0}: point [1, 2000000000.0] is beyond ±1e6"),
    (labels(label(path(types="LLL"))), "curve_types", f'{CAR_0}: types "LLL" are not L or C for 4 points'),
    (labels(label(path(types="LLLX"))), "curve_types", f'{CAR_0}: types "LLLX" are not L or C for 4 points'),
    (labels(label(path(types=4))), "curve_types", f"{CAR_0}: types 4 are not L or C for 4 points"),
    (labels(label(path(types=False))), "curve_types", f"{CAR_0}: types false are not L or C for 4 points"),
    (labels(label([1, 2, 3])), "curve_types", f"{CAR_0}: types [3] are not L or C for 1 points"),
    (labels(label([1, 2, []])), "curve_types", f"{CAR_0}: types [[]] are not L or C for 1 points"),
    (labels(label([1, 2, "LL"])), "curve_types", f'{CAR_0}: types ["LL"] are not L or C for 1 points'),
    (
        labels(label(path(types="LCLL"))),
        "curve_types",
        f'{CAR_0}: types "LCLL" have a curve that is not of two handles and an end',
    ),
    (
        labels(label(path(types="LLLC"))),
        "curve_types",
        f'{CAR_0}: types "LLLC" have a curve that is not of two handles and an end',
    ),
    (
        labels(label(path(closed="false"))),
        "polygon_closed",
        f'{CAR_0}: closed is "false", which is neither true nor false',
    ),
    (labels(label(path(closed=None))), "polygon_closed", f"{CAR_0}: closed is null, which is neither true nor false"),
]


@pytest.mark.parametrize(("value", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(value, code, message):
    assert refused("bdd100k", value) == (code, message)
