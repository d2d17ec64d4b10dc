"""After the build: every planned pair is a record or a dead letter, as the files say, else there is no manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import apache_beam
import numpy as np
import PIL

from beam_jobs.annotation import DeadLetter
from beam_jobs.plan import PLAN_FOLDER, Plan, read_plan
from beam_jobs.shards import Sidecar, read_sidecar
from beam_jobs.splits import statistics_split
from configs import __version__
from configs.commands import RunError, UserError
from pipelines.files import remove_tree, write_atomically, write_json
from pipelines.manifest import (
    SCHEMA_VERSION,
    ChannelStatistics,
    Manifest,
    Shard,
    Split,
    median_frequency_weights,
    write_manifest,
)

DEAD_LETTERS = "dead_letters.jsonl"


class Outcome(NamedTuple):
    """What a finished build wrote."""

    manifest: Manifest
    dead_letters: list[DeadLetter]
    counts: Counter[str]


def finalize(output: Path) -> Outcome:
    """Reconcile a folder whose shards were built by a detached run. Raises `UserError` without a plan."""
    try:
        plan = read_plan(output)
    except (OSError, ValueError):
        raise UserError(f"{output}: no plan here; nothing to finalize") from None
    return reconcile(output, plan)


def reconcile(output: Path, plan: Plan) -> Outcome:
    """Check planned = written + dead-lettered for every shard, then write the manifest and drop the plan.

    Raises:
      RunError: shards are missing, counts do not add up, or too many inputs are bad. No manifest then.
    """
    sidecars = [read_sidecar(output, file, plan.digest) for file in plan.shard_files]
    missing = [file for file, sidecar in zip(plan.shard_files, sidecars, strict=True) if sidecar is None]
    if missing:
        raise RunError(
            f"{len(missing)} of {len(sidecars)} shards are missing or damaged, {missing[0]} first; "
            "run the same command again to build them"
        )
    whole = [sidecar for sidecar in sidecars if sidecar]
    for split, planned in plan.planned.items():
        done = sum(s.records + len(s.dead_letters) for s in whole if s.split == split)
        if done != planned:
            raise RunError(f"split {split}: {planned} images planned, {done} accounted for; no manifest written")
    dead = [*plan.scan_dead_letters, *(letter for sidecar in whole for letter in sidecar.dead_letters)]
    write_dead_letters(output, dead)
    check_bad_fraction(output, plan, dead)
    manifest = _manifest(plan, whole, len(dead))
    _write_tfds_metadata(output, manifest)
    write_manifest(output, manifest)
    remove_tree(output / PLAN_FOLDER)
    counts: Counter[str] = Counter()
    for sidecar in whole:
        counts.update(sidecar.counts)
    return Outcome(manifest, dead, counts)


def write_dead_letters(output: Path, dead: Sequence[DeadLetter]) -> None:
    """``dead_letters.jsonl``: one JSON object a line."""
    lines = [json.dumps(letter._asdict(), ensure_ascii=False) + "\n" for letter in dead]
    # A file name that is not UTF-8 comes from the file system with surrogates, which JSON must escape.
    text = "".join(lines).encode("utf-8", "backslashreplace")
    write_atomically(output / DEAD_LETTERS, text)


def check_bad_fraction(output: Path, plan: Plan, dead: Sequence[DeadLetter]) -> None:
    """Raise `RunError` when more of the input is bad than the options allow."""
    total = sum(plan.planned.values()) + len(plan.scan_dead_letters)
    if len(dead) > plan.options.max_bad_fraction * total:
        code, count = Counter(letter.code for letter in dead).most_common(1)[0]
        raise RunError(
            f"{len(dead)} of {total} inputs are bad, above --max-bad-fraction {plan.options.max_bad_fraction:g}; "
            f"most often {code} ({count} times), first: {dead[0].message} All are in {output / DEAD_LETTERS}"
        )


def _manifest(plan: Plan, sidecars: Sequence[Sidecar], dead_letters: int) -> Manifest:
    measured = statistics_split(plan.planned)
    training = [sidecar for sidecar in sidecars if sidecar.split == measured]
    classes = len(plan.taxonomy.classes)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=plan.name,
        taxonomy=plan.taxonomy,
        splits={split: _split([s for s in sidecars if s.split == split], classes) for split in plan.planned},
        class_weights=median_frequency_weights(
            _sum([s.class_pixels for s in training], classes),
            _sum([s.pixels_where_present for s in training], classes),
        ),
        channels=_channels(measured, training) if measured else None,
        planned=sum(plan.planned.values()) + len(plan.scan_dead_letters),
        dead_letters=dead_letters,
        plan_digest=plan.digest,
        versions={"streetmask": __version__, "pillow": PIL.__version__, "apache-beam": apache_beam.__version__},
        command_line=plan.command_line,
    )


def _split(sidecars: Sequence[Sidecar], classes: int) -> Split:
    sizes: Counter[str] = Counter()
    for sidecar in sidecars:
        sizes.update(sidecar.sizes)
    return Split(
        shards=tuple(Shard(file=s.file, records=s.records, bytes=s.bytes, sha256=s.sha256) for s in sidecars),
        records=sum(s.records for s in sidecars),
        class_pixels=tuple(_sum([s.class_pixels for s in sidecars], classes).tolist()),
        class_images=tuple(_sum([s.class_images for s in sidecars], classes).tolist()),
        ignored_pixels=sum(s.ignored_pixels for s in sidecars),
        sizes=dict(sorted(sizes.items())),
    )


def _sum(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, width).sum(axis=0)


def _channels(split: str, sidecars: Sequence[Sidecar]) -> ChannelStatistics | None:
    pixels = sum(sidecar.channel_pixels for sidecar in sidecars)
    if not pixels:
        return None
    mean = _sum([s.channel_sums for s in sidecars], 3) / pixels
    square = _sum([s.channel_square_sums for s in sidecars], 3) / pixels
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return ChannelStatistics(
        split=split,
        images=sum(sidecar.channel_images for sidecar in sidecars),
        mean=tuple(np.round(mean, 4).tolist()),
        deviation=tuple(np.round(deviation, 4).tolist()),
    )


def _write_tfds_metadata(output: Path, manifest: Manifest) -> None:
    """``dataset_info.json`` and ``features.json``, so that ``tfds.builder_from_directory`` opens the folder."""
    text = "tensorflow_datasets.core.features.text_feature.Text"
    scalar = "tensorflow_datasets.core.features.scalar.Scalar"

    def leaf(kind: str, value: dict[str, object]) -> dict[str, object]:
        return {"pythonClassName": kind, **value}

    def mapping(features: Mapping[str, object]) -> dict[str, object]:
        kind = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
        return {"pythonClassName": kind, "featuresDict": {"features": features}}

    word = leaf(text, {"text": {}})
    blob = leaf(scalar, {"tensor": {"shape": {}, "dtype": "string", "encoding": "none"}})
    number = leaf(scalar, {"tensor": {"shape": {}, "dtype": "int64", "encoding": "none"}})
    image = {
        "encoded": blob,
        "format": word,
        "height": number,
        "width": number,
        "filename": word,
        "source_id": word,
        "segmentation": mapping({"class": mapping({"encoded": blob, "format": word})}),
    }
    write_json(output / "features.json", mapping({"image": mapping(image)}))
    splits = [
        {
            "name": name,
            "numBytes": str(sum(shard.bytes for shard in split.shards)),
            "shardLengths": [str(shard.records) for shard in split.shards],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for name, split in manifest.splits.items()
    ]
    info = {"name": manifest.name, "version": "1.0.0", "fileFormat": "tfrecord", "splits": splits}
    write_json(output / "dataset_info.json", info)
