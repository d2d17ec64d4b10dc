"""Tests of all readers together: which format a folder is of, and hostile values wherever a file can hold one."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from beam_jobs.annotation import Annotation, BadInput
from beam_jobs.formats import FORMATS, format_by_name
from beam_jobs.formats.base import Format
from beam_jobs.scan import Scan, scan
from configs.commands import UserError
from configs.taxonomy import load_taxonomy
from tests.folders import DEEP, build_all, keys, write_images, write_json

BOX = [[10, 5], [19, 5], [19, 14]]
FLAT = [value for point in BOX for value in point]
LABELME = {
    "imagePath": "a.png",
    "imageData": None,
    "imageHeight": 48,
    "imageWidth": 64,
    "shapes": [
        {"label": "car", "shape_type": "polygon", "points": BOX},
        {"label": "car", "shape_type": "circle", "points": BOX[:2]},
        {"label": "car", "shape_type": "line", "points": BOX[:2]},
    ],
}
COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 48, "width": 64},
        {"id": 2, "file_name": "b.png", "height": 48, "width": 64},
    ],
    "categories": [{"id": 7, "name": "car"}],
    "annotations": [
        {"image_id": 1, "category_id": 7, "segmentation": [FLAT, FLAT]},
        {"image_id": 2, "category_id": 7, "segmentation": {"size": [48, 64], "counts": [3000, 72]}},
    ],
}
VIA = {
    "a.png1": {
        "filename": "a.png",
        "regions": [
            {
                "shape_attributes": {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [2, 2, 8]},
                "region_attributes": {"label": "car"},
            },
            {
                "shape_attributes": {"name": "ellipse", "cx": 9, "cy": 9, "rx": 3, "ry": 4, "theta": 0.5},
                "region_attributes": {"label": "car"},
            },
        ],
    },
    "b.png1": {"filename": "b.png", "regions": {}},
}
BDD100K = [
    {
        "name": "a.png",
        "labels": [
            {"category": "car", "poly2d": [{"vertices": BOX, "types": "LCC", "closed": True}]},
            {"category": "car", "poly2d": [[*point, "L"] for point in BOX]},
        ],
    },
    {"name": "b.png", "labels": None},
]
VISTAS = {"width": 64, "height": 48, "objects": [{"label": "car", "polygon": BOX}]}
CITYSCAPES = {"imgWidth": 64, "imgHeight": 48, "objects": [{"label": "car", "polygon": BOX, "deleted": 0}]}

FILES: dict[str, dict[str, Any]] = {
    "cityscapes": {"a_gtFine_polygons.json": CITYSCAPES, "b_gtFine_polygons.json": CITYSCAPES},
    "labelme": {"a.json": LABELME, "b.json": LABELME},
    "coco": {"x.json": COCO},
    "via": {"x.json": VIA},
    "bdd100k": {"x.json": BDD100K},
    "vistas": {"a.json": VISTAS, "b.json": VISTAS},
    "masks": {},
}
"""A tiny valid data set of each format: its JSON files, for images a and b."""


def write_data_set(root: Path, name: str) -> Path:
    ending = "_leftImg8bit" if name == "cityscapes" else ""
    write_images(root, f"images/a{ending}.png", f"images/b{ending}.png")
    for path, value in FILES[name].items():
        write_json(root, path, value)
    if name == "masks":
        for key in "ab":
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray(np.zeros((48, 64), np.uint8)).save(root / f"masks/{key}.png")
    return root


def test_every_format_has_a_data_set_here():
    assert list(FILES) == [one.NAME for one in FORMATS]


@pytest.mark.parametrize("name", FILES)
def test_a_folders_format_is_found_out_by_its_content(tmp_path, name):
    write_data_set(tmp_path, name)
    assert (scan(tmp_path).format, keys(tmp_path), scan(tmp_path).dead_letters) == (name, ["a", "b"], [])
    assert keys(tmp_path, name) == ["a", "b"]


@pytest.mark.parametrize("name", FILES)
def test_damaged_and_foreign_files_in_front_do_not_hide_the_format(tmp_path, name):
    write_data_set(tmp_path, name)
    foreign: list[Any] = [b"", b"{", b"\xff\xfe", DEEP.encode(), None, [], {}, 3, "x", [None], {"labels": []}]
    for number, value in enumerate(foreign):
        write_json(tmp_path, f"0/{number:02d}.json", value)
    found = scan(tmp_path)
    assert found.format == name
    assert [pair.key for pair in found.pairs] == ["a", "b"]


@pytest.mark.parametrize("name", [name for name in FILES if name != "masks"])
def test_no_format_takes_anothers_file_for_its_own(name):
    for path, value in FILES[name].items():
        assert [one.NAME for one in FORMATS if one.recognizes(PurePosixPath(path), value)] == [name]


@pytest.mark.parametrize("value", [None, True, 3, "x", [], {}, [[]], [None], {"a": None}, [{"name": 1}], {"frames": 1}])
def test_other_json_is_of_no_format(value):
    assert not [one.NAME for one in FORMATS if one.recognizes(PurePosixPath("x.json"), value)]


def test_a_folder_without_annotations_is_told(tmp_path):
    write_json(write_images(tmp_path, "a.png"), "package.json", {"name": "x"})
    with pytest.raises(UserError) as caught:
        scan(tmp_path)
    assert str(caught.value) == (
        f"--input {tmp_path}: no annotations of a known format found in 2 files; say which it is with --format "
        "(cityscapes, labelme, coco, via, bdd100k, vistas, masks)"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labelm", "unknown; did you mean 'labelme'? there are auto, cityscapes, labelme, coco, via,"),
        ("yolo", "unknown; there are auto, cityscapes, labelme, coco, via, bdd100k, vistas, masks"),
        ("COCO", "unknown"),
    ],
)
def test_an_unknown_format_is_told_with_those_there_are(tmp_path, name, message):
    write_data_set(tmp_path, "coco")
    with pytest.raises(UserError) as caught:
        scan(tmp_path, name)
    assert str(caught.value).startswith(f"--format {name}: {message}")


def test_a_format_that_was_asked_for_is_taken_though_the_folder_is_of_another(tmp_path):
    write_data_set(tmp_path, "labelme")
    found = scan(tmp_path, "coco")
    assert (found.pairs, {letter.code for letter in found.dead_letters}) == ([], {"no_annotation"})


HOSTILE = [
    *(None, True, False, 0, -1, 0.5, 1e9, -1e300, 10**400, float("nan"), float("inf"), "", "x", "\ud800", "a" * 5000),
    *([], {}, [[]], [None], [[1, 2]], [1, 2], {"a": 1}, [{}], {"0": None}, [10**400, float("nan")], "@deep"),
]
"""``@deep`` stands for 2,000 brackets."""


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).replace('"@deep"', DEEP).encode()


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of keys to all values inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inside for place in [(*above, key), *places(one, (*above, key))]]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another value at a place, or without what is there."""
    result = holder = copy.deepcopy(value)
    for key in place[:-1]:
        holder = holder[key]
    if new is Ellipsis:
        del holder[place[-1]]
    else:
        holder[place[-1]] = new
    return result


