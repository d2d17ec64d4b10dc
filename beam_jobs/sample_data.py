"""Write the sample data set: seeded street scenes with CamVid's labels, as JPEGs and IDD-style polygon JSON.

    python -m beam_jobs.sample_data data/sample
    python -m beam_jobs.sample_data DIR --images 48 --size 192x320 --seed 7

    DIR/leftImg8bit/<train|val>/drive03/frame0007_leftImg8bit.jpg
    DIR/gtFine/<train|val>/drive03/frame0007_gtFine_polygons.json

A drive is 24 frames under one light; every fifth drive is validation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from beam_jobs.scenes import draw_light, draw_scene, render
from configs.commands import ArgumentParser, UserError, parse_size, progress_bar, run_command, say
from pipelines.files import write_json

SAMPLE_TAXONOMY = "camvid11"
IMAGES, SIZE, SEED = 240, (192, 320), 2
FRAMES_PER_DRIVE = 24
VALIDATION_EVERY = 5
JPEG_QUALITY = 92
_VERSION = 1
_MARKER = "sample_data.json"


def make_sample_data(folder: Path, images: int = IMAGES, size: tuple[int, int] = SIZE, seed: int = SEED) -> None:
    """Write the data set, or do nothing when the folder already holds exactly it.

    Args:
      size: (height, width) in pixels, at least 96×160: below that poles would be wider than roads.

    Raises:
      UserError: the folder holds something else, or the size is too small.
    """
    if size[0] < 96 or size[1] < 160:
        raise UserError(f"--size {size[0]}x{size[1]}: street scenes need at least 96x160 (height x width)")
    wanted = {"version": _VERSION, "images": images, "size": list(size), "seed": seed}
    marker = folder / _MARKER
    if marker.is_file():
        if json.loads(marker.read_text()) == wanted:
            return
        raise UserError(f"{folder}: holds sample data of other settings ({marker}); remove it or name another folder")
    bar = progress_bar(images, "image", "drawing sample streets")
    for index in range(images):
        _write_frame(folder, index, size, seed)
        bar.update()
    bar.close()
    write_json(marker, wanted)


def _write_frame(folder: Path, index: int, size: tuple[int, int], seed: int) -> None:
    drive, frame = divmod(index, FRAMES_PER_DRIVE)
    split = "val" if drive % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"
    light = draw_light(np.random.default_rng((seed, drive)))
    random = np.random.default_rng((seed, drive, frame))
    objects = draw_scene(*size, light, random)
    # Whole pixels in the file are what the picture is drawn with: both cut coordinates alike.
    objects = [entry._replace(polygon=[(int(x), int(y)) for x, y in entry.polygon]) for entry in objects]
    stem = f"drive{drive:02d}/frame{frame:04d}"
    image_path = folder / "leftImg8bit" / split / f"{stem}_leftImg8bit.jpg"
    annotation_path = folder / "gtFine" / split / f"{stem}_gtFine_polygons.json"
    for path in (image_path, annotation_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(render(objects, *size, light, random)).save(image_path, quality=JPEG_QUALITY)
    annotation = {
        "imgHeight": size[0],
        "imgWidth": size[1],
        "objects": [{"label": entry.label, "polygon": entry.polygon, "deleted": 0} for entry in objects],
    }
    annotation_path.write_text(json.dumps(annotation, separators=(",", ":")))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the data set."""
    parser = ArgumentParser(prog="python -m beam_jobs.sample_data", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"default: {IMAGES}")
    parser.add_argument("--size", type=parse_size, default=SIZE, metavar="HxW", help="default: 192x320")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    options = parser.parse_args(argv)
    if options.images < 1 or options.seed < 0:
        raise UserError("--images must be at least 1 and --seed at least 0")
    make_sample_data(options.folder, options.images, options.size, options.seed)
    say(f"{options.images} street scenes in {options.folder}")


if __name__ == "__main__":
    sys.exit(run_command(main))
