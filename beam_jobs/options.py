"""The options of the record builder: one flat, frozen configuration, in YAML or as flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from beam_jobs.storage import Location
from configs.commands import parse_size
from configs.loading import Config


def _read_size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except Exception as error:
        raise ValueError(str(error)) from None


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_read_size)]
"""(height, width) in pixels; ``HxW`` in YAML."""


class BuildOptions(Config):
    """What decides a build. All but `NOT_IN_BYTES` decide the bytes."""

    input: Location | None = None
    """Folder with images and annotations; None makes the sample data set."""
    output: Location = Path("data/records")
    name: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]*$")
    """Of the data set, at the head of shard names; None takes the taxonomy's."""
    taxonomy: str | None = None
    """Name of one that comes with us, or path of a YAML file."""
    format: str = "auto"
    """Of the annotations: found out by their content, or the name of one."""
    split_lists: dict[str, Path] = Field(default_factory=dict)
    """Split → text file with one key, or image path, a line; images in no list are left out."""

    unknown_labels: Literal["error", "ignore", "skip"] = "error"
    """Labels in no table: make the image a dead letter, draw 255, or do not draw."""
    group_labels: Literal["member", "unknown"] = "member"
    """``cargroup`` where only ``car`` is in the table: count as car, or as a label in no table."""
    deleted_objects: Literal["skip", "draw"] = "skip"
    """Objects marked deleted: dropped before anything else of them is looked at, or kept."""
    few_points: Literal["skip", "error"] = "skip"
    """Polygons with no, one or two points: leave the object out, or make the image a dead letter."""
    rescale_polygons: bool = False
    """Where the annotation's size is not the image's: scale its polygons, or make it a dead letter."""
    exif: Literal["format", "turn", "keep"] = "format"
    """Turn images by their EXIF orientation as the format means its polygons (LabelMe yes), always, or never."""
    odd_images: Literal["convert", "error"] = "convert"
    """16 bits, CMYK, palette, alpha, WebP, BMP: convert to 8-bit RGB, or make the image a dead letter."""

    resize: Size | None = None
    """Store images and masks at this (height, width)."""
    resize_mode: Literal["letterbox", "stretch"] = "letterbox"
    """Keep the aspect ratio and fill right and bottom (mask 255), or not."""
    resize_mask: Literal["nearest", "majority"] = "nearest"
    """A smaller mask's pixel: the one at its centre, or the most frequent of those it covers."""
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """Of images that must be encoded again."""
    shards: int = Field(default=0, ge=0, le=100_000)
    """Per split; 0 makes a power of two, about one for every 64 images, at most 128. Never more than images."""
    salt: str = "streetmask"
    """Changes the order of records and, without split folders, which groups are validation."""
    validation_fraction: float = Field(default=0.15, ge=0.0, lt=1.0)
    """Share of groups (folders) that become split ``val`` where the input has no split folders."""
    max_pixels: int = Field(default=100_000_000, gt=0)
    """An image above this is a dead letter: a small file may unpack to more than memory holds."""
    max_annotation_bytes: int = Field(default=64 * 2**20, gt=0)
    max_bad_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """With a larger share of dead letters the build fails and writes no manifest."""
    runner: str = "DirectRunner"
    workers: int = Field(default=0, ge=0, le=1024)
    """Worker processes of the DirectRunner; 0 takes one for every core."""
    overwrite: bool = False


NOT_IN_BYTES = frozenset(
    [
        "input",
        "output",
        "name",
        "taxonomy",
        "format",
        "runner",
        "workers",
        "overwrite",
        "max_bad_fraction",
        "split_lists",
    ]
)
"""Options that change no byte, or (name, taxonomy, format, lists) whose effect is in the plan anyhow."""
