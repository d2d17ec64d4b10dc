"""Benchmark of what makes the record builder fast, one lever at a time: the usual way against ours, per image.

    make bench-build          (or: python -m tests.bench_levers --folder data/bench)

Both ways of a row are measured in turn on the same 1080p images (tests/bench_data.py); figures are medians.
"""

from __future__ import annotations

import gc
import io
import json
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beam_jobs.formats.base import parse_json
from beam_jobs.formats.cityscapes import read
from beam_jobs.images import check_image
from beam_jobs.mask_png import class_pixels, encode_mask
from beam_jobs.options import BuildOptions
from beam_jobs.plan import make_plan, read_plan, write_plan
from beam_jobs.rasterize import rasterize
from beam_jobs.scan import scan
from beam_jobs.shards import build_shard, tune_process
from configs.commands import ArgumentParser, progress_bar, run_command, say
from configs.taxonomy import load_taxonomy
from tests.bench_data import HEIGHT, WIDTH, make_images
from tests.bench_report import Report

IMAGES = 24
TAXONOMY = "cityscapes19"
REPEATS = 7
Work = Callable[[Any], object]


def pillow_png(ids: np.ndarray) -> bytes:
    """A mask as a PNG, as most people write it."""
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, "PNG")
    return buffer.getvalue()


def ms_per_item(ways: Sequence[Work], items: Sequence[Any]) -> list[float]:
    """Milliseconds an item of each way, the median of rounds in which the ways take turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(REPEATS):
        for way, spent in zip(ways, seconds, strict=True):
            started = time.perf_counter()
            for item in items:
                way(item)
            spent.append(time.perf_counter() - started)
    return [statistics.median(spent) / len(items) * 1e3 for spent in seconds]


def whole_record_ms(folder: Path, images: Path) -> list[float]:
    """Milliseconds a record in a fresh process as it is, and in one that was tuned; they take turns."""
    output = folder / "levers"
    write_plan(output, make_plan(scan(images), images, load_taxonomy(TAXONOMY), BuildOptions(input=images), ""))
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit this process's allocator
    with (
        ProcessPoolExecutor(1, spawn, initializer=gc.freeze) as plain,
        ProcessPoolExecutor(1, spawn, initializer=tune_process) as tuned,
    ):
        ways = [lambda _, pool=pool: pool.submit(_build, output).result() for pool in (plain, tuned)]
        for way in ways:
            way(None)  # the process starts
        found = [ms / IMAGES for ms in ms_per_item(ways, [None])]
    shutil.rmtree(output)
    return found


def _build(output: Path) -> int:
    return build_shard(read_plan(output), output, 0).records


def measure(folder: Path) -> Report:
    """All levers, as a report."""
    report = Report("Levers of the record builder", "python -m tests.bench_levers`")
    images = make_images(folder / f"images{IMAGES}", IMAGES)
    jpegs = [path.read_bytes() for path in sorted(images.rglob("*.jpg"))]
    texts = [path.read_bytes() for path in sorted(images.rglob("*.json"))]
    taxonomy = load_taxonomy(TAXONOMY)
    annotations = [read(text) for text in texts]
    masks = [rasterize(annotation, (HEIGHT, WIDTH), taxonomy).ids for annotation in annotations]

    rows = [("a whole record: memory given back → kept", *whole_record_ms(folder, images))]
    pairs: list[tuple[str, Work, Work, Sequence[Any]]] = [
        (
            "check a JPEG to its end: whole decode → 1/8 draft",
            lambda d: Image.open(io.BytesIO(d)).load(),
            _check,
            jpegs,
        ),
        ("parse an annotation: json → orjson", json.loads, parse_json, texts),
        ("encode a mask: Pillow's PNG → zlib-ng run lengths", pillow_png, encode_mask, masks),
        (
            "count a mask's pixels: np.bincount → runs",
            lambda m: np.bincount(m.ravel(), minlength=256),
            class_pixels,
            masks,
        ),
    ]
    bar = progress_bar(len(pairs), "lever", "measuring")
    for what, usual, ours, items in pairs:
        rows.append((what, *ms_per_item([usual, ours], items)))
        bar.update()
    bar.close()
    for what, before, after in rows:
        report.row(f"{what}: {before:.2f} → {after:.2f} ms", f"{1e3 / after:.0f}", f"{before / after:.2f}")
    return report


def _check(data: bytes) -> object:
    return check_image(data, HEIGHT * WIDTH)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print and write the report."""
    parser = ArgumentParser(prog="python -m tests.bench_levers", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/bench"), help="for the images")
    report = measure(parser.parse_args(argv).folder)
    report.write(Path("docs/performance.md"))
    for line in report.lines():
        say(line)


if __name__ == "__main__":
    sys.exit(run_command(main))
