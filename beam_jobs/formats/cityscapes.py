"""Cityscapes and IDD: one JSON file an image, in a tree parallel to the images' or beside them.

    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    gtFine/train/aachen/aachen_000000_000019_gtFine_polygons.json

    {"imgHeight": 1024, "imgWidth": 2048, "objects": [{"label": "road", "polygon": [[0, 769], ...]}]}

Reference: https://github.com/mcordts/cityscapesScripts (annotation.py) and
https://github.com/AutoNUE/public-code (helpers/annotation.py).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats.base import (
    Files,
    Found,
    kind_of,
    pair_by_key,
    parse_json,
    read_label,
    read_list,
    read_object,
    read_polygons,
    read_size,
    tree_key,
)

NAME = "cityscapes"
TURNED = False
_IMAGE = re.compile(r"(?P<frame>.+)_leftImg8bit\.(jpe?g|png|bmp|webp)", re.IGNORECASE | re.DOTALL)
_ANNOTATION = re.compile(r"(?P<frame>.+)_gt(Fine|Coarse)_polygons\.json", re.IGNORECASE | re.DOTALL)


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """By its name alone: a damaged file is still one of these."""
    return annotation_key(path) is not None


def find(files: Files) -> Found:
    """Pair ``*_leftImg8bit.*`` with ``*_gtFine_polygons.json``."""
    return pair_by_key(files, image_key, annotation_key)


def image_key(path: PurePosixPath) -> str | None:
    """The key of an image by its path below the input folder, or None when the file is no such image."""
    match = _IMAGE.fullmatch(path.name)
    return tree_key(path, match["frame"]) if match else None


def annotation_key(path: PurePosixPath) -> str | None:
    """The key of an annotation by its path below the input folder, or None when it is none."""
    match = _ANNOTATION.fullmatch(path.name)
    return tree_key(path, match["frame"]) if match else None


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """The bytes of a polygon file to an `Annotation`.

    Objects marked deleted are dropped before anything else of them is looked at.

    Raises:
      BadInput: the file is no such annotation; the message names object and value.
    """
    values = read_object(parse_json(data), "the file")
    objects = read_list(values, "objects")
    kept = [
        (number, entry)
        for number, entry in enumerate(objects)
        if keep_deleted or not (isinstance(entry, dict) and is_true(entry.get("deleted")))
    ]
    return Annotation(
        height=read_size(values, "imgHeight"),
        width=read_size(values, "imgWidth"),
        shapes=_shapes(kept),
        counts=Counter(objects_deleted=len(objects) - len(kept)),
    )


def is_true(value: Any) -> bool:
    """``deleted`` is written as 1, true or, by some tools, as text."""
    return value in (1, True) or (isinstance(value, str) and value.strip().lower() in ("1", "true"))


def _shapes(objects: list[tuple[int, Any]]) -> list[Shape]:
    entries = []
    for number, entry in objects:
        if not isinstance(entry, dict):
            raise BadInput("object_not_object", f"object {number} is {kind_of(entry)}")
        entries.append((number, read_label(number, entry.get("label")), entry.get("polygon")))
    polygons = read_polygons(entries)
    return [Shape(number, label, polygon) for (number, label, _), polygon in zip(entries, polygons, strict=True)]
