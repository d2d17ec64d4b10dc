"""Mapillary Vistas 2: one JSON file an image, in a tree parallel to the images'.

    training/images/abc.jpg
    training/v2.0/polygons/abc.json

    {"width": 4032, "height": 3024, "objects": [{"label": "object--vehicle--car", "polygon": [[12.5, 40.0], ...]}]}

Its panoptic JSON, its label maps and those of version 1.2, and ``config_v2.0.json`` are left out.

Reference: https://www.mapillary.com/dataset/vistas
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from beam_jobs.annotation import Annotation, Shape
from beam_jobs.formats.base import (
    Files,
    Found,
    image_key,
    json_key,
    pair_by_key,
    parse_json,
    read_label,
    read_list,
    read_object,
    read_polygons,
    read_size,
)

NAME = "vistas"
TURNED = False
_MAPS = frozenset(("instances", "labels", "panoptic"))


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """``width``, ``height`` and ``objects`` with polygons."""
    return isinstance(value, dict) and {"width", "height", "objects"} <= value.keys()


def find(files: Files) -> Found:
    """Pair images with JSON files of the same name."""
    return pair_by_key(files, _image_key, _polygons_key)


def _image_key(path: PurePosixPath) -> str | None:
    return None if _MAPS & set(path.parts) else image_key(path)


def _polygons_key(path: PurePosixPath) -> str | None:
    another = {"v1.2", "panoptic"} & set(path.parts) or path.name.startswith("config_v")
    return None if another else json_key(path)


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """The bytes of a polygon file to an `Annotation`. Raises `BadInput`."""
    values = read_object(parse_json(data), "the file")
    entries = []
    for number, entry in enumerate(read_list(values, "objects")):
        entry = read_object(entry, f"object {number}")
        entries.append((number, read_label(number, entry.get("label")), entry.get("polygon")))
    polygons = read_polygons(entries)
    shapes = [Shape(number, label, polygon) for (number, label, _), polygon in zip(entries, polygons, strict=True)]
    return Annotation(read_size(values, "height"), read_size(values, "width"), shapes)
