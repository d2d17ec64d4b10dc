"""COCO: one JSON file for many images, with polygons of several parts and run-length masks.

    {"images": [{"id": 7, "file_name": "a.jpg", "height": 480, "width": 640}],
     "categories": [{"id": 3, "name": "car"}],
     "annotations": [{"image_id": 7, "category_id": 3, "segmentation": [[x, y, x, y, ...], ...]}]}

An object's polygons are its parts, each of its own; holes are in run-length masks. Objects are painted in
the order of the file. An image without objects is all canvas. The split is that of the file's name
(``instances_train2017.json``). VGG Image Annotator writes ids as text and a single part without its brackets.

Reference: https://cocodataset.org/#format-data and pycocotools' maskApi.c (run-length masks).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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
    read_list,
    read_object,
    read_polygon,
    read_size,
    short,
)
from beam_jobs.formats.lookup import ImageLookup
from beam_jobs.formats.masks import check_mask_pixels

NAME = "coco"
TURNED = False


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Lists ``images``, ``annotations`` and ``categories``, but not those of key points or of panoptic maps."""
    keys = ("images", "annotations", "categories")
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in keys):
        return False
    return not _holds(value["categories"], "keypoints") and not _holds(value["annotations"], "segments_info")


def _holds(entries: Sequence[Any], key: str) -> bool:
    """Whether the first entry has something at this key. COCO's other tasks name the same images once more."""
    return bool(entries) and isinstance(entries[0], dict) and bool(entries[0].get(key))


def find(files: Files) -> Found:
    """One candidate for each entry of ``images``, with its annotations inline. Raises `BadInput`."""
    lookup = ImageLookup(files)
    for path, value in lookup.parsed():
        if recognizes(PurePosixPath(path), value):
            _add_images(path, value, lookup)
    return lookup.found()


def _add_images(path: str, value: dict[str, Any], lookup: ImageLookup) -> None:
    objects = _objects_by_image(value["annotations"], _labels_by_id(value["categories"]))
    ids = Counter(_id(image.get("id")) for image in value["images"] if isinstance(image, dict))
    del ids[None]
    for number, image in enumerate(value["images"]):
        name, own_id = (image.get("file_name"), _id(image.get("id"))) if isinstance(image, dict) else (None, None)
        if not isinstance(name, str) or own_id is None:
            lookup.refuse(path, str(number), "image_entry", f"image {number} has no file_name or no id: {short(image)}")
        elif ids[own_id] > 1:
            lookup.refuse(
                path, str(number), "image_entry", f"image {number} has id {short(own_id)}, which stands twice"
            )
        else:
            size = {"height": image.get("height"), "width": image.get("width")}
            lookup.add(name, path, {**size, "objects": objects.get(own_id, [])})
    lost = [entry["number"] for own_id, entries in objects.items() if not ids[own_id] for entry in entries]
    if lost:
        example = f"object {min(lost)} is {short(value['annotations'][min(lost)])}"
        message = f"{len(lost)} of the objects are of no image in the file: {example}"
        lookup.refuse(path, "annotations", "object_without_image", message)


def _labels_by_id(categories: Iterable[Any]) -> dict[str | None, list[Any]]:
    """Names by category id; more than one where an id stands twice with names that differ."""
    labels: dict[str | None, list[Any]] = defaultdict(list)
    for entry in categories:
        if isinstance(entry, dict) and entry.get("name") not in labels[_id(entry.get("id"))]:
            labels[_id(entry.get("id"))].append(entry.get("name"))
    return {own_id: names for own_id, names in labels.items() if own_id is not None}


def _objects_by_image(
    annotations: Iterable[Any], labels: dict[str | None, list[Any]]
) -> dict[str | None, list[dict[str, Any]]]:
    """Inline parts by image id; those that have no id are at None."""
    objects: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(annotations):
        values = entry if isinstance(entry, dict) else {}
        category = values.get("category_id")
        part = {"number": number, "category": category, "labels": labels.get(_id(category), [])}
        objects[_id(values.get("image_id"))].append({**part, "segmentation": values.get("segmentation")})
    return objects


def _id(value: Any) -> str | None:
    """An id as text, so that 7 is "7"; None for what cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """One image's inline part to an `Annotation`. Raises `BadInput`."""
    values = read_object(parse_json(data), "the image's entry")
    size = (read_size(values, "height"), read_size(values, "width"))
    entries = [read_object(entry, f"entry {index}") for index, entry in enumerate(read_list(values, "objects"))]
    check_mask_pixels(sum(isinstance(entry.get("segmentation"), dict) for entry in entries), size)
    shapes: list[Shape] = []
    counts: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        number = entry["number"] if isinstance(entry.get("number"), int) else index
        parts = _shapes(number, _label(number, entry), entry.get("segmentation"), size)
        counts["objects_without_polygon"] += not parts
        shapes += parts
    return Annotation(*size, shapes, counts=counts)


def _label(number: int, entry: dict[str, Any]) -> str:
    labels = read_list(entry, "labels")
    if len(labels) == 1:
        return read_label(number, labels[0])
    category = f"object {number} has category_id {short(entry.get('category'))}"
    if labels:
        raise BadInput("category_twice", f"{category}, which stands twice in categories: {short(labels)}")
    raise BadInput("category_missing", f"{category}, which is not in categories")


def _shapes(number: int, label: str, value: Any, size: tuple[int, int]) -> list[Shape]:
    if isinstance(value, dict):
        return [Shape(number, label, np.empty((0, 2)), decode_rle(number, label, value, size))]
    if not isinstance(value, list):
        what = "missing" if value is None else kind_of(value)
        raise BadInput("polygon_not_list", f"object {number} ('{label}'): segmentation is {what}")
    shapes = []
    for part in [value] if value and isinstance(value[0], (int, float)) else value:
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
        said = f"its mask has size {short(value.get('size'))}, the image {short(list(size))}"
        raise BadInput("mask_size", f"{place}: {said}")
    counts = value.get("counts")
    runs = _decode_counts(counts) if isinstance(counts, str) else counts
    total = size[0] * size[1]
    whole = isinstance(runs, list) and all(type(run) is int and 0 <= run <= total for run in runs)
    if not isinstance(runs, list) or not whole or sum(runs) != total:
        raise BadInput("mask_damaged", f"{place}: its runs do not add up to the {total} pixels of the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size[::-1]).T


def _decode_counts(text: str) -> list[int] | None:
    """Compressed counts: 5 bits a character from "0" on, bit 6 continues; from the fourth on, differences."""
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
