"""The work of a Beam worker: one planned shard to one TFRecord file and its sidecar.

A sidecar, ``<shard file>.json``, is written after the shard was renamed to its name; it is the shard's
result. Everything here is plain functions; `BuildShard` only wires them into Beam.
"""

from __future__ import annotations

import gc
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import apache_beam as beam
import numpy as np

from beam_jobs.annotation import BadInput, DeadLetter
from beam_jobs.convert import Built, build_record
from beam_jobs.plan import Plan, PlannedShard, progress_path, read_plan, read_planned_shard
from beam_jobs.storage import as_location, is_remote
from configs.loading import Config
from configs.memory import keep_freed_memory
from configs.taxonomy import IGNORE_ID
from pipelines.files import AtomicFile, write_json
from pipelines.records import frame, serialize


class Sidecar(Config):
    """What became of a planned shard. Pixel counts have one entry for each class, in id order."""

    plan_digest: str
    file: str
    split: str
    planned: int
    records: int
    bytes: int
    sha256: str
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    pixels_where_present: tuple[int, ...]
    ignored_pixels: int
    channel_sums: tuple[int, int, int]
    channel_square_sums: tuple[int, int, int]
    channel_pixels: int
    channel_images: int
    sizes: dict[str, int]
    counts: dict[str, int]
    """What was good but worth telling: objects without three points, images encoded again, …"""
    dead_letters: tuple[DeadLetter, ...]


class BuildShard(beam.DoFn):
    """(shard number) -> Sidecar as a dict. Only infrastructure faults raise; bad images become dead letters."""

    def __init__(self, output: str) -> None:
        self._output = output

    def setup(self) -> None:
        self._plan = read_plan(as_location(self._output))
        tune_process()

    def process(self, index: int) -> Iterator[dict[str, object]]:
        sidecar = build_shard(self._plan, as_location(self._output), index)
        yield sidecar.model_dump(mode="json")


def tune_process() -> None:
    """Set collector and allocator of a worker process for thousands of images one after the other."""
    # Each annotation is thousands of small lists, so collections are frequent; without this each full one
    # would walk the hundred thousand objects of Beam's modules again.
    gc.freeze()
    keep_freed_memory()


def build_shard(plan: Plan, output: Path, index: int) -> Sidecar:
    """Build one shard of the plan below ``output``: the same plan gives the same bytes, however often."""
    shard = read_planned_shard(output, index)
    statistics = _Statistics(len(plan.taxonomy.classes))
    dead: list[DeadLetter] = []
    with (
        AtomicFile(output / shard.file) as file,
        _progress_file(output, index) as progress,
    ):
        for pair, full_decode in zip(shard.pairs, shard.statistics, strict=True):
            try:
                built = build_record(plan, pair, full_decode)
            except BadInput as error:
                # A hostile label may hold half a surrogate pair, which no UTF-8 file can.
                message = f"{error.source}: {error}".encode("utf-8", "backslashreplace").decode()
                dead.append(DeadLetter(pair.key, "build", error.code, message, error.source))
            else:
                file.write(frame(serialize(built.record)))
                statistics.add(built)
            progress.write(b".")
    sidecar = statistics.sidecar(plan.digest, shard, file, dead)
    write_json(sidecar_path(output, shard.file), sidecar.model_dump(mode="json"))
    return sidecar


def sidecar_path(output: Path, shard_file: str) -> Path:
    """Where a shard's sidecar stands."""
    return output / f"{shard_file}.json"


def read_sidecar(output: Path, shard_file: str, plan_digest: str) -> Sidecar | None:
    """A shard's sidecar, if it is of this plan and the shard has the size it says; else None."""
    try:
        sidecar = Sidecar.model_validate_json(sidecar_path(output, shard_file).read_bytes())
        size = (output / shard_file).stat().st_size
    except (OSError, ValueError):
        return None
    return sidecar if sidecar.plan_digest == plan_digest and sidecar.bytes == size else None


def _progress_file(output: Path, index: int) -> BinaryIO:
    """Where a byte is written for every image; on an object store nobody looks before the shard is done."""
    return io.BytesIO() if is_remote(output) else open(progress_path(output, index), "wb", buffering=0)


class _Statistics:
    """Running sums of one shard, all in integers: exact and the same in any order."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._pixels, self._images, self._where_present = np.zeros((3, classes), np.int64)
        self._sums, self._squares = np.zeros((2, 3), np.int64)
        self._ignored = self._records = self._channel_pixels = self._channel_images = 0
        self._sizes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def add(self, built: Built) -> None:
        pixels = built.id_pixels[: self._classes]
        present = pixels > 0
        self._records += 1
        self._pixels += pixels
        self._images += present
        self._where_present += present * pixels.sum()
        self._ignored += int(built.id_pixels[IGNORE_ID])
        self._sizes[f"{built.record.height}x{built.record.width}"] += 1
        self._counts.update(built.counts)
        if built.channels:
            self._sums += built.channels[0]
            self._squares += built.channels[1]
            self._channel_pixels += built.record.height * built.record.width
            self._channel_images += 1

    def sidecar(self, digest: str, shard: PlannedShard, file: AtomicFile, dead: list[DeadLetter]) -> Sidecar:
        return Sidecar(
            plan_digest=digest,
            file=shard.file,
            split=shard.split,
            planned=len(shard.pairs),
            records=self._records,
            bytes=file.size,
            sha256=file.sha256,
            class_pixels=tuple(self._pixels.tolist()),
            class_images=tuple(self._images.tolist()),
            pixels_where_present=tuple(self._where_present.tolist()),
            ignored_pixels=self._ignored,
            channel_sums=tuple(self._sums.tolist()),
            channel_square_sums=tuple(self._squares.tolist()),
            channel_pixels=self._channel_pixels,
            channel_images=self._channel_images,
            sizes=dict(sorted(self._sizes.items())),
            counts={key: value for key, value in sorted(self._counts.items()) if value},
            dead_letters=tuple(dead),
        )
