"""LabelMe: one JSON file an image, beside it or in a parallel tree. Polygons refer to the image as viewers turn it.

    {"imageHeight": 480, "imageWidth": 640, "imagePath": "a.jpg", "imageData": null,
     "shapes": [{"label": "road", "shape_type": "polygon", "points": [[10.2, 300.0], ...]}]}

Rectangles, circles and masks are areas too; points, lines and line strips cover nothing and are not drawn.

Reference: https://github.com/wkentaro/labelme (labelme/utils/shape.py).
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

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
)

NAME = "labelme"
TURNED = True
CIRCLE_POINTS = 64
_LINES = ("point", "points", "line", "linestrip")


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """``shapes`` beside ``imagePath`` or ``imageHeight``."""
    return isinstance(value, dict) and "shapes" in value and bool({"imagePath", "imageHeight"} & value.keys())


def find(files: Files) -> Found:
    """Pair images with JSON files of the same name. (``imagePath`` is often another machine's.)"""
    return pair_by_key(files)


def read(data: bytes) -> Annotation:
    """The bytes of a file to an `Annotation`. Raises `BadInput`."""
    values = read_object(parse_json(data), "the file")
    height, width = read_size(values, "imageHeight"), read_size(values, "imageWidth")
    shapes, counts = [], Counter[str]()
    for number, entry in enumerate(read_list(values, "shapes")):
        entry = read_object(entry, f"object {number}")
        label = read_label(number, entry.get("label"))
        kind = entry.get("shape_type") or "polygon"
        points = read_polygon(number, label, entry.get("points"))
        if kind in _LINES:
            counts["objects_that_are_lines"] += 1
        elif kind == "mask":
            shapes.append(Shape(number, label, np.empty((0, 2)), _mask(number, label, entry, points, (height, width))))
        else:
            shapes.append(Shape(number, label, _outline(number, label, kind, points)))
    return Annotation(height, width, shapes, counts=counts)


def _outline(number: int, label: str, kind: Any, points: np.ndarray) -> np.ndarray:
    if kind == "polygon":
        return points
    if kind not in ("rectangle", "circle"):
        raise BadInput("shape_type", f"object {number} ('{label}') has shape_type {kind!r}, which is unknown")
    if len(points) != 2:
        raise BadInput("polygon_points", f"object {number} ('{label}'): a {kind} has 2 points, found {len(points)}")
    (x0, y0), (x1, y1) = points
    if kind == "rectangle":
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    angles = np.arange(CIRCLE_POINTS) * 2 * math.pi / CIRCLE_POINTS
    return points[0] + math.hypot(x1 - x0, y1 - y0) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _mask(number: int, label: str, entry: dict[str, Any], points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask shape: a PNG in base64 whose top left corner lies at the first point."""
    place = f"object {number} ('{label}')"
    try:
        with Image.open(
            io.BytesIO(base64.b64decode(entry.get("mask") or "", validate=True)), formats=["PNG"]
        ) as picture:
            if picture.width > size[1] or picture.height > size[0]:
                raise BadInput(
                    "mask_size", f"{place}: its mask is {picture.height}x{picture.width}, above the image's size"
                )
            small = np.asarray(picture.convert("L")) > 0
    except (binascii.Error, TypeError, OSError, SyntaxError, ValueError) as error:
        raise BadInput("mask_damaged", f"{place}: its mask is no PNG in base64 ({error})") from None
    if not len(points):
        raise BadInput("polygon_points", f"{place}: a mask needs the point of its corner")
    whole = np.zeros(size, bool)
    left, top = (int(value) for value in points[0])
    bottom, right = min(top + small.shape[0], size[0]), min(left + small.shape[1], size[1])
    if 0 <= top < bottom and 0 <= left < right:
        whole[top:bottom, left:right] = small[: bottom - top, : right - left]
    return whole
