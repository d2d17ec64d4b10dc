"""BDD100K / Scalabel: frames with ``poly2d`` labels, in one file for many images or one for each.

    [{"name": "b1c66a42.jpg", "labels": [{"category": "drivable area", "poly2d": [
       {"vertices": [[x, y], ...], "types": "LLCCL", "closed": true}]}]}]

A type L is a corner; three C in a row are a cubic Bézier curve's two handles and its end. Open polylines
(lanes) cover nothing and are not drawn. A size is not said; it is the image's.

Reference: https://doc.bdd100k.com/format.html and https://doc.scalabel.com/format.html
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import orjson

from beam_jobs.annotation import Annotation, BadInput, DeadLetter, Shape
from beam_jobs.formats.base import (
    IMAGE_SUFFIXES,
    Files,
    Found,
    parse_json,
    read_label,
    read_list,
    read_object,
    read_polygon,
    short,
)
from beam_jobs.formats.lookup import ImageLookup

NAME = "bdd100k"
TURNED = False
CURVE_POINTS = 16
"""Straight pieces that a Bézier curve is drawn with."""


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Frames with ``name`` and ``labels`` (or, in older files, ``frames`` with ``objects``)."""
    return bool(_frames(value))


def find(files: Files) -> Found:
    """One candidate for each frame. Raises `BadInput`."""
    found, lookup = Found([], []), ImageLookup(files)
    for path in files.paths:
        if not path.lower().endswith(".json"):
            continue
        try:
            frames = _frames(parse_json(files.read(path)))
        except BadInput as error:
            error.source = path
            raise
        for number, frame in enumerate(frames):
            name = frame["name"]
            if not isinstance(name, str):
                message = f"{path}: frame {number} has name {short(name)}, which is not text"
                found.dead_letters.append(DeadLetter(f"{path}#{number}", "scan", "image_entry", message, path))
                continue
            # Older files, one for each image, name it without its suffix.
            known = name if name.lower().endswith(IMAGE_SUFFIXES) else f"{name}.jpg"
            inline = orjson.dumps({"labels": frame["labels"] or []}).decode()
            lookup.add(found, known, path, inline)
    found.dead_letters.extend(lookup.left_over())
    return found


def _frames(value: Any) -> list[dict[str, Any]]:
    """The frames of a file, each with ``name`` and ``labels``."""
    if isinstance(value, dict) and isinstance(value.get("frames"), list):
        if "name" in value:  # an image's own file: its only frame holds the objects
            objects = [frame.get("objects") for frame in value["frames"] if isinstance(frame, dict)]
            return [{"name": value["name"], "labels": objects[0]}] if objects else []
        value = value["frames"]
    if not isinstance(value, list):
        return []
    return [frame for frame in value if isinstance(frame, dict) and {"name", "labels"} <= frame.keys()]


def read(data: bytes) -> Annotation:
    """One frame's inline part to an `Annotation`. Raises `BadInput`."""
    shapes: list[Shape] = []
    counts: Counter[str] = Counter()
    for number, entry in enumerate(read_list(read_object(parse_json(data), "the frame"), "labels")):
        entry = read_object(entry, f"object {number}")
        parts = entry.get("poly2d")
        if parts is None:
            counts["objects_without_polygon"] += 1  # boxes of the detection set
            continue
        label = read_label(number, entry.get("category"))
        if not isinstance(parts, list):
            raise BadInput("polygon_not_list", f"object {number} ('{label}'): poly2d is not a list")
        for part in parts:
            polygon = _part(number, label, part)
            if polygon is None:
                counts["objects_that_are_lines"] += 1
            else:
                shapes.append(Shape(number, label, polygon))
    return Annotation(None, None, shapes, counts=counts)


def _part(number: int, label: str, part: Any) -> np.ndarray | None:
    """The outline of one closed part, None for an open one. The oldest files have [x, y, type] triples."""
    if isinstance(part, list):
        triple = all(isinstance(point, list) and len(point) == 3 and isinstance(point[2], str) for point in part)
        if not triple:
            raise BadInput("polygon_points", f"object {number} ('{label}'): {short(part)} is not [x, y, type] points")
        part = {"vertices": [point[:2] for point in part], "types": "".join(point[2] for point in part), "closed": True}
    part = read_object(part, f"object {number} ('{label}'): poly2d")
    vertices = read_polygon(number, label, part.get("vertices"))
    types = part.get("types") or "L" * len(vertices)
    if not isinstance(types, str) or len(types) != len(vertices) or set(types) - set("LC"):
        raise BadInput(
            "curve_types",
            f"object {number} ('{label}'): types {short(types)} are not L or C for {len(vertices)} points",
        )
    return flatten(vertices, types) if part.get("closed", True) else None


def flatten(vertices: np.ndarray, types: str) -> np.ndarray:
    """A closed path of corners (L) and Bézier curves (CCC: two handles and the end) as a polygon."""
    if "C" not in types:
        return vertices
    points: list[np.ndarray] = []
    index, count = 0, len(types)
    along = np.linspace(0.0, 1.0, CURVE_POINTS + 1)[1:, None]
    while index < count:
        if types[index] == "C" and points and index + 1 < count and types[index + 1] == "C":
            # The end may be the path's first point, when the curve closes it.
            start, first, second, end = points[-1], *(vertices[(index + step) % count] for step in range(3))
            rest = 1.0 - along
            curve = rest**3 * start + 3 * rest**2 * along * first + 3 * rest * along**2 * second + along**3 * end
            points += list(curve)
            index += 3
        else:
            points.append(vertices[index])
            index += 1
    return np.array(points)
