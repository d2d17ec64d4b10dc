"""An opened folder of records: every shard checked against the manifest, every record found by its number.

Checking that a shard holds as many records as the manifest says means walking from length to length; what
that finds on its way, where each record begins, lets any record be read in any order. So an epoch is a
permutation of record numbers, going on in its middle costs nothing, and no shuffle buffer is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from configs.commands import UserError
from pipelines.files import sha256_file
from pipelines.manifest import Manifest, Shard, read_manifest
from pipelines.records import DamagedRecords, deserialize, frame_offsets, read_frame

Verify = Literal["size", "sha256"]


class RecordReader:
    """Reads the records of a list of shards by number: those of the first shard come first."""

    def __init__(self, paths: list[Path], offsets: list[np.ndarray]) -> None:
        """``offsets`` as `frame_offsets` gives them, one array for each path."""
        self._paths, self._offsets = paths, offsets
        self._firsts = np.cumsum([0, *(len(shard) - 1 for shard in offsets)])

    def __len__(self) -> int:
        """Number of records."""
        return int(self._firsts[-1])

    def read(self, number: int) -> bytes:
        """The serialized Example of a record, its checksum checked. Raises `DamagedRecords`."""
        shard = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return read_frame(self._paths[shard], self._offsets[shard], int(number - self._firsts[shard]))

    def encoded(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Records' encoded images and masks, two arrays of bytes objects (n,). Raises `DamagedRecords`."""
        records = [deserialize(self.read(number)) for number in numbers]
        return np.array([r.image for r in records], object), np.array([r.mask for r in records], object)


class Records(NamedTuple):
    """A folder of records and its manifest, checked to be what the manifest says."""

    folder: Path
    manifest: Manifest
    offsets: Mapping[str, np.ndarray]
    """Shard's file name → where its records begin, int64 (records + 1,)."""

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split. Raises `UserError` when there is no such split."""
        return self.manifest.split(split).shards

    def count(self, split: str) -> int:
        """Number of records of a split."""
        return self.manifest.split(split).records

    def reader(self, split: str) -> RecordReader:
        """All records of a split by number. Raises `UserError` when there is no such split."""
        names = [shard.file for shard in self.shards(split)]
        return RecordReader([self.folder / name for name in names], [self.offsets[name] for name in names])


def open_records(folder: Path, verify: Verify = "size") -> Records:
    """Read the manifest and check every shard that it lists; other files in the folder are never read.

    Args:
      folder: what `beam_jobs.build_records` wrote.
      verify: ``size`` compares bytes and number of records; ``sha256`` also reads every byte, and so finds
        a shard of another data set, or another build, that happens to have the same size.

    Raises:
      UserError: no manifest, or a shard that is missing or not what the manifest says.
    """
    manifest = read_manifest(folder)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    with ThreadPoolExecutor() as pool:  # hashing and waiting for a disk both leave the interpreter free
        offsets = list(pool.map(lambda shard: _check(folder / shard.file, shard, verify), shards))
    for name, split in manifest.splits.items():
        listed = sum(shard.records for shard in split.shards)
        if listed != split.records:
            raise UserError(
                f"{folder}: the manifest says {split.records} records in split {name}, its shards have {listed}; "
                "build the records again"
            )
    return Records(folder, manifest, {shard.file: found for shard, found in zip(shards, offsets, strict=True)})


def _check(path: Path, shard: Shard, verify: Verify) -> np.ndarray:
    """The offsets of a shard's records. Raises `UserError` when the file is not what the manifest says."""
    again = "build the records again"
    if not path.is_file():
        raise UserError(f"{path}: missing, though the manifest lists it; {again}")
    if path.stat().st_size != shard.bytes:
        raise UserError(f"{path}: {path.stat().st_size} bytes, the manifest says {shard.bytes}; {again}")
    try:
        offsets = frame_offsets(path)
    except DamagedRecords as error:
        raise UserError(f"{error}; {again}") from None
    if len(offsets) - 1 != shard.records:
        raise UserError(f"{path}: {len(offsets) - 1} records, the manifest says {shard.records}; {again}")
    if verify == "sha256" and sha256_file(path) != shard.sha256:
        raise UserError(f"{path}: its sha256 is not the manifest's: changed, or of another data set; {again}")
    return offsets
