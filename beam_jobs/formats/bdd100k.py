"""BDD100K / Scalabel: frames with ``poly2d`` labels, in one file for many images or one for each.

    [{"name": "b1c66a42.jpg", "labels": [{"category": "drivable area", "poly2d": [
       {"vertices": [[x, y], ...], "types": "LLCCCL", "closed": true}]}]}]

A type L is a corner; three C in a row are a cubic Bézier curve's two handles and its end, which may also be an
L or, at the end of the path, its first point. Open polylines (lanes) cover nothing and are not drawn. Boxes
are not drawn either. A size is not said; it is the image's.

The oldest files, one for each image, have ``frames`` with ``objects``, whose ``poly2d`` is one path of
[x, y, type] triples: closed, if the category is no lane.

Reference: https://doc.bdd100k.com/format.html, https://doc.scalabel.com/format.html and, for the oldest files,
https://github.com/bdd100k/bdd100k (show_labels.py).
"""

from __future__ import annotations

import re
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
_PATH = re.compile(r"(.(L|CC[CL])*(CC)?)?")


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Frames with ``name`` and ``labels`` (or, in older files, ``frames`` with ``objects``)."""
    return any(isinstance(frame, dict) and {"name", "labels"} <= frame.keys() for frame in _frames(value))


def find(files: Files) -> Found:
    """One candidate for each frame; one without labels is all canvas. Raises `BadInput`."""
    lookup = ImageLookup(files)
    for path, value in lookup.parsed():
        if not recognizes(PurePosixPath(path), value):
            continue
        for number, frame in enumerate(_frames(value)):
            name = frame.get("name") if isinstance(frame, dict) else None
            if isinstance(name, str):
                labels = frame.get("labels")
                lookup.add(name, path, {"labels": [] if labels is None else labels})
            else:
                lookup.refuse(path, str(number), "image_entry", f"frame {number} has no name: {short(frame)}")
    return lookup.found()


def _frames(value: Any) -> list[Any]:
    """The frames of a file; those of an image's own file get its name."""
    if isinstance(value, dict) and isinstance(value.get("frames"), list):
        if "name" not in value:
            return value["frames"]
        return [
            {"name": value["name"], "labels": frame.get("objects")} if isinstance(frame, dict) else frame
            for frame in value["frames"]
        ]
    return value if isinstance(value, list) else []


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """One frame's inline part to an `Annotation`. Raises `BadInput`."""
    shapes: list[Shape] = []
    counts: Counter[str] = Counter()
    for number, entry in enumerate(read_list(read_object(parse_json(data), "the frame"), "labels")):
        entry = read_object(entry, f"object {number}")
        if entry.get("poly2d") is None:
            counts["objects_without_polygon"] += 1  # boxes of the detection set
            continue
        label = read_label(number, entry.get("category"))
        for part in _parts(number, label, entry["poly2d"]):
            polygon = _outline(number, label, part)
            if polygon is None:
                counts["objects_that_are_lines"] += 1
            else:
                shapes.append(Shape(number, label, polygon))
    return Annotation(None, None, shapes, counts=counts)


def _parts(number: int, label: str, value: Any) -> list[Any]:
    """The parts of an object; the oldest files' triples are one part."""
    if not isinstance(value, list):
        raise BadInput("polygon_not_list", f"object {number} ('{label}'): poly2d is {kind_of(value)}")
    if not value or not all(isinstance(point, list) and len(point) == 3 for point in value):
        return value
    types = [point[2] for point in value]
    closed = not label.lower().startswith("lane")
    return [{"vertices": [point[:2] for point in value], "types": types, "closed": closed}]


def _outline(number: int, label: str, part: Any) -> np.ndarray | None:
    """The outline of one closed part, None for an open one."""
    place = f"object {number} ('{label}')"
    part = read_object(part, f"{place}: poly2d")
    vertices = read_polygon(number, label, part.get("vertices"))
    types = "L" * len(vertices) if part.get("types") is None else part["types"]
    kinds = list(types) if isinstance(types, (str, list)) else []
    if len(kinds) != len(vertices) or not all(kind in ("L", "C") for kind in kinds):
        raise BadInput("curve_types", f"{place}: types {short(types)} are not L or C for {len(vertices)} points")
    closed = part.get("closed", True)
    if not isinstance(closed, bool):
        raise BadInput("polygon_closed", f"{place}: closed is {short(closed)}, which is neither true nor false")
    if not closed:
        return None
    if not _PATH.fullmatch("".join(kinds)):
        raise BadInput(
            "curve_types", f"{place}: types {short(types)} have a curve that is not of two handles and an end"
        )
    return flatten(vertices, "".join(kinds))


def flatten(vertices: np.ndarray, types: str) -> np.ndarray:
    """A closed path of corners (L) and Bézier curves (CCC: two handles and the end) as a polygon, float64 (points, 2).

    The first point is where the path begins, whatever its type.
    """
    points: list[np.ndarray] = []
    index, count = 0, len(types)
    along = np.linspace(0.0, 1.0, CURVE_POINTS + 1)[1:, None]
    while index < count:
        if types[index] == "L" or index == 0:
            points.append(vertices[index])
            index += 1
        else:
            # The end may be the path's first point, when the curve closes it.
            start, first, second, end = points[-1], *(vertices[(index + step) % count] for step in range(3))
            rest = 1.0 - along
            points += list(
                rest**3 * start + 3 * rest**2 * along * first + 3 * rest * along**2 * second + along**3 * end
            )
            index += 3
    return np.array(points).reshape(-1, 2)
