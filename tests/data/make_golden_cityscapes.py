"""Make the golden masks of tests/test_golden_cityscapes.py with Cityscapes' own tools.

    python -m venv .venv-cityscapes
    .venv-cityscapes/bin/pip install cityscapesscripts==2.3.0
    .venv-cityscapes/bin/python tests/data/make_golden_cityscapes.py

Writes ``tests/data/cityscapes/NAME_gtFine_polygons.json`` and ``NAME_gtFine_labelTrainIds.png``, both from a seed,
drawn by ``cityscapesscripts.preparation.json2labelImg`` with train ids. The files in the repository were made with
cityscapesscripts 2.3.0 and Pillow 13.0.0. The tools are not a dependency of the project: they want a folder of data
sets and many packages.

Left out, because the tools and we differ there on purpose: polygons of fewer than three points (they fail on none and
draw a line for two; we draw nothing and count the object), ``deleted`` as the text "0" (true to them, false to us),
labels in upper case or with stray spaces and labels in no table (they stop).
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from cityscapesscripts.helpers.labels import labels
from cityscapesscripts.preparation.json2labelImg import json2labelImg

FOLDER = Path(__file__).parent / "cityscapes"
Polygon = list[list[float]]


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def star(x: float, y: float, radius: float, points: int) -> Polygon:
    """A star drawn in one stroke: its edges cross, so parts of it are covered twice."""
    step = 2 * math.pi * (points // 2) / points
    return [[x + radius * math.sin(step * n), y - radius * math.cos(step * n)] for n in range(points)]


def entry(label: str, polygon: Polygon, **more: Any) -> dict[str, Any]:
    return {"label": label, "polygon": [[round(x, 3), round(y, 3)] for x, y in polygon], **more}


def every_label() -> list[dict[str, Any]]:
    """Every label of the tools on a road, in boxes of 10 by 10."""
    boxes = [
        box(2 + 12 * (n % 8), 2 + 12 * (n // 8), 11 + 12 * (n % 8), 11 + 12 * (n // 8)) for n in range(len(labels))
    ]
    return [entry("road", box(0, 0, 97, 60)), *(entry(label.name, at) for label, at in zip(labels, boxes))]


def groups() -> list[dict[str, Any]]:
    """Groups count as their member, but polegroup is a label of its own; they overlap."""
    names = ("cargroup", "persongroup", "ridergroup", "bicyclegroup", "polegroup", "truckgroup", "vegetationgroup")
    return [entry("sky", box(0, 0, 63, 47))] + [
        entry(name, box(3 + 8 * n, 4 + 3 * n, 17 + 8 * n, 20 + 3 * n)) for n, name in enumerate(names)
    ]


def license_plates() -> list[dict[str, Any]]:
    """A plate is not drawn: what lies beneath stays, be it a car or nothing."""
    return [
        entry("road", box(0, 20, 63, 47)),
        entry("car", box(10, 10, 40, 40)),
        entry("license plate", box(20, 30, 30, 35)),
        entry("license plate", box(50, 2, 60, 8)),
        entry("person", box(25, 25, 28, 46)),
    ]


def outside() -> list[dict[str, Any]]:
    """Polygons that reach over each edge, far over it, and that lie outside altogether."""
    return [
        entry("building", box(-10, -10, 20, 12)),
        entry("road", box(60, 30, 200, 100)),
        entry("sky", box(-90000, 14, 5, 18)),
        entry("car", [[40, -30], [110, 20], [50, 90], [-20, 25]]),
        entry("truck", box(100, 60, 120, 70)),
        entry("bus", box(-30, -30, -5, -5)),
        entry("person", box(79, 47, 80, 48)),
        entry("pole", [[30, -100000], [33, -100000], [33, 100000], [30, 100000]]),
        entry("terrain", [[-0.5, 20.5], [-0.25, 30], [3.5, 44.75], [-7.5, 47.5]]),
    ]


def half_pixels() -> list[dict[str, Any]]:
    """Coordinates at and between half pixels, negative ones among them."""
    dice = random.Random(1)
    halves = [entry("road", box(0.5, 64.5, 127.5, 95.5)), entry("sky", box(-0.5, -0.5, 127.49, 30.51))]
    for n, name in enumerate(("car", "person", "building", "vegetation", "traffic sign", "fence") * 3):
        x, y = 4 + 20 * (n % 6) + n / 10, 4 + 30 * (n // 6) + n / 7
        ring = [[x + dice.choice((0, 0.5, 9.5, 10.25)), y + dice.uniform(-3, 21)] for _ in range(3 + n % 4)]
        halves.append(entry(name, ring))
    return halves


def deleted() -> list[dict[str, Any]]:
    """Deleted objects as the annotation tool writes them, and others that are not."""
    return [
        entry("road", box(0, 0, 50, 40), deleted=0),
        entry("car", box(5, 5, 20, 20), deleted=1, verified=1, user="a", date="01-Jan-2020 00:00:00"),
        entry("person", box(10, 10, 30, 30), deleted=True),
        entry("sky", box(25, 25, 45, 35), deleted=False, id=3),
        entry("bus", box(30, 5, 40, 15), deleted=0, verified=0),
    ]


def odd_outlines() -> list[dict[str, Any]]:
    """Bow-ties, stars, points that repeat or lie on one line, outlines closed by hand and thin ones."""
    return [
        entry("road", box(0, 0, 95, 63)),
        entry("car", [[5, 5], [25, 20], [25, 5], [5, 20]]),
        entry("person", star(45, 14, 12, 5)),
        entry("bus", star(75.5, 16.5, 13, 7)),
        entry("sky", [[5, 30], [15, 30], [25, 30]]),
        entry("wall", [[5, 34], [20, 41], [35, 48]]),
        entry("fence", [[40, 35], [40, 35], [40, 35]]),
        entry("train", [[45, 35], [60, 35], [60, 35], [60, 50], [45, 50], [45, 35]]),
        entry("pole", box(70, 30, 70, 60)),
        entry("rider", box(74, 40, 75, 40)),
        entry("terrain", [[80, 32], [94, 32], [94, 60], [80, 60], [80, 36], [90, 36], [90, 56], [84, 56], [84, 40]]),
        entry(
            "truck",
            [[10, 50], [30, 50], [30, 62], [10, 62], [10, 50], [15, 53], [15, 59], [25, 59], [25, 53], [15, 53]],
        ),
    ]


def crowd() -> list[dict[str, Any]]:
    """Two hundred polygons of any label, over each other and over the edges."""
    dice = random.Random(2)
    names = [label.name for label in labels]
    objects = []
    for _ in range(200):
        x, y, reach = dice.uniform(-10, 138), dice.uniform(-10, 106), dice.choice((4, 10, 25))
        ring = [[x + dice.gauss(0, reach), y + dice.gauss(0, reach)] for _ in range(dice.randint(3, 12))]
        if dice.random() < 0.5:
            ring = [[float(round(across)), float(round(down))] for across, down in ring]
        objects.append(entry(dice.choice(names), ring, deleted=int(dice.random() < 0.1)))
    return objects


SIZES = {
    every_label: (60, 98),
    groups: (48, 64),
    license_plates: (48, 64),
    outside: (48, 80),
    half_pixels: (96, 128),
    deleted: (48, 64),
    odd_outlines: (64, 96),
    crowd: (96, 128),
}
"""Scene → (height, width)."""


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for scene, (height, width) in SIZES.items():
        path = FOLDER / f"{scene.__name__}_gtFine_polygons.json"
        path.write_text(json.dumps({"imgHeight": height, "imgWidth": width, "objects": scene()}) + "\n")
        json2labelImg(str(path), str(FOLDER / f"{scene.__name__}_gtFine_labelTrainIds.png"), "trainIds")
