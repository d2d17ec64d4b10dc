"""Properties that hold for any polygons, any JSON and any bytes: hypothesis looks for one for which they do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats import FORMATS, bdd100k, cityscapes, coco, labelme, via, vistas
from beam_jobs.formats.base import COORDINATE_LIMIT, Format
from beam_jobs.options import BuildOptions
from beam_jobs.rasterize import rasterize
from configs.taxonomy import Taxonomy
from pipelines.records import Record, deserialize, frame, read_frames, serialize

ours = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

HEIGHT, WIDTH = SIZE = (48, 64)
LABELS = {"sky": 0, "car": 1, "road": 2, "void": 255, "license plate": None}
TAXONOMY = Taxonomy.model_validate(
    {
        "name": "small",
        "classes": [{"name": name, "color": [0, 0, 0]} for name in ("sky", "car", "road")],
        "labels": {"sky": "sky", "car": "car", "road": "road", "void": "ignore", "license plate": "skip"},
    }
)

labels = st.sampled_from(sorted(LABELS))
whole = st.integers(0, 47)
near = st.one_of(whole, st.floats(-20, 90, width=32), st.sampled_from([-0.5, 0.5, 31.5, 47.5, 63.5, 64, 65]))
far = st.one_of(near, st.floats(-COORDINATE_LIMIT, COORDINATE_LIMIT), st.integers(-(10**6), 10**6))


def rings(coordinate: st.SearchStrategy[float], least: int = 3) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(st.tuples(coordinate, coordinate).map(list), min_size=least, max_size=9)


def scenes(coordinate: st.SearchStrategy[float], least: int = 3) -> st.SearchStrategy[list[tuple[str, list]]]:
    """Lists of (label, ring) in painting order."""
    return st.lists(st.tuples(labels, rings(coordinate, least)), max_size=6)


def draw(scene: list[tuple[str, list]]) -> np.ndarray:
    shapes = [Shape(n, label, np.array(ring, float).reshape(-1, 2)) for n, (label, ring) in enumerate(scene)]
    mask = rasterize(Annotation(HEIGHT, WIDTH, shapes), SIZE, TAXONOMY)
    np.testing.assert_array_equal(np.asarray(mask.picture), mask.ids)
    return mask.ids


def covered(ring: list[list[float]]) -> np.ndarray:
    """bool (HEIGHT, WIDTH): what a polygon alone covers, by the drawing rule of Cityscapes' tools."""
    picture = Image.new("1", (WIDTH, HEIGHT))
    if len(ring) > 2:
        ImageDraw.Draw(picture).polygon([tuple(point) for point in ring], fill=1)
    return np.asarray(picture)


@ours
@given(scenes(far, least=0))
def test_a_mask_has_the_images_size_and_holds_drawn_ids_and_canvas_only(scene):
    mask = draw(scene)
    assert (mask.shape, mask.dtype) == (SIZE, np.uint8)
    assert set(np.unique(mask).tolist()) <= {255} | {LABELS[label] for label, _ in scene}


@ours
@given(scenes(far, least=0))
def test_drawing_is_a_painters_loop(scene):
    expected = np.full(SIZE, 255, np.uint8)
    for label, ring in scene:
        if LABELS[label] is not None:
            expected[covered(ring)] = LABELS[label]
    np.testing.assert_array_equal(draw(scene), expected)