def read_or_refuse(reader: Format, data: bytes) -> Annotation | BadInput:
    """What a reader makes of bytes; any other error passes."""
    try:
        return reader.read(data)
    except BadInput as error:
        return error


def mutants(value: Any) -> list[Any]:
    """All values with one hostile value at one place, or with one place missing."""
    return [*HOSTILE, *(replaced(value, place, new) for place in places(value) for new in [*HOSTILE, ...])]


def inline_parts(name: str) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        return [json.loads(pair.inline) for pair in scan(write_data_set(Path(folder), name)).pairs if pair.inline]


@pytest.mark.parametrize("name", [name for name in FILES if name != "masks"])
def test_any_value_at_any_place_is_read_or_refused(name):
    reader = format_by_name(name)
    for whole in inline_parts(name) or FILES[name].values():
        for mutant in mutants(whole):
            found = read_or_refuse(reader, as_bytes(mutant))
            if isinstance(found, BadInput):
                assert found.code
                assert len(str(found)) < 700
            else:
                assert all(shape.polygon.dtype == np.float64 for shape in found.shapes)
                assert all(np.isfinite(shape.polygon).all() for shape in found.shapes)


@pytest.mark.parametrize("name", ["coco", "via", "bdd100k"])
def test_any_value_at_any_place_of_a_file_for_many_images_leaves_every_image_accounted_for(tmp_path, name):
    write_data_set(tmp_path, name)
    for mutant in mutants(FILES[name]["x.json"]):
        (tmp_path / "x.json").write_bytes(as_bytes(mutant))
        if "@deep" in json.dumps(mutant):  # spoils the file for every parser, and there is no other
            with pytest.raises(UserError, match=r"x\.json: brackets are nested deeper than 200"):
                scan(tmp_path, name)
        else:
            check_accounts(scan(tmp_path, name))


