"""Cityscapes and IDD: one JSON file an image, in a tree parallel to the images' or beside them.

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/train/aachen/aachen_000000_000019_gtFine_polygons.json

    {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "road", "polygon": [[0, 769], ...]}]}

Reference: https://github.com/mcordts/cityscapesScripts (annotation.py) and
https://github.com/AutoNUE/public-code (helpers/annotation.py).
"""

from __future__ import annotations

import json
import math
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import orjson

from beam_jobs.annotation import Annotation, BadInput, Shape

COORDINATE_LIMIT = 1e6  # Pillow turns coordinates into C ints; far outside they draw garbage or nothing
_IMAGE = re.compile(r"(?P<frame>.+)_leftImg8bit\.(jpe?g|png|bmp|webp)$", re.IGNORECASE)
_ANNOTATION = re.compile(r"(?P<frame>.+)_gt(Fine|Coarse)_polygons\.json$", re.IGNORECASE)
_TREES = ("leftImg8bit", "gtFine", "gtCoarse")


def image_key(path: PurePosixPath) -> str | None:
    """The key of an image by its path below the input folder, or None when the file is no such image."""
    return _key(path, _IMAGE)


def annotation_key(path: PurePosixPath) -> str | None:
    """The key of an annotation by its path below the input folder, or None when it is none."""
    return _key(path, _ANNOTATION)


def _key(path: PurePosixPath, pattern: re.Pattern[str]) -> str | None:
    match = pattern.fullmatch(path.name)
    if not match:
        return None
    folders = [folder for folder in path.parts[:-1] if folder not in _TREES]
    return "/".join([*folders, match["frame"]])


def read_annotation(data: bytes) -> Annotation:
    """The bytes of a polygon file to an `Annotation`.

    Objects marked deleted are dropped before anything else of them is looked at.

    Raises:
      BadInput: the file is no such annotation; the message names object and value.
    """
    values = parse_json(data)
    if not isinstance(values, dict):
        raise BadInput("annotation_not_object", f"expected a JSON object, found {_kind(values)}")
    objects = values.get("objects")
    if not isinstance(objects, list):
        raise BadInput("no_objects", f"'objects' is {'missing' if objects is None else _kind(objects)}")
    return Annotation(
        height=_size(values, "imgHeight"),
        width=_size(values, "imgWidth"),
        shapes=[
            _shape(index, entry)
            for index, entry in enumerate(objects)
            if not (isinstance(entry, dict) and _is_true(entry.get("deleted")))
        ],
    )


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8, with or without a byte order mark. Raises `BadInput`."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        # 2.4 times faster than json on street annotations; it knows neither NaN nor Infinity.
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not data.strip():
            raise BadInput("annotation_empty", "the file is empty") from None
        first = error
    try:
        # Python's own parser reads NaN, so that the message can name the object that holds it.
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadInput("annotation_not_json", f"not JSON in UTF-8 ({first})") from None


def _size(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value < 1 or value % 1:
        raise BadInput("annotation_size", f"{key} is {'missing' if value is None else repr(value)}")
    return int(value)


def _is_true(value: Any) -> bool:
    """``deleted`` is written as 1, true or, by some tools, as text."""
    return value in (1, True) or (isinstance(value, str) and value.strip().lower() in ("1", "true"))


def _shape(index: int, entry: Any) -> Shape:
    if not isinstance(entry, dict):
        raise BadInput("object_not_object", f"object {index} is {_kind(entry)}")
    label = entry.get("label")
    if not isinstance(label, str):
        raise BadInput("label_not_text", f"object {index} has label {label!r}, which is not text")
    return Shape(index, label, read_polygon(index, label, entry.get("polygon")))


def read_polygon(index: int, label: str, value: Any) -> np.ndarray:
    """A list of [x, y] to float64 (points, 2). Raises `BadInput` that names the object and the value."""
    place = f"object {index} ('{label}')"
    if not isinstance(value, list):
        raise BadInput("polygon_not_list", f"{place}: polygon is {'missing' if value is None else _kind(value)}")
    if not value:
        return np.empty((0, 2))
    try:
        points = np.asarray(value)
    except (ValueError, OverflowError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iuf":
        wrong = next((point for point in value if not _is_point(point)), value)
        raise BadInput("polygon_points", f"{place}: {_short(wrong)} is not a point [x, y] of two numbers")
    if not np.abs(points).max() <= COORDINATE_LIMIT:  # written so that NaN fails too
        point = next(p for p in value if not all(abs(c) <= COORDINATE_LIMIT for c in p))
        finite = all(math.isfinite(c) for c in point)
        code = "coordinate_range" if finite else "coordinate_not_finite"
        raise BadInput(code, f"{place}: point {_short(point)} is {'beyond ±1e6' if finite else 'not finite'}")
    return points.astype(np.float64)


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in value)
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
