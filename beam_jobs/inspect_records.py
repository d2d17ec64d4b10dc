"""Look at a folder of records: counts, the table of classes, and a sheet of image | mask | overlay.

python -m beam_jobs.inspect_records data/records
python -m beam_jobs.inspect_records data/records --split val --sample 6 --output sheet.png
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from configs.commands import ArgumentParser, UserError, run_command, say
from pipelines.manifest import Manifest, read_manifest
from pipelines.pictures import colorize, overlay, save_png, sheet
from pipelines.records import DamagedRecords, Record, read_records

SHEET_WIDTH = 360
"""Pixels of one picture of the sheet; larger images are shown smaller."""


def class_table(manifest: Manifest) -> list[str]:
    """Lines with each class's id, colour, share of scored pixels, images and weight, over all splits."""
    names = manifest.taxonomy.class_names
    pixels = np.sum([split.class_pixels for split in manifest.splits.values()], axis=0)
    images = np.sum([split.class_images for split in manifest.splits.values()], axis=0)
    lines = [f"{'id':>3} {'class':<24}{'colour':<9}{'% of pixels':>12}{'images':>9}{'weight':>9}"]
    for index, name in enumerate(names):
        color = "#{:02x}{:02x}{:02x}".format(*manifest.taxonomy.classes[index].color)
        share, weight = 100 * pixels[index] / max(pixels.sum(), 1), manifest.class_weights[index]
        lines.append(f"{index:>3} {name:<24}{color:<9}{share:>12.3f}{images[index]:>9}{weight:>9.2f}")
    ignored = sum(split.ignored_pixels for split in manifest.splits.values())
    lines.append(f"not scored (255): {100 * ignored / max(pixels.sum() + ignored, 1):.3f} % of all pixels")
    return lines


def split_table(manifest: Manifest) -> list[str]:
    """Lines with each split's records, shards, bytes and sizes."""
    lines = [f"{'split':<12}{'records':>9}{'shards':>8}{'MB':>10}  sizes (height x width)"]
    for name, split in manifest.splits.items():
        megabytes = sum(shard.bytes for shard in split.shards) / 1e6
        common = sorted(split.sizes.items(), key=lambda item: -item[1])
        sizes = ", ".join(f"{size} ({count})" for size, count in common[:3]) + (" …" if len(common) > 3 else "")
        lines.append(f"{name:<12}{split.records:>9}{len(split.shards):>8}{megabytes:>10.1f}  {sizes}")
    return lines


def draw_records(records: Sequence[Record], manifest: Manifest) -> np.ndarray:
    """The sheet of some records, uint8 (height, width, 3): a row each, the legend beneath."""
    rows = []
    for record in records:
        image = np.asarray(Image.open(io.BytesIO(record.image)).convert("RGB"))
        mask = np.array(Image.open(io.BytesIO(record.mask)))
        pictures = (image, colorize(mask, manifest.taxonomy), overlay(image, mask, manifest.taxonomy))
        rows.append([_shown(picture) for picture in pictures])
    return sheet(rows, ["image", "mask (black: not scored)", "overlay"], manifest.taxonomy)


def sample_records(folder: Path, manifest: Manifest, split: str, count: int) -> list[Record]:
    """Records spread evenly over a split. Raises `UserError` when the split is missing, empty or damaged."""
    shards = manifest.split(split).shards
    total = manifest.split(split).records
    if not total:
        raise UserError(f"--split {split}: has no records")
    wanted = {index * total // min(count, total) for index in range(min(count, total))}
    found, start = [], 0
    for shard in shards:
        inside = {index - start for index in wanted if start <= index < start + shard.records}
        try:
            for index, record in enumerate(read_records(folder / shard.file) if inside else ()):
                if index in inside:
                    found.append(record)
        except (OSError, DamagedRecords) as error:
            raise UserError(
                f"{folder / shard.file}: {error}; run python -m beam_jobs.verify_records {folder}"
            ) from None
        start += shard.records
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, print the tables and draw the sheet."""
    parser = ArgumentParser(prog="python -m beam_jobs.inspect_records", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder that build_records wrote")
    parser.add_argument("--split", help="default: the first of train, val, test that is there")
    parser.add_argument("--sample", type=int, default=4, metavar="N", help="records on the sheet (default: 4)")
    parser.add_argument("--output", type=Path, metavar="PNG", help="default: DIR.png, beside the folder")
    options = parser.parse_args(argv)
    if options.sample < 1:
        raise UserError(f"--sample {options.sample}: expected 1 or more")
    manifest = read_manifest(options.folder)
    dead = f"{manifest.dead_letters} dead letters of {manifest.planned} inputs"
    say(f"{manifest.name}: taxonomy {manifest.taxonomy.name}, {dead}")
    for line in [*split_table(manifest), "", *class_table(manifest)]:
        say(line)
    split = options.split or next(
        name for name in ("train", "val", "test", *manifest.splits) if name in manifest.splits
    )
    output = options.output or options.folder.with_name(options.folder.name + ".png")
    records = sample_records(options.folder, manifest, split, options.sample)
    save_png(output, draw_records(records, manifest))
    say(f"{len(records)} records of split {split} drawn in {output}")


def _shown(picture: np.ndarray) -> np.ndarray:
    """A picture of the sheet's width, nearest neighbour: masks must keep their colours."""
    height, width = picture.shape[:2]
    size = (SHEET_WIDTH, max(1, round(height * SHEET_WIDTH / width)))
    return (
        picture if width <= SHEET_WIDTH else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