def check_accounts(found: Scan) -> None:
    """Every image is in a pair or in a dead letter, none in both, and what is about the file is told as well."""
    paired, dead = {pair.image for pair in found.pairs}, {letter.source for letter in found.dead_letters}
    assert {"images/a.png", "images/b.png"} <= paired | dead
    assert not paired & dead
    for letter in found.dead_letters:
        letter.message.encode()
        letter.key.encode()
        assert len(letter.message) < 500


@pytest.mark.parametrize("name", ["coco", "via", "bdd100k"])
def test_one_damaged_entry_never_costs_the_other_image(tmp_path, name):
    write_data_set(tmp_path, name)
    value = FILES[name]["x.json"]
    taxonomy = load_taxonomy("camvid11")
    # The places of the first image's own values. (What is nested too deep spoils the file for every parser.)
    first = {
        "coco": [
            place for place in places(value) if place[:2] in (("images", 0), ("annotations", 0)) and len(place) > 2
        ],
        "via": [place for place in places(value) if place[0] == "a.png1" and len(place) > 1],
        "bdd100k": [place for place in places(value) if place[0] == 0 and len(place) > 1],
    }[name]
    for place in first:
        for new in (None, 7.5, "x", {}, [[]], 10**400, float("nan"), "\ud800"):
            write_json(tmp_path, "x.json", replaced(value, place, new))
            assert "b" in {pair.key for pair in scan(tmp_path, name).pairs}, (place, new)
    built = build_all(tmp_path, taxonomy, name)
    assert not isinstance(built["b"], BadInput)


VALUES = st.recursive(
    st.sampled_from(HOSTILE) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A valid file with up to four values replaced or taken away, one after the other."""
    for _ in range(draw(st.integers(1, 4))):
        inside = places(value)
        if inside:
            value = replaced(value, draw(st.sampled_from(inside)), draw(VALUES | st.just(...)))
    return value


@pytest.mark.parametrize("name", [name for name in FILES if name != "masks"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_data_set_gives_records_and_dead_letters_and_no_other_error(name, data):
    with tempfile.TemporaryDirectory() as folder:
        root = write_data_set(Path(folder), name)
        for path, value in FILES[name].items():
            (root / path).write_bytes(as_bytes(data.draw(damaged(value))))
        try:
            scan(root, name)
        except UserError:
            return
        for one in build_all(root, "camvid11", name).values():
            if not isinstance(one, BadInput):
                assert (one.record.height, one.record.width) == (48, 64)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_that_are_nothing_are_bad_input_for_every_reader(data):
    for reader in FORMATS:
        valid = b"\x89PNG\r\n\x1a\n" if reader.NAME == "masks" else as_bytes(next(iter(FILES[reader.NAME].values())))
        cut = valid[: data.draw(st.integers(0, len(valid) - 1))] + data.draw(st.binary(max_size=20))
        assert isinstance(read_or_refuse(reader, cut), (Annotation, BadInput))
