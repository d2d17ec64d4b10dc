"""LabelMe: one JSON file an image, beside it or in a parallel tree. Polygons refer to the image as viewers turn it.

    {"imageHeight": 480, "imageWidth": 640, "imagePath": "a.jpg", "imageData": null,
     "shapes": [{"label": "road", "shape_type": "polygon", "points": [[10.2, 300.0], ...]}]}

Rectangles, circles and masks are areas too; points, lines and line strips cover nothing and are not drawn.
Old files do not say a size; it is the image's.

Reference: https://github.com/wkentaro/labelme (labelme/utils/shape.py).
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats.base import (
    Files,
    Found,
    pair_by_key,
    parse_json,
    read_label,
    read_list,
    read_object,
    read_polygon,
    read_size,
    short,
)
from beam_jobs.formats.masks import check_mask_pixels, open_mask

NAME = "labelme"
TURNED = True
CIRCLE_POINTS = 64
_LINES = ("point", "points", "line", "linestrip")
_CORNERS = ("rectangle", "oriented_rectangle", "rotation")
"""Of four points where they may be turned; the last is X-AnyLabeling's name."""


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """``shapes`` beside ``imagePath`` or ``imageHeight``."""
    return isinstance(value, dict) and "shapes" in value and bool({"imagePath", "imageHeight"} & value.keys())


def find(files: Files) -> Found:
    """Pair images with JSON files of the same name. (``imagePath`` is often another machine's.)"""
    return pair_by_key(files)


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """The bytes of a file to an `Annotation`. Raises `BadInput`."""
    values = read_object(parse_json(data), "the file")
    entries = [read_object(entry, f"object {number}") for number, entry in enumerate(read_list(values, "shapes"))]
    masks = sum(entry.get("shape_type") == "mask" for entry in entries)
    size = None
    if masks or values.get("imageHeight") is not None or values.get("imageWidth") is not None:
        size = (read_size(values, "imageHeight"), read_size(values, "imageWidth"))
        check_mask_pixels(masks, size)
    shapes, counts = [], Counter[str]()
    for number, entry in enumerate(entries):
        label = read_label(number, entry.get("label"))
        kind = "polygon" if entry.get("shape_type") is None else entry["shape_type"]
        points = read_polygon(number, label, entry.get("points"))
        if kind in _LINES:
            counts["objects_that_are_lines"] += 1
        elif kind == "mask" and size:
            bitmap = _bitmap(f"object {number} ('{label}')", entry.get("mask"), points, size)
            shapes.append(Shape(number, label, np.empty((0, 2)), bitmap))
        else:
            shapes.append(Shape(number, label, _outline(f"object {number} ('{label}')", kind, points)))
    height, width = size or (None, None)
    return Annotation(height, width, shapes, counts=counts)


def _outline(place: str, kind: Any, points: np.ndarray) -> np.ndarray:
    if kind == "polygon" or (kind in _CORNERS and len(points) == 4):
        return points
    if kind not in (*_CORNERS, "circle"):
        raise BadInput("shape_type", f"{place} has shape_type {short(kind)}, which is unknown")
    if kind not in ("rectangle", "circle") or len(points) != 2:
        wanted = {"rectangle": "2 or 4", "circle": "2"}.get(kind, "4")
        raise BadInput("polygon_points", f"{place}: a {kind} has {wanted} points, found {len(points)}")
    (x0, y0), (x1, y1) = points
    if kind == "rectangle":
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    angles = np.arange(CIRCLE_POINTS) * 2 * math.pi / CIRCLE_POINTS
    return points[0] + math.hypot(x1 - x0, y1 - y0) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _bitmap(place: str, mask: Any, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask shape, a PNG in base64 that fills the box between its two points, to bool (height, width)."""
    try:
        data = base64.b64decode(mask, validate=True)
    except (TypeError, ValueError):
        raise BadInput("mask_damaged", f"{place}: mask is not base64: {short(mask)}") from None
    small = np.asarray(open_mask(data, f"{place}: mask").convert("L")) > 0
    if len(points) != 2:
        raise BadInput("polygon_points", f"{place}: a mask has 2 points, found {len(points)}")
    (left, top), (right, bottom) = points.astype(int).tolist()
    if small.shape != (bottom - top + 1, right - left + 1):
        box = f"{bottom - top + 1}x{right - left + 1}"
        raise BadInput("mask_size", f"{place}: its mask is {small.shape[0]}x{small.shape[1]}, its box {box}")
    whole = np.zeros(size, bool)
    inside = whole[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)]
    cut = small[max(-top, 0) :, max(-left, 0) :]
    inside[:] = cut[: inside.shape[0], : inside.shape[1]]
    return whole
