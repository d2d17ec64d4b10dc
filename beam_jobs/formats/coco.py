"""COCO: one JSON file for many images, with polygons of several parts and run-length masks.

    {"images": [{"id": 7, "file_name": "a.jpg", "height": 480, "width": 640}],
     "categories": [{"id": 3, "name": "car"}],
     "annotations": [{"image_id": 7, "category_id": 3, "segmentation": [[x, y, x, y, ...], ...]}]}

An object's polygons are its parts, each of its own; holes are in run-length masks. Objects are painted in
the order of the file. The split is that of the file's name (``instances_train2017.json``).

Reference: https://cocodataset.org/#format-data and pycocotools' maskApi.c (run-length masks).
"""

from __future__ import annotations

from collections import defaultdict
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
    read_list,
    read_object,
    read_polygon,
    read_size,
    short,
)
from beam_jobs.formats.lookup import ImageLookup

NAME = "coco"
TURNED = False
_MOST_PIXELS = 2**31


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """``images``, ``annotations`` and ``categories``, all lists."""
    keys = ("images", "annotations", "categories")
    return isinstance(value, dict) and all(isinstance(value.get(key), list) for key in keys)


def find(files: Files) -> Found:
    """One candidate for each entry of ``images``, with its annotations inline. Raises `BadInput`."""
    found, lookup = Found([], []), ImageLookup(files)
    for path in files.paths:
        if not path.lower().endswith(".json"):
            continue
        try:
            value = parse_json(files.read(path))
        except BadInput as error:
            error.source = path
            raise
        if recognizes(PurePosixPath(path), value):
            _find_in(path, value, lookup, found)
    found.dead_letters.extend(lookup.left_over())
    return found


def _find_in(path: str, value: dict[str, Any], lookup: ImageLookup, found: Found) -> None:
    names = {entry.get("id"): entry.get("name") for entry in value["categories"] if isinstance(entry, dict)}
    of_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(value["annotations"]):
        if isinstance(entry, dict) and _hashable(entry.get("image_id")):
            category = entry.get("category_id")
            label = names.get(category) if _hashable(category) else None
            part = {"number": number, "category": category, "label": label, "segmentation": entry.get("segmentation")}
            of_image[entry.get("image_id")].append(part)
    for number, image in enumerate(value["images"]):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not _hashable(image.get("id")):
            message = f"{path}: image {number} has no file_name or no id"
            found.dead_letters.append(DeadLetter(f"{path}#{number}", "scan", "image_entry", message, path))
            continue
        inline = {"height": image.get("height"), "width": image.get("width"), "objects": of_image.get(image["id"], [])}
        lookup.add(found, name, path, orjson.dumps(inline).decode())


def read(data: bytes) -> Annotation:
    """One image's inline part to an `Annotation`. Raises `BadInput`."""
    values = read_object(parse_json(data), "the image's entry")
    size = (read_size(values, "height"), read_size(values, "width"))
    shapes: list[Shape] = []
    for entry in read_list(values, "objects"):
        number = entry["number"]
        if entry["label"] is None:
            message = f"object {number} has category_id {short(entry['category'])}, which is not in categories"
            raise BadInput("category_missing", message)
        label = read_label(number, entry["label"])
        shapes += _shapes(number, label, entry["segmentation"], size)
    return Annotation(*size, shapes)


def _shapes(number: int, label: str, value: Any, size: tuple[int, int]) -> list[Shape]:
    if isinstance(value, dict):
        return [Shape(number, label, np.empty((0, 2)), decode_rle(number, label, value, size))]
    if not isinstance(value, list):
        what = "missing" if value is None else kind_of(value)
        raise BadInput("polygon_not_list", f"object {number} ('{label}'): segmentation is {what}")
    shapes = []
    for part in value:
        if not isinstance(part, list) or len(part) % 2:
            message = f"object {number} ('{label}'): {short(part)} is not a list [x, y, x, y, ...]"
            raise BadInput("polygon_points", message)
        pairs = [part[index : index + 2] for index in range(0, len(part), 2)]
        shapes.append(Shape(number, label, read_polygon(number, label, pairs)))
    return shapes


def decode_rle(number: int, label: str, value: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A run-length mask to bool (height, width): runs of 0 and 1 in turn, down the columns. Raises `BadInput`."""
    place = f"object {number} ('{label}')"
    if value.get("size") != list(size):
        raise BadInput("mask_size", f"{place}: its mask has size {short(value.get('size'))}, the image {list(size)}")
    counts = value.get("counts")
    runs = _decode_counts(counts) if isinstance(counts, str) else counts
    total = size[0] * size[1]
    if (
        not isinstance(runs, list)
        or not all(type(run) is int and 0 <= run <= total for run in runs)
        or sum(runs) != total
        or total > _MOST_PIXELS
    ):
        raise BadInput("mask_damaged", f"{place}: its runs do not add up to the {total} pixels of the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[::-1]).T


def _decode_counts(text: str) -> list[int] | None:
    """Compressed counts: 5 bits a character from "0" on, bit 6 continues; from the third on, differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def _hashable(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
