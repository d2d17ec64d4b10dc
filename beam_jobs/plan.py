"""The plan of a build: which pair becomes which record of which shard. It alone decides the bytes.

Workers, runner, output folder and absolute paths are not part of it, so the same input gives the same
shards anywhere. A plan folder holds ``plan.json`` and one small file for each shard, which is all that a
worker is sent: its number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL
from pydantic import Field

from beam_jobs.annotation import DeadLetter
from beam_jobs.options import NOT_IN_BYTES, BuildOptions
from beam_jobs.scan import Pair, Scan
from beam_jobs.splits import assign_splits, stable_hash, statistics_split
from beam_jobs.storage import Location
from configs import __version__
from configs.loading import Config, differences
from configs.taxonomy import Taxonomy
from pipelines.files import write_json

PLAN_FOLDER = "plan"
IMAGES_PER_SHARD = 64
MOST_SHARDS = 128
# Channel statistics need whole decodes, each of which costs as much as two checks of the file. So many bytes of
# image files go by for each one, that its share of the time stays small; small images are nearly all taken.
STATISTICS_BYTES = 14_000
STATISTICS_EVERY = 32
STATISTICS_LEAST = 16


class PlannedShard(Config):
    """One shard: its file name, its split and its pairs in the order of its records."""

    file: str
    split: str
    pairs: tuple[Pair, ...]
    statistics: tuple[bool, ...]
    """For each pair, whether its image is decoded in full for the channel statistics."""


class Plan(Config):
    """All that is known before the first image is read. ``input`` is where workers find the files."""

    digest: str
    name: str
    format: str
    """Of the annotations; names the reader that workers use."""
    input: Location
    taxonomy: Taxonomy
    options: BuildOptions
    shards: tuple[PlannedShard, ...] = Field(exclude=True, default=())
    shard_files: tuple[str, ...]
    planned: dict[str, int]
    """Split → pairs."""
    scan_dead_letters: tuple[DeadLetter, ...]
    command_line: str


def make_plan(scan: Scan, folder: Path, taxonomy: Taxonomy, options: BuildOptions, command_line: str) -> Plan:
    """Split, order and cut the pairs into shards of exact lengths."""
    name = options.name or taxonomy.name
    splits = assign_splits(scan.pairs, options.salt, options.validation_fraction, options.split_lists)
    shards: list[PlannedShard] = []
    measured = statistics_split(splits)
    for split, pairs in splits.items():
        ordered = sorted(pairs, key=lambda pair: stable_hash(options.salt, pair.key))
        every = statistics_step([pair.image_size for pair in ordered])
        count = shard_count(len(ordered), options.shards)
        for index in range(count):
            start, end = len(ordered) * index // count, len(ordered) * (index + 1) // count
            shards.append(
                PlannedShard(
                    file=f"{name}-{split}.tfrecord-{index:05d}-of-{count:05d}",
                    split=split,
                    pairs=tuple(ordered[start:end]),
                    statistics=tuple(split == measured and place % every == 0 for place in range(start, end)),
                )
            )
    return Plan(
        digest=_digest(name, scan.format, taxonomy, options, shards, scan.dead_letters),
        name=name,
        format=scan.format,
        input=folder.resolve(),
        taxonomy=taxonomy,
        options=options,
        shards=tuple(shards),
        shard_files=tuple(shard.file for shard in shards),
        planned={split: len(pairs) for split, pairs in splits.items()},
        scan_dead_letters=tuple(scan.dead_letters),
        command_line=command_line,
    )


def shard_count(images: int, wanted: int) -> int:
    """Number of shards of a split: as wanted, or about one for every 64 images up to 128; never more than images.

    Left to us it is a power of two, which 2, 4 or 8 workers share evenly: of 7 shards one of two workers builds 4.
    """
    automatic = min(1 << (-(-images // IMAGES_PER_SHARD) - 1).bit_length(), MOST_SHARDS) if images else 1
    return max(1, min(wanted or automatic, images))


def statistics_step(image_bytes: Sequence[int]) -> int:
    """Of how many images one is decoded for the channel statistics, given the bytes of each image file.

    More, the larger the files are, but never so many that fewer than `STATISTICS_LEAST` are decoded.
    """
    mean = sum(image_bytes) // max(len(image_bytes), 1)
    return max(1, min(mean // STATISTICS_BYTES, STATISTICS_EVERY, len(image_bytes) // STATISTICS_LEAST))


def write_plan(output: Path, plan: Plan) -> None:
    """Write the plan folder; ``plan.json`` last, so that a half-written plan is none."""
    folder = output / PLAN_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for index, shard in enumerate(plan.shards):
        write_json(_shard_path(output, index), shard.model_dump(mode="json"))
    write_json(folder / "plan.json", plan.model_dump(mode="json"))


def read_plan(output: Path) -> Plan:
    """Read ``plan.json``, without the shards' own files. Raises OSError or ValueError."""
    return Plan.model_validate_json((output / PLAN_FOLDER / "plan.json").read_bytes())


def read_planned_shard(output: Path, index: int) -> PlannedShard:
    """Read one shard's plan."""
    return PlannedShard.model_validate_json(_shard_path(output, index).read_bytes())


def describe_change(output: Path, plan: Plan) -> str:
    """In words, the first thing in which the plan below ``output`` differs from this one."""
    old = read_plan(output)
    for what, before, now in (
        ("taxonomy", old.taxonomy, plan.taxonomy),
        ("format", old.format, plan.format),
        ("name", old.name, plan.name),
    ):
        if before != now:
            return f"another {what}"
    for key, (before, now) in differences(
        old.options.model_dump(mode="json"), plan.options.model_dump(mode="json")
    ).items():
        if key not in NOT_IN_BYTES:
            return f"{key} {before} and not {now}"
    were = {pair.key: pair for index in range(len(old.shard_files)) for pair in read_planned_shard(output, index).pairs}
    for shard in plan.shards:
        for pair in shard.pairs:
            if pair != were.get(pair.key):
                return f"{pair.annotation} or its image changed since" if pair.key in were else f"{pair.image} is new"
    return "files that are gone now"


def progress_path(output: Path, index: int) -> Path:
    """A worker appends one byte to this file for every image it has done: its size is the count."""
    return output / PLAN_FOLDER / f"shard-{index:05d}.progress"


def _shard_path(output: Path, index: int) -> Path:
    return output / PLAN_FOLDER / f"shard-{index:05d}.json"


def _digest(
    name: str,
    format_name: str,
    taxonomy: Taxonomy,
    options: BuildOptions,
    shards: Sequence[PlannedShard],
    dead_letters: Sequence[DeadLetter],
) -> str:
    """sha256 of all that decides the bytes, and of nothing else."""
    decisive: dict[str, Any] = {
        "name": name,
        "taxonomy": taxonomy.model_dump(mode="json"),
        "format": format_name,
        "options": {key: value for key, value in options.model_dump(mode="json").items() if key not in NOT_IN_BYTES},
        "shards": [shard.model_dump(mode="json") for shard in shards],
        "scan_dead_letters": [list(letter) for letter in dead_letters],
        "versions": {"pillow": PIL.__version__, "streetmask": __version__},
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
