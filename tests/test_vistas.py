"""Tests of the Mapillary Vistas reader: its polygons among all its other trees, and all that is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from beam_jobs.formats import vistas
from beam_jobs.scan import scan
from configs.taxonomy import Taxonomy
from tests.folders import DEEP, keys, letters, masks, refused, write_images, write_json

BOX = [[10.2, 5.9], [19.9, 5], [19, 14.5], [10, 14]]


def thing(polygon: object, label: object = "object--vehicle--car") -> dict[str, object]:
    return {"label": label, "polygon": polygon}


def document(*objects: object, **changes: object) -> dict[str, object]:
    return {"width": 64, "height": 48, "objects": list(objects), **changes}


def test_objects_come_in_the_files_order():
    found = vistas.read(json.dumps(document(thing(BOX), thing([], "void--unlabeled"))).encode())
    assert (found.height, found.width) == (48, 64)
    assert [(one.number, one.label) for one in found.shapes] == [(0, "object--vehicle--car"), (1, "void--unlabeled")]
    np.testing.assert_array_equal(found.shapes[0].polygon, BOX)


def whole_tree(root, split, name):
    """One image as the archive of version 2 unpacks it: beside its polygons lie maps of two versions."""
    write_images(root, f"{split}/images/{name}.jpg")
    write_json(root, f"{split}/v2.0/polygons/{name}.json", document(thing(BOX)))
    for version in ("v1.2", "v2.0"):
        write_images(root, *(f"{split}/{version}/{kind}/{name}.png" for kind in ("instances", "labels", "panoptic")))
        write_json(root, f"{split}/{version}/panoptic/panoptic_2018.json", {"images": [], "annotations": []})
        write_json(root, f"config_{version}.json", {"labels": [], "version": version})


def test_only_polygons_and_images_of_all_trees_are_taken(tmp_path):
    whole_tree(tmp_path, "training", "abc")
    whole_tree(tmp_path, "validation", "_x y")
    assert scan(tmp_path).format == "vistas"
    assert keys(tmp_path) == ["training/abc", "validation/_x y"]
    assert letters(tmp_path) == []
    first = scan(tmp_path).pairs[0]
    assert (first.image, first.annotation) == ("training/images/abc.jpg", "training/v2.0/polygons/abc.json")


def test_polygons_beside_their_images_are_taken_too(tmp_path):
    write_json(write_images(tmp_path, "val/a.png"), "val/a.json", document())
    assert keys(tmp_path) == ["val/a"]


def test_the_mask_is_that_of_the_polygons_cut_to_whole_pixels(tmp_path):
    taxonomy = Taxonomy.model_validate(
        {
            "name": "two",
            "classes": [{"name": "road", "color": (1, 2, 3)}, {"name": "car", "color": (4, 5, 6)}],
            "labels": {"object--vehicle--car": "car", "construction--flat--road": "road"},
        }
    )
    whole_tree(tmp_path, "training", "abc")
    expected = np.full((48, 64), 255)
    expected[5:15, 10:20] = 1
    np.testing.assert_array_equal(masks(tmp_path, taxonomy)["training/abc"], expected)


def test_a_file_without_a_partner_is_a_dead_letter(tmp_path):
    whole_tree(tmp_path, "training", "abc")
    write_images(tmp_path, "training/images/t.jpg")
    write_json(tmp_path, "training/v2.0/polygons/lonely.json", document())
    assert [(key, code) for key, code, _ in letters(tmp_path)] == [
        ("training/lonely", "no_image"),
        ("training/t", "no_annotation"),
    ]


CAR = "object 0 ('object--vehicle--car')"
WRONG = [
    (b"", "annotation_empty", "the file is empty"),
    (DEEP.encode(), "annotation_too_deep", "brackets are nested deeper than 200"),
    (None, "annotation_not_object", "the file: expected a JSON object, found null"),
    ({}, "no_objects", "'objects' is missing"),
    (document(objects="x"), "no_objects", "'objects' is text"),
    (document(5), "annotation_not_object", "object 0: expected a JSON object, found a number"),
    (document({}), "label_not_text", "object 0 has label null, which is not text"),
    (document(thing(None)), "polygon_not_list", f"{CAR}: polygon is missing"),
    (document(thing([[1]])), "polygon_points", f"{CAR}: [1] is not a point [x, y] of two numbers"),
    (document(thing([[1, float("nan")]])), "coordinate_not_finite", f"{CAR}: point [1, NaN] is not finite"),
    (document(height=None), "annotation_size", "height is missing"),
    (document(width=0), "annotation_size", "width is 0"),
]


@pytest.mark.parametrize(("value", "code", "message"), WRONG, ids=[f"{i}-{one[1]}" for i, one in enumerate(WRONG)])
def test_everything_wrong_has_a_code_and_a_message_with_place_and_value(value, code, message):
    assert refused("vistas", value) == (code, message)
