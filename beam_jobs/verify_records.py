"""Check a folder of records against its manifest, to the last pixel.

    python -m beam_jobs.verify_records data/records

For every shard: bytes and sha256, the checksums of every record, every example parsed, image and mask
decoded, their sizes equal, ids in the taxonomy. For every split: counts and class statistics as the
manifest says. Each fault is one line that names file and record; exit code 1 when there is one.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.mask_png import class_pixels
from configs.commands import ArgumentParser, RunError, progress_bar, run_command, say
from configs.taxonomy import IGNORE_ID
from pipelines.files import sha256_file
from pipelines.manifest import FILE_NAME, Manifest, Shard, median_frequency_weights, read_manifest
from pipelines.records import DamagedRecords, Record, deserialize, read_frames


class ShardFindings(NamedTuple):
    """What was found in one shard: faults as lines, and the sums that make up its split's statistics."""

    faults: list[str]
    records: int
    id_pixels: np.ndarray
    class_images: np.ndarray
    pixels_where_present: np.ndarray
    sizes: Counter[str]
    keys: list[str]


def verify(folder: Path, workers: int = 0) -> list[str]:
    """All faults of a folder of records, as lines; none when it is what its manifest says.

    Raises:
      UserError: there is no manifest, or it is damaged.
    """
    manifest = read_manifest(folder)
    faults: list[str] = []
    listed = {shard.file for split in manifest.splits.values() for shard in split.shards}
    for path in sorted(folder.glob("*.tfrecord-*")):
        if path.name not in listed and path.suffix != ".json":
            faults.append(f"{path}: not in {FILE_NAME}; nothing reads it")
    bar = progress_bar(sum(split.records for split in manifest.splits.values()), "record", "verifying")
    classes = len(manifest.taxonomy.classes)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = {
            pool.submit(verify_shard, folder, shard, classes): (name, shard)
            for name, split in manifest.splits.items()
            for shard in split.shards
        }
        found: dict[str, list[ShardFindings]] = {name: [] for name in manifest.splits}
        for job in as_completed(jobs):
            name, shard = jobs[job]
            found[name].append(job.result())
            bar.update(shard.records)
    bar.close()
    faults += sorted(fault for findings in found.values() for one in findings for fault in one.faults)
    if not faults:  # damaged shards have other statistics anyhow
        faults += [fault for name in manifest.splits for fault in _split_faults(manifest, name, found[name])]
        faults += _duplicate_keys([key for findings in found.values() for one in findings for key in one.keys])
    return faults


def verify_shard(folder: Path, shard: Shard, classes: int) -> ShardFindings:
    """Read one shard to its last byte."""
    path = folder / shard.file
    class_images, where_present = np.zeros((2, classes), np.int64)
    found = ShardFindings([], 0, np.zeros(256, np.int64), class_images, where_present, Counter(), [])
    if not path.is_file():
        found.faults.append(f"{path}: missing")
        return found
    size = path.stat().st_size
    if size != shard.bytes:
        found.faults.append(f"{path}: {size} bytes, the manifest says {shard.bytes}")
    if sha256_file(path) != shard.sha256:
        found.faults.append(f"{path}: its sha256 is not the manifest's")
    records = 0
    try:
        for data in read_frames(path):
            try:
                _add(found, deserialize(data), classes)
            except DamagedRecords as error:
                found.faults.append(f"{path}: record {records}: {error}")
            records += 1
    except DamagedRecords as error:
        found.faults.append(str(error))
    if records != shard.records:
        found.faults.append(f"{path}: {records} records, the manifest says {shard.records}")
    return found._replace(records=records)


def _add(found: ShardFindings, record: Record, classes: int) -> None:
    """Decode a record's image and mask and add up its pixels. Raises `DamagedRecords`."""
    size = (record.height, record.width)
    try:
        with Image.open(io.BytesIO(record.image)) as image:
            image.load()
        with Image.open(io.BytesIO(record.mask)) as mask:
            mask.load()
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise DamagedRecords(f"'{record.key}': does not decode ({error})") from None
    if (image.format or "").lower() != record.image_format:
        raise DamagedRecords(f"'{record.key}': says {record.image_format}, is {image.format}")
    for name, picture in (("image", image), ("mask", mask)):
        if (picture.height, picture.width) != size:
            raise DamagedRecords(
                f"'{record.key}': the {name} is {picture.height}x{picture.width}, the record says {size[0]}x{size[1]}"
            )
    pixels = class_pixels(np.asarray(mask))
    strangers = np.flatnonzero(pixels[classes:IGNORE_ID]) + classes
    if len(strangers):
        raise DamagedRecords(f"'{record.key}': the mask holds id {strangers[0]}, the taxonomy has 0 to {classes - 1}")
    present = pixels[:classes] > 0
    found.id_pixels[:] += pixels
    found.class_images[:] += present
    found.pixels_where_present[:] += present * pixels[:classes].sum()
    found.sizes[f"{record.height}x{record.width}"] += 1
    found.keys.append(record.key)


def _split_faults(manifest: Manifest, name: str, findings: Sequence[ShardFindings]) -> list[str]:
    """Where a split's statistics are not the manifest's."""
    split, classes = manifest.splits[name], len(manifest.taxonomy.classes)
    pixels = sum((one.id_pixels for one in findings), np.zeros(256, np.int64))
    images = sum((one.class_images for one in findings), np.zeros(classes, np.int64))
    sizes = sum((one.sizes for one in findings), Counter())
    pairs = [
        ("records", split.records, sum(one.records for one in findings)),
        ("class_pixels", list(split.class_pixels), pixels[:classes].tolist()),
        ("class_images", list(split.class_images), images.tolist()),
        ("ignored_pixels", split.ignored_pixels, int(pixels[IGNORE_ID])),
        ("sizes", split.sizes, dict(sizes)),
    ]
    if name == "train":
        present = sum((one.pixels_where_present for one in findings), np.zeros(classes, np.int64))
        weights = median_frequency_weights(pixels[:classes], present)
        pairs.append(("class_weights", list(manifest.class_weights), list(weights)))
    return [f"split {name}: {key} is {there}, the manifest says {said}" for key, said, there in pairs if said != there]


def _duplicate_keys(keys: Sequence[str]) -> list[str]:
    return [f"key '{key}' stands in {count} records" for key, count in Counter(keys).items() if count > 1]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and verify."""
    parser = ArgumentParser(prog="python -m beam_jobs.verify_records", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder that build_records wrote")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one for every core)")
    options = parser.parse_args(argv)
    faults = verify(options.folder, options.workers)
    for fault in faults:
        say(fault)
    if faults:
        raise RunError(f"{options.folder}: {len(faults)} faults; build the records again")
    manifest = read_manifest(options.folder)
    records = sum(split.records for split in manifest.splits.values())
    say(f"{options.folder}: {records} records in {len(manifest.splits)} splits, all as the manifest says")


if __name__ == "__main__":
    sys.exit(run_command(main))