@ours
@given(st.lists(st.tuples(labels, whole, whole, whole, whole), max_size=6))
def test_boxes_are_slices_of_an_array_with_both_ends(boxes):
    expected, scene = np.full(SIZE, 255, np.uint8), []
    for label, x0, x1, y0, y1 in boxes:
        (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
        scene.append((label, [[left, top], [right, top], [right, bottom], [left, bottom]]))
        if LABELS[label] is not None:
            expected[top : bottom + 1, left : right + 1] = LABELS[label]
    np.testing.assert_array_equal(draw(scene), expected)


@ours
@given(scenes(near), labels, rings(near))
def test_the_last_polygon_wins_where_it_is_and_changes_nothing_elsewhere(scene, label, ring):
    before, after, inside = draw(scene), draw([*scene, (label, ring)]), covered(ring)
    np.testing.assert_array_equal(after[~inside], before[~inside])
    if LABELS[label] is None:
        np.testing.assert_array_equal(after, before)
    else:
        assert (after[inside] == LABELS[label]).all()


@ours
@given(rings(st.floats(0, 40, width=32)), st.integers(0, 23), st.integers(0, 7))
def test_a_polygon_moved_by_whole_pixels_inside_the_image_moves_its_mask(ring, right, down):
    ring = [[math.floor(x * 4) / 4, math.floor(y * 4) / 4] for x, y in ring]  # quarters add up exactly
    mask = draw([("car", ring)])
    moved = draw([("car", [[x + right, y + down] for x, y in ring])])
    np.testing.assert_array_equal(moved[down:, right:], mask[: HEIGHT - down, : WIDTH - right])
    assert (moved == 1).sum() == (mask == 1).sum()


@ours
@given(scenes(near), st.integers(1, 4))
def test_polygons_of_a_smaller_annotation_are_drawn_as_if_scaled_before(scene, factor):
    shapes = [Shape(n, label, np.array(ring, float)) for n, (label, ring) in enumerate(scene)]
    options = BuildOptions(rescale_polygons=True)
    small = Annotation(HEIGHT, WIDTH, shapes)
    large = Annotation(
        HEIGHT * factor, WIDTH * factor, [shape._replace(polygon=shape.polygon * factor) for shape in shapes]
    )
    size = (HEIGHT * factor, WIDTH * factor)
    np.testing.assert_array_equal(
        rasterize(small, size, TAXONOMY, options).ids, rasterize(large, size, TAXONOMY, options).ids
    )


def as_cityscapes(scene: list[tuple[str, list]]) -> dict[str, Any]:
    objects = [{"label": label, "polygon": ring} for label, ring in scene]
    return {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}


def as_vistas(scene: list[tuple[str, list]]) -> dict[str, Any]:
    return {"height": HEIGHT, "width": WIDTH, "objects": as_cityscapes(scene)["objects"]}


def as_labelme(scene: list[tuple[str, list]]) -> dict[str, Any]:
    shapes = [{"label": label, "shape_type": "polygon", "points": ring} for label, ring in scene]
    return {"imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}


WRITERS: dict[Format, Callable[[list[tuple[str, list]]], dict[str, Any]]] = {
    cityscapes: as_cityscapes,
    vistas: as_vistas,
    labelme: as_labelme,
}
"""Formats of one file an image."""


@ours
@given(scenes(far, least=0))
def test_a_sound_document_reads_back_whatever_the_format(scene):
    for reader, write in WRITERS.items():
        found = reader.read(json.dumps(write(scene)).encode())
        assert (found.height, found.width, found.ids) == (HEIGHT, WIDTH, None)
        assert [(shape.number, shape.label) for shape in found.shapes] == [(n, x) for n, (x, _) in enumerate(scene)]
        for shape, (_, ring) in zip(found.shapes, scene, strict=True):
            assert shape.polygon.dtype == np.float64
            np.testing.assert_array_equal(shape.polygon, np.array(ring, float).reshape(-1, 2))


@ours
@given(st.lists(st.tuples(labels, rings(near), st.sampled_from([0, 1, True, False, "1", "0", None])), max_size=6))
def test_deleted_objects_might_as_well_not_be_there(entries):
    objects = [{"label": label, "polygon": ring, "deleted": deleted} for label, ring, deleted in entries]
    data = json.dumps({"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}).encode()
    kept = [(label, ring) for label, ring, deleted in entries if deleted not in (1, "1")]
    np.testing.assert_array_equal(rasterize(cityscapes.read(data), SIZE, TAXONOMY).ids, draw(kept))


@pytest.mark.parametrize("reader", FORMATS, ids=[reader.NAME for reader in FORMATS])
@ours
@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_annotation_or_bad_input(reader, data):
    read_or_refuse(reader, data)


KEYS = sorted(
    {
        *("imgHeight", "imgWidth", "objects", "label", "polygon", "deleted", "height", "width", "number", "labels"),
        *("segmentation", "size", "counts", "category", "poly2d", "vertices", "types", "closed", "regions"),
        *("shape_attributes", "region_attributes", "name", "all_points_x", "all_points_y", "x", "y", "cx", "cy"),
        *("r", "rx", "ry", "theta", "imageHeight", "imageWidth", "shapes", "shape_type", "points", "mask", ""),
    }
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["car", "polygon", "mask", "circle", "rect", "LLCC", "\ud800", 48, 64, 10**400]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
        rings(inner, least=0),
    ),
    max_leaves=25,
)


@pytest.mark.parametrize("reader", FORMATS, ids=[reader.NAME for reader in FORMATS])
@ours
@given(value=values)
def test_any_json_is_an_annotation_or_bad_input(reader, value):
    read_or_refuse(reader, json.dumps(value).encode("utf-8", "surrogatepass"))


BODIES: dict[Format, Callable[[Any], dict[str, Any]]] = {
    cityscapes: lambda value: {"imgHeight": 48, "imgWidth": 64, "objects": [{"label": "car", "polygon": value}]},
    vistas: lambda value: {"height": 48, "width": 64, "objects": [{"label": "car", "polygon": value}]},
    labelme: lambda value: {"imageHeight": 48, "imageWidth": 64, "shapes": [{"label": "car", "points": value}]},
    coco: lambda value: {
        "height": 48,
        "width": 64,
        "objects": [{"number": 0, "category": 1, "labels": ["car"], "segmentation": value}],
    },
    via: lambda value: {"regions": [{"shape_attributes": value, "region_attributes": {"label": "car"}}]},
    bdd100k: lambda value: {"labels": [{"category": "car", "poly2d": value}]},
}
"""Sound documents but for the one value where an outline is looked for."""


@pytest.mark.parametrize("reader", BODIES, ids=[reader.NAME for reader in BODIES])
@ours
@given(value=values)
def test_any_outline_is_drawn_or_bad_input(reader, value):
    read_or_refuse(reader, json.dumps(BODIES[reader](value)).encode("utf-8", "surrogatepass"))


def read_or_refuse(reader: Format, data: bytes) -> None:
    """Read and draw; anything raised but `BadInput` fails the test."""
    ids, said = {255}, "none"
    try:
        annotation = reader.read(data)
        mask = rasterize(annotation, SIZE, TAXONOMY, BuildOptions(unknown_labels="ignore")).ids
        ids = set(np.unique(mask).tolist())
    except BadInput as error:
        said = f"{error.code}: {error}"
    assert ids <= {0, 1, 2, 255}
    assert 0 < len(said) < 2000


keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
sizes = st.integers(1, 2**31 - 1)


@ours
@given(keys, keys, sizes, sizes, st.binary(max_size=2000), st.sampled_from(["jpeg", "png"]), st.binary(max_size=2000))
def test_a_record_reads_back_whatever_it_holds(key, filename, height, width, image, image_format, mask):
    record = Record(key, filename, height, width, image, image_format, mask)
    assert deserialize(serialize(record)) == record
    assert serialize(deserialize(serialize(record))) == serialize(record)


@ours
@given(blobs=st.lists(st.binary(max_size=300), max_size=8))
def test_frames_read_back_whatever_they_hold(tmp_path: Path, blobs):
    path = tmp_path / "shard"
    path.write_bytes(b"".join(frame(blob) for blob in blobs))
    assert list(read_frames(path)) == blobs
