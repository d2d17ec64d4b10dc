"""VGG Image Annotator, versions 1 and 2: one JSON file for many images, regions with free attributes.

    {"a.jpg12345": {"filename": "a.jpg", "size": 12345, "regions": [
      {"shape_attributes": {"name": "polygon", "all_points_x": [...], "all_points_y": [...]},
       "region_attributes": {"label": "road"}}]}}

Version 1 has regions as an object with keys "0", "1", …; a saved project has all of it below
``_via_img_metadata``. The label is the attribute called label, class, category, type or name, or the only
one there is. Points and polylines cover nothing and are not drawn. A size is not said; it is the image's.

Reference: https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats.base import (
    Files,
    Found,
    kind_of,
    parse_json,
    read_label,
    read_object,
    read_polygon,
    short,
)
from beam_jobs.formats.lookup import ImageLookup

NAME = "via"
TURNED = True
LABEL_ATTRIBUTES = ("label", "class", "category", "type", "name")
ELLIPSE_POINTS = 64
_LINES = ("point", "polyline")


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Entries with ``filename`` and ``regions``, at the top or below ``_via_img_metadata``."""
    return any(
        isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in _entries(value).values()
    )


def find(files: Files) -> Found:
    """One candidate for each image that has an entry. Raises `BadInput`."""
    lookup = ImageLookup(files)
    for path, value in lookup.parsed():
        if not recognizes(PurePosixPath(path), value):
            continue
        for number, entry in enumerate(_entries(value).values()):
            filename = entry.get("filename") if isinstance(entry, dict) else None
            if isinstance(filename, str):
                lookup.add(filename, path, {"regions": entry.get("regions")})
            else:
                lookup.refuse(path, str(number), "image_entry", f"entry {number} has no filename: {short(entry)}")
    return lookup.found()


def _entries(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("_via_img_metadata"), dict):
        value = value["_via_img_metadata"]
    return value if isinstance(value, dict) else {}


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """One image's inline part to an `Annotation`. Raises `BadInput`."""
    regions = read_object(parse_json(data), "the image's entry").get("regions")
    if isinstance(regions, dict):  # version 1
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise BadInput("no_objects", f"'regions' is {'missing' if regions is None else kind_of(regions)}")
    shapes, counts = [], Counter[str]()
    for number, region in enumerate(regions):
        region = read_object(region, f"object {number}")
        form = read_object(region.get("shape_attributes"), f"object {number}: shape_attributes")
        if form.get("name") in _LINES:
            counts["objects_that_are_lines"] += 1
            continue
        label = _label(number, region.get("region_attributes"))
        shapes.append(Shape(number, label, _outline(number, label, form)))
    return Annotation(None, None, shapes, counts=counts)


def _label(number: int, attributes: Any) -> str:
    attributes = read_object(attributes, f"object {number}: region_attributes")
    for name in LABEL_ATTRIBUTES:
        if name in attributes:
            return read_label(number, attributes[name])
    if len(attributes) == 1:
        return read_label(number, next(iter(attributes.values())))
    raise BadInput(
        "label_missing",
        f"object {number} has attributes {short(sorted(attributes))}; "
        f"the label is looked for in {', '.join(LABEL_ATTRIBUTES)}",
    )


def _outline(number: int, label: str, form: dict[str, Any]) -> np.ndarray:
    kind, place = form.get("name"), f"object {number} ('{label}')"
    if kind == "polygon":
        across, down = form.get("all_points_x"), form.get("all_points_y")
        if not isinstance(across, list) or not isinstance(down, list) or len(across) != len(down):
            raise BadInput("polygon_points", f"{place}: all_points_x and all_points_y are not lists of one length")
        return read_polygon(number, label, [list(point) for point in zip(across, down, strict=True)])
    pairs = {
        "rect": (("x", "y"), ("width", "height")),
        "circle": (("cx", "cy"), ("r", "r")),
        "ellipse": (("cx", "cy"), ("rx", "ry")),
    }
    if not isinstance(kind, str) or kind not in pairs:
        raise BadInput("shape_type", f"{place} has shape {short(kind)}, which is unknown")
    numbers = [[form.get(name) for name in pair] for pair in pairs[kind]]
    # The turn, in radians, is checked as a point's coordinate.
    start, extent, (turn, _) = read_polygon(number, label, [*numbers, [form.get("theta", 0), 0]])
    if (extent < 0).any():
        raise BadInput("shape_size", f"{place}: a {kind} of size {short(numbers[1])}")
    if kind == "rect":
        return start + extent * [(0, 0), (1, 0), (1, 1), (0, 1)]
    angles = np.arange(ELLIPSE_POINTS) * 2 * math.pi / ELLIPSE_POINTS
    x, y = extent[:, None] * [np.cos(angles), np.sin(angles)]
    cosine, sine = math.cos(turn), math.sin(turn)
    return start + np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=1)
