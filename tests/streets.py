"""Tiny street folders drawn from a seed, in Cityscapes' layout, and hashes of the shards built from them.

root/leftImg8bit/train/drive00/frame0000_leftImg8bit.jpg
root/gtFine/train/drive00/frame0000_gtFine_polygons.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipelines.files import sha256_file

TINY = (48, 64)
"""(height, width) of the test images: never square, so that a swapped height and width fails."""
LABELS = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign_symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""camvid11's labels in id order."""


def street_objects(height: int, width: int, random: np.random.Generator, shapes: int = 4) -> list[dict[str, Any]]:
    """Objects of one tiny street in painting order: sky above, road below, boxes of any class in between.

    A strip at the right edge, an eighth of the width, stays uncovered: canvas, not scored.
    """
    right = width - width // 8 - 1
    horizon = int(random.integers(height // 3, height // 2))
    objects = [
        {"label": "sky", "polygon": [[0, 0], [right, 0], [right, horizon], [0, horizon]]},
        {"label": "road", "polygon": [[0, horizon], [right, horizon], [right, height - 1], [0, height - 1]]},
    ]
    for _ in range(shapes):
        label = LABELS[int(random.integers(len(LABELS)))]
        left, top = int(random.integers(0, right - 14)), int(random.integers(0, height - 12))
        across, down = (int(value) for value in random.integers(6, 12, 2))
        box = [[left, top], [left + across, top], [left + across, top + down], [left, top + down]]
        objects.append({"label": label, "polygon": box})
    return objects


def draw_street(
    objects: Sequence[Mapping[str, Any]], height: int, width: int, random: np.random.Generator
) -> Image.Image:
    """An RGB picture in which every label has a colour of its own, under a little noise."""
    picture = Image.new("RGB", (width, height), (12, 12, 12))
    draw = ImageDraw.Draw(picture)
    for entry in objects:
        level = 20 * (LABELS.index(entry["label"]) + 1)
        draw.polygon([tuple(point) for point in entry["polygon"]], fill=(level, 255 - level, (level * 3) % 256))
    noisy = np.asarray(picture) + random.normal(0.0, 4.0, (height, width, 3))
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def write_street(
    root: Path,
    key: str,
    size: tuple[int, int] = TINY,
    seed: int = 0,
    *,
    objects: Sequence[Mapping[str, Any]] | None = None,
    image: Image.Image | bytes | None = None,
    suffix: str = ".jpg",
) -> tuple[Path, Path]:
    """Write one pair in Cityscapes' layout; its key is ``train/drive00/frame0000`` or the like.

    Returns:
      The paths of the image and of the annotation.
    """
    random = np.random.default_rng(seed)
    folder, _, frame = key.rpartition("/")
    drawn = street_objects(*size, random)
    image_path = root / "leftImg8bit" / folder / f"{frame}_leftImg8bit{suffix}"
    annotation_path = root / "gtFine" / folder / f"{frame}_gtFine_polygons.json"
    for path in (image_path, annotation_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        image_path.write_bytes(image)
    else:
        (image or draw_street(drawn, *size, random)).save(image_path, quality=92)
    annotation = {"imgHeight": size[0], "imgWidth": size[1], "objects": list(drawn if objects is None else objects)}
    annotation_path.write_text(json.dumps(annotation))
    return image_path, annotation_path


def make_streets(
    root: Path,
    images: int | None = None,
    splits: Mapping[str, int] | Sequence[str] = ("train", "val"),
    size: tuple[int, int] = TINY,
    seed: int = 0,
    drives: int = 2,
) -> Path:
    """A folder of tiny streets; every pair has a seed of its own, ``(seed, number)``.

    Args:
      root: the folder to make.
      images: how many in each of ``splits``, when that is a list of names. Default 4.
      splits: names, or name → images; the empty name gives drives without a split folder.
      size: (height, width).
      drives: folders in each split; frames are dealt to them in turn.
    """
    counts = splits if isinstance(splits, Mapping) else dict.fromkeys(splits, 4 if images is None else images)
    number = 0
    for split, count in counts.items():
        for index in range(count):
            folder = f"{split}/drive{index % drives:02d}".lstrip("/")
            write_street(root, f"{folder}/frame{index:04d}", size, seed * 100_003 + number)
            number += 1
    return root


def shard_hashes(folder: Path) -> dict[str, str]:
    """Shard file → sha256 of its bytes, as read from the disk."""
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.tfrecord-*")) if path.suffix != ".json"}
