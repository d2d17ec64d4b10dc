"""The manifest: what a folder of records holds. Written last; without it a folder is no data set.

Readers take the shards from here and never glob, so that a stray or half-written file is never read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from configs.commands import UserError
from configs.loading import Config
from configs.taxonomy import Taxonomy
from pipelines.files import write_json

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1


class Shard(Config):
    """One TFRecord file: its name in the folder, its number of records, its bytes and their sha256."""

    file: str
    records: int
    bytes: int
    sha256: str


class Split(Config):
    """One split. Class pixel counts have one entry for each class, in id order."""

    shards: tuple[Shard, ...]
    records: int
    class_pixels: tuple[int, ...]
    class_images: tuple[int, ...]
    ignored_pixels: int
    sizes: dict[str, int]
    """"HxW" → number of records of that size."""


class ChannelStatistics(Config):
    """Mean and standard deviation of R, G, B (0..255) over all pixels of ``images`` images of ``split``."""

    split: str
    images: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


class Manifest(Config):
    """The whole of ``manifest.json``."""

    schema_version: int
    name: str
    taxonomy: Taxonomy
    splits: dict[str, Split]
    class_weights: tuple[float, ...]
    """Median-frequency weights over the training split; 0 for a class that does not occur there."""
    channels: ChannelStatistics | None
    planned: int
    dead_letters: int
    plan_digest: str
    versions: dict[str, str]
    command_line: str

    def split(self, name: str) -> Split:
        """A split by name. Raises `UserError` when there is none."""
        if name not in self.splits:
            raise UserError(f"split '{name}' is not in the records; there are {', '.join(self.splits)}")
        return self.splits[name]

    def sizes(self) -> dict[tuple[int, int], int]:
        """(height, width) → number of records, over all splits."""
        found: dict[tuple[int, int], int] = {}
        for split in self.splits.values():
            for text, count in split.sizes.items():
                height, width = text.split("x")
                size = (int(height), int(width))
                found[size] = found.get(size, 0) + count
        return found


def median_frequency_weights(class_pixels: np.ndarray, pixels_where_present: np.ndarray) -> tuple[float, ...]:
    """Weights by median frequency balancing: median of the frequencies / frequency of the class.

    The frequency of a class is its pixels over all scored pixels of the images in which it occurs.

    Args:
      class_pixels: int64 (classes,), pixels of each class.
      pixels_where_present: int64 (classes,), scored pixels of all images that hold the class.

    Reference: Eigen and Fergus, "Predicting depth, surface normals and semantic labels", ICCV 2015.
    """
    present = class_pixels > 0
    if not present.any():
        return tuple(0.0 for _ in class_pixels)
    frequency = class_pixels / np.maximum(pixels_where_present, 1)
    weights = np.where(present, np.median(frequency[present]) / np.where(present, frequency, 1.0), 0.0)
    return tuple(round(float(weight), 6) for weight in weights)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` atomically: from then on the folder is a data set."""
    write_json(folder / FILE_NAME, manifest.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder of records.

    Raises:
      UserError: the folder or its manifest is missing, of another version or damaged.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{path}: schema version {values.get('schema_version')}, this program reads {SCHEMA_VERSION}; "
                "build the records again"
            )
        return Manifest.model_validate(values)
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no records here ({FILE_NAME} is missing); build them as the recipe's header says, or with "
            f"python -m beam_jobs.build_records --input DIR --output {folder} --set taxonomy=NAME (without them: "
            "the sample streets, in data/records)"
        ) from None
    except (OSError, ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise UserError(
            f"{path}: damaged ({str(error).splitlines()[0]}); build the records again with --overwrite"
        ) from None
