"""Tests of the VGG Image Annotator reader: both versions, every shape, free attributes, and all that is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beam_jobs.formats import via
from beam_jobs.scan import scan
from tests.folders import DEEP, keys, letters, masks, refused, write_images, write_json

CAR, IGNORED = 8, 255
POLYGON = {"name": "polygon", "all_points_x": [10, 19, 19, 10], "all_points_y": [5, 5, 14, 14]}


def region(form: object, attributes: object = None) -> dict[str, object]:
    return {"shape_attributes": form, "region_attributes": {"label": "car"} if attributes is None else attributes}


def entry(name: object, regions: object) -> dict[str, object]:
    return {"filename": name, "size": 12345, "regions": regions, "file_attributes": {}}


def first_version(name: str, *regions: object) -> dict[str, object]:
    numbered = {str(number): value for number, value in enumerate(regions)}
    return {
        "fileref": "",
        "size": 1,
        "filename": name,
        "base64_img_data": "",
        "file_attributes": {},
        "regions": numbered,
    }


def read(*regions: object):
    return via.read(json.dumps({"regions": list(regions)}).encode())


def outline(form: object) -> np.ndarray:
    return read(region(form)).shapes[0].polygon


def test_regions_come_in_the_files_order():
    found = read(region(POLYGON), region({**POLYGON, "all_points_x": [1.5, 2, 3, 4]}, {"label": "road"}))
    assert (found.height, found.width) == (None, None)
    assert [(one.number, one.label) for one in found.shapes] == [(0, "car"), (1, "road")]
    np.testing.assert_array_equal(found.shapes[0].polygon, [[10, 5], [19, 5], [19, 14], [10, 14]])
    assert found.shapes[1].polygon[0].tolist() == [1.5, 5]


def test_the_first_versions_regions_are_an_object():
    value = first_version("a.jpg", *[region(POLYGON, {"label": name}) for name in "abcdefghijkl"])
    found = via.read(json.dumps({"regions": value["regions"]}).encode())
    assert "".join(one.label for one in found.shapes) == "abcdefghijkl"


def test_a_rectangle_is_given_by_its_corner_and_size():
    found = outline({"name": "rect", "x": 10, "y": 5, "width": 9, "height": 4.5})
    assert found.tolist() == [[10, 5], [19, 5], [19, 9.5], [10, 9.5]]


def test_a_circle_is_given_by_its_centre_and_radius():
    found = outline({"name": "circle", "cx": 20, "cy": 15, "r": 5})
    np.testing.assert_allclose(np.hypot(*(found - [20, 15]).T), 5)
    np.testing.assert_allclose(found[via.ELLIPSE_POINTS // 4], [20, 20])


def test_an_ellipse_is_turned_about_its_centre_by_radians():
    # A quarter turn takes the end of the first half axis, (8, 0), to (0, 8), that of the second, (0, 3), to (−3, 0).
    flat = outline({"name": "ellipse", "cx": 20, "cy": 15, "rx": 8, "ry": 3})
    turned = outline({"name": "ellipse", "cx": 20, "cy": 15, "rx": 8, "ry": 3, "theta": np.pi / 2})
    quarter = via.ELLIPSE_POINTS // 4
    np.testing.assert_allclose(flat[[0, quarter]], [[28, 15], [20, 18]])
    np.testing.assert_allclose(turned[[0, quarter]], [[20, 23], [17, 15]])


@pytest.mark.parametrize("kind", ["point", "polyline"])
def test_what_covers_nothing_is_counted_and_needs_no_label(kind):
    found = read(region({"name": kind, "cx": 1, "cy": 2}, {}), region(POLYGON))
    assert [one.number for one in found.shapes] == [1]
    assert found.counts["objects_that_are_lines"] == 1


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ({"label": "car"}, "car"),
        ({"name": "my car", "type": "car", "colour": "red"}, "car"),
        ({"class": "car", "type": "van"}, "car"),
        ({"anything": "car"}, "car"),
    ],
)
def test_the_label_is_the_attribute_that_is_called_so_or_the_only_one(attributes, label):
    assert read(region(POLYGON, attributes)).shapes[0].label == label


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_either_version_and_a_saved_project_are_read(tmp_path, version, project):
    write_images(tmp_path, "train/a.png", "train/b.png")
    one = first_version("a.png", region(POLYGON)) if version == 1 else entry("a.png", [region(POLYGON)])
    value = {"a.png12345": one, "b.png1": entry("b.png", [])}
    write_json(tmp_path, "via.json", {"_via_settings": {}, "_via_img_metadata": value} if project else value)
    assert scan(tmp_path).format == "via"
    found = masks(tmp_path)
    expected = np.full((48, 64), IGNORED)
    expected[5:15, 10:20] = CAR
    np.testing.assert_array_equal(found["train/a"], expected)
    assert set(found["train/b"].ravel()) == {IGNORED}


def test_a_file_that_calls_itself_coco_is_known_by_its_content(tmp_path):
    write_json(write_images(tmp_path, "a.png"), "annotations/instances_val2017_coco.json", {"a": entry("a.png", [])})
    assert (scan(tmp_path).format, keys(tmp_path)) == ("via", ["val/a"])


def test_damaged_entries_cost_their_own_images_only(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    value = {"1": None, "2": entry(7, []), "3": {"regions": []}, "4": entry("b.png", []), "5": {"filename": "c.png"}}
    write_json(tmp_path, "via.json", {**value, "6": entry("x.png", [])})
    assert keys(tmp_path) == ["b", "c"]
    assert letters(tmp_path) == [
        ("a", "no_annotation", "a.png: there is no annotation for this image"),
        ("d", "no_annotation", "d.png: there is no annotation for this image"),
        ("via.json#0", "image_entry", "via.json: entry 0 has no filename: null"),
        (
            "via.json#1",
            "image_entry",
            'via.json: entry 1 has no filename: {"filename": 7, "size": 12345, "regions": [], "file_attri...',
        ),
        ("via.json#2", "image_entry", 'via.json: entry 2 has no filename: {"regions": []}'),
        ("via.json#x.png", "no_image", "via.json: image 'x.png': there is no such image"),
    ]
    assert refused("via", scan(tmp_path).pairs[1].inline.encode()) == ("no_objects", "'regions' is missing")


CAR_0 = "object 0 ('car')"
POINT = "is not a point [x, y] of two numbers"
LISTS = f"{CAR_0}: all_points_x and all_points_y are not lists of one length"


def regions(*values: object) -> dict[str, object]:
    return {"regions": list(values)}


def one(**form: object) -> dict[str, object]:
    return regions(region(form))


WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (DEEP.encode(), "annotation_too_deep", "brackets are nested deeper than 200"),
    (None, "annotation_not_object", "the image's entry: expected a JSON object, found null"),
    ({"regions": "x"}, "no_objects", "'regions' is text"),
    (regions(None), "annotation_not_object", "object 0: expected a JSON object, found null"),
    (regions({}), "annotation_not_object", "object 0: shape_attributes: expected a JSON object, found null"),
    (
        regions(region(POLYGON, "car")),
        "annotation_not_object",
        "object 0: region_attributes: expected a JSON object, found text",
    ),
    (
        regions(region(POLYGON, {})),
        "label_missing",
        "object 0 has attributes []; the label is looked for in label, class, category, type, name",
    ),
    (
        regions(region(POLYGON, {"a": "x", "b": "y"})),
        "label_missing",
        'object 0 has attributes ["a", "b"]; the label is looked for in label, class, category, type, name',
    ),
    (
        regions(region(POLYGON, {"label": {"car": True}})),
        "label_not_text",
        'object 0 has label {"car": true}, which is not text',
    ),
    (one(), "shape_type", f"{CAR_0} has shape null, which is unknown"),
    (one(name="cube"), "shape_type", f'{CAR_0} has shape "cube", which is unknown'),
    (one(name=["rect"]), "shape_type", f'{CAR_0} has shape ["rect"], which is unknown'),
    (one(name="polygon"), "polygon_points", LISTS),
    (one(name="polygon", all_points_x=[1, 2], all_points_y=[1]), "polygon_points", LISTS),
    (one(name="polygon", all_points_x={}, all_points_y={}), "polygon_points", LISTS),
    (one(name="polygon", all_points_x=[1, "2"], all_points_y=[3, 4]), "polygon_points", f'{CAR_0}: ["2", 4] {POINT}'),
    (
        one(name="polygon", all_points_x=[1, float("nan")], all_points_y=[3, 4]),
        "coordinate_not_finite",
        f"{CAR_0}: point [NaN, 4] is not finite",
    ),
    (one(name="rect", x=1, y=2, width=3), "polygon_points", f"{CAR_0}: [3, null] {POINT}"),
    (one(name="rect", x=1, y=2, width=-3, height=4), "shape_size", f"{CAR_0}: a rect of size [-3, 4]"),
    (
        one(name="rect", x=1, y=2e9, width=3, height=4),
        "coordinate_range",
        f"{CAR_0}: point [1, 2000000000.0] is beyond ±1e6",
    ),
    (one(name="circle", cx=1, cy=2, r=-3), "shape_size", f"{CAR_0}: a circle of size [-3, -3]"),
    (one(name="circle", cx=1, cy=2, r="3"), "polygon_points", f'{CAR_0}: ["3", "3"] {POINT}'),
    (one(name="ellipse", cx=1, cy=2, rx=3), "polygon_points", f"{CAR_0}: [3, null] {POINT}"),
    (one(name="ellipse", cx=1, cy=2, rx=3, ry=4, theta="x"), "polygon_points", f'{CAR_0}: ["x", 0] {POINT}'),
    (
        one(name="ellipse", cx=1, cy=2, rx=3, ry=4, theta=float("inf")),
        "coordinate_not_finite",
        f"{CAR_0}: point [Infinity, 0] is not finite",
    ),
]


@pytest.mark.parametrize(("value", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(value, code, message):
    assert refused("via", value) == (code, message)
