"""Input of the builder's benchmark: 1080p street images with polygon annotations, made from a seed.

What matters for speed is like in real data sets: JPEGs of about 420 kB, 50 to 120 polygons of 4 to 60
points each. More images than are drawn are hard links under other names.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from configs.commands import progress_bar
from configs.taxonomy import load_taxonomy

HEIGHT, WIDTH = 1080, 1920
DRAWN = 200
FRAMES_PER_DRIVE = 50
JPEG_QUALITY = 90
_NOISE = 4.5  # gives about 420 kB at quality 90


def make_images(folder: Path, images: int) -> Path:
    """Fill ``folder`` with this many pairs in Cityscapes' layout; what is there is kept."""
    drawn = folder.with_name("drawn")
    missing = [index for index in range(min(DRAWN, images)) if not _paths(drawn, index)[1].is_file()]
    if missing:
        bar = progress_bar(len(missing), "image", "drawing 1080p images")
        with ProcessPoolExecutor() as pool:
            for _ in pool.map(_draw, [drawn] * len(missing), missing):
                bar.update()
        bar.close()
    for index in range(images):
        for source, target in zip(_paths(drawn, index % DRAWN), _paths(folder, index), strict=True):
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target)
    return folder


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    drive, frame = divmod(index, FRAMES_PER_DRIVE)
    stem = f"train/drive{drive:03d}/frame{frame:04d}"
    return folder / f"leftImg8bit/{stem}_leftImg8bit.jpg", folder / f"gtFine/{stem}_gtFine_polygons.json"


def _draw(folder: Path, index: int) -> None:
    random = np.random.default_rng((17, index))
    labels = load_taxonomy("cityscapes19").class_names
    picture = Image.new("RGB", (WIDTH, HEIGHT), (110, 120, 130))
    draw = ImageDraw.Draw(picture)
    objects = []
    for number in range(int(random.integers(50, 121))):
        size = random.uniform(0.02, 0.5 if number < 8 else 0.12) * WIDTH
        center = random.uniform(0, 1, 2) * (WIDTH, HEIGHT)
        angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(4, 61))))
        radii = size * random.uniform(0.6, 1.0, len(angles))
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] + center
        polygon = np.clip(np.rint(points), 0, (WIDTH - 1, HEIGHT - 1)).astype(int).tolist()
        draw.polygon([tuple(point) for point in polygon], fill=tuple(random.integers(20, 236, 3).tolist()))
        objects.append({"label": labels[int(random.integers(len(labels)))], "polygon": polygon})
    noisy = np.asarray(picture) + random.normal(0, _NOISE, (HEIGHT, WIDTH, 1))
    image_path, annotation_path = _paths(folder, index)
    for path in (image_path, annotation_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)).save(image_path, quality=JPEG_QUALITY)
    annotation = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}
    annotation_path.write_text(json.dumps(annotation))
