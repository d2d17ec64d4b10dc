"""VGG Image Annotator, versions 1 and 2: one JSON file for many images, regions with free attributes.

    {"a.jpg12345": {"filename": "a.jpg", "size": 12345, "regions": [
      {"shape_attributes": {"name": "polygon", "all_points_x": [...], "all_points_y": [...]},
       "region_attributes": {"label": "road"}}]}}

Version 1 has regions as an object with keys "0", "1", …; a saved project has all of it below
``_via_img_metadata``. The label is the attribute called label, class, category, type or name, or the only
one there is. A size is not said; it is the image's.

Reference: https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import orjson

from beam_jobs.annotation import Annotation, BadInput, DeadLetter, Shape
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
    return bool(_entries(value))


def find(files: Files) -> Found:
    """One candidate for each image that has an entry. Raises `BadInput`."""
    found, lookup = Found([], []), ImageLookup(files)
    for path in files.paths:
        if not path.lower().endswith(".json"):
            continue
        try:
            entries = _entries(parse_json(files.read(path)))
        except BadInput as error:
            error.source = path
            raise
        for name, entry in entries.items():
            filename = entry.get("filename")
            if not isinstance(filename, str):
                message = f"{path}: entry '{name}' has filename {short(filename)}, which is not text"
                found.dead_letters.append(DeadLetter(f"{path}#{name}", "scan", "image_entry", message, path))
                continue
            inline = orjson.dumps({"regions": entry["regions"]}).decode()
            lookup.add(found, filename, path, inline)
    found.dead_letters.extend(lookup.left_over())
    return found


def _entries(value: Any) -> dict[str, dict[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("_via_img_metadata"), dict):
        value = value["_via_img_metadata"]
    if not isinstance(value, dict):
        return {}
    return {
        name: entry
        for name, entry in value.items()
        if isinstance(entry, dict) and {"filename", "regions"} <= entry.keys()
    }


def read(data: bytes) -> Annotation:
    """One image's inline part to an `Annotation`. Raises `BadInput`."""
    regions = read_object(parse_json(data), "the image's entry").get("regions")
    if isinstance(regions, dict):  # version 1
        regions = list(regions.values())
    if not isinstance(regions, list):
        raise BadInput("no_objects", f"'regions' is {kind_of(regions)}")
    shapes = []
    for number, region in enumerate(regions):
        region = read_object(region, f"object {number}")
        label = _label(number, region.get("region_attributes"))
        form = read_object(region.get("shape_attributes"), f"object {number}: shape_attributes")
        if form.get("name") not in _LINES:
            shapes.append(Shape(number, label, _outline(number, label, form)))
    return Annotation(None, None, shapes)


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
    kind = form.get("name")
    if kind == "polygon":
        across, down = form.get("all_points_x"), form.get("all_points_y")
        if not isinstance(across, list) or not isinstance(down, list) or len(across) != len(down):
            message = f"object {number} ('{label}'): all_points_x and all_points_y are not lists of one length"
            raise BadInput("polygon_points", message)
        return read_polygon(number, label, [list(point) for point in zip(across, down, strict=True)])
    if kind == "rect":
        (x, y), (width, height) = read_polygon(
            number, label, [[form.get("x"), form.get("y")], [form.get("width"), form.get("height")]]
        )
        return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])
    if kind in ("circle", "ellipse"):
        radii = [form.get("r")] * 2 if kind == "circle" else [form.get("rx"), form.get("ry")]
        center, spread = read_polygon(number, label, [[form.get("cx"), form.get("cy")], radii])
        angles = np.arange(ELLIPSE_POINTS) * 2 * math.pi / ELLIPSE_POINTS
        theta = form.get("theta", 0.0)
        turn = float(theta) if isinstance(theta, (int, float)) and abs(theta) <= 10 else 0.0
        x, y = spread[0] * np.cos(angles), spread[1] * np.sin(angles)
        return center + np.stack(
            [x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1
        )
    raise BadInput("shape_type", f"object {number} ('{label}') has shape {kind!r}, which is unknown")
