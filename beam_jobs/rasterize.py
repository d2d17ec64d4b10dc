"""Polygon annotations to label masks: uint8 arrays (height, width) of class ids; 255 means *do not score*."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from beam_jobs.annotation import Annotation, BadInput, Shape
from beam_jobs.formats.base import COORDINATE_LIMIT, short
from beam_jobs.options import BuildOptions
from configs.taxonomy import IGNORE_ID, Taxonomy, UnknownLabel

DEFAULTS = BuildOptions()


class Mask(NamedTuple):
    """A mask as a picture (mode L) and as uint8 (height, width), and counts of what was good but odd."""

    picture: Image.Image
    ids: np.ndarray
    counts: Counter[str]


def rasterize(
    annotation: Annotation, size: tuple[int, int], taxonomy: Taxonomy, options: BuildOptions = DEFAULTS
) -> Mask:
    """Paint the shapes in list order, each over the ones before, with `PIL.ImageDraw.polygon`.

    That is the rule of Cityscapes' and IDD's own tools: edges belong to the polygon, coordinates are cut
    to whole pixels. An object with fewer than three points covers nothing and is counted, not drawn.

    Args:
      annotation: of an image of this size; scaled to it where it says another one.
      size: (height, width) of the mask.
      taxonomy: label → class id.
      options: the policies for labels and polygons.

    Raises:
      BadInput: an object that the options do not allow.
    """
    if annotation.ids is not None:
        ids = _map_ids(annotation.ids, taxonomy, options)
        return Mask(Image.fromarray(ids), ids, Counter(annotation.counts))
    height, width = size
    ids = np.full(size, taxonomy.canvas_id, np.uint8)
    picture = _picture_of(ids)
    draw = ImageDraw.Draw(picture)
    counts = Counter(annotation.counts)
    scale = np.array([width / (annotation.width or width), height / (annotation.height or height)])
    scaled = bool((scale != 1.0).any())
    for shape in annotation.shapes:
        class_id = _class_id(shape, taxonomy, options, counts)
        if shape.bitmap is not None:
            if class_id is not None:
                picture.paste(class_id, mask=_bitmap(shape.bitmap, size))
        elif len(shape.polygon) < 3:
            if options.few_points == "error":
                place = f"object {shape.number} ('{shape.label}')"
                raise BadInput("few_points", f"{place}: a polygon of {len(shape.polygon)} points covers nothing")
            counts["objects_with_few_points"] += 1
        elif class_id is not None:
            polygon = _scale(shape, scale) if scaled else shape.polygon
            draw.polygon(polygon.ravel().tolist(), fill=class_id)
    counts["objects_reaching_outside"] += _reaching_outside(annotation.shapes, scale, size)
    return Mask(picture, ids, counts)


def _picture_of(ids: np.ndarray) -> Image.Image:
    """A picture in the array's own memory: what is drawn is in the array, which saves a copy by way of bytes."""
    picture = Image.frombuffer("L", ids.shape[::-1], ids, "raw", "L", 0, 1)
    picture.readonly = 0  # drawing would copy it first
    return picture


def _scale(shape: Shape, scale: np.ndarray) -> np.ndarray:
    """A polygon scaled to the image. Raises `BadInput` where that leads beyond what Pillow draws."""
    polygon = shape.polygon * scale
    if np.abs(polygon).max() > COORDINATE_LIMIT:
        point = short(shape.polygon[np.abs(polygon).max(axis=1).argmax()].tolist())
        raise BadInput(
            "coordinate_range",
            f"object {shape.number} ('{shape.label}'): point {point} is beyond ±1e6 when scaled to the image",
        )
    return polygon


def _class_id(shape: Shape, taxonomy: Taxonomy, options: BuildOptions, counts: Counter[str]) -> int | None:
    """The id to draw a shape with, None for not at all."""
    try:
        return taxonomy.class_id(shape.label)
    except UnknownLabel as error:
        member = taxonomy.group_member(shape.label) if options.group_labels == "member" else None
        if member:
            counts["objects_of_groups"] += 1
            return taxonomy.class_id(member)
        if options.unknown_labels == "error":
            raise BadInput("unknown_label", f"object {shape.number} has {error}") from None
        counts["objects_with_unknown_label"] += 1
        return IGNORE_ID if options.unknown_labels == "ignore" else None


def _reaching_outside(shapes: Sequence[Shape], scale: np.ndarray, size: tuple[int, int]) -> int:
    """How many polygons have a point outside the image; Pillow cuts them at its edges."""
    polygons = [shape.polygon for shape in shapes if len(shape.polygon) > 2]
    if not polygons:
        return 0
    limits = np.array([size[1], size[0]])
    points = np.concatenate(polygons) * scale
    outside = ((points < 0) | (points > limits)).any(axis=1)  # an edge at the far border is still inside
    if not outside.any():
        return 0
    starts = np.cumsum([0, *(len(polygon) for polygon in polygons[:-1])])
    return int(np.logical_or.reduceat(outside, starts).sum())


def _bitmap(bitmap: np.ndarray, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(bitmap.astype(np.uint8) * 255)
    return picture if bitmap.shape == size else picture.resize(size[::-1], Image.Resampling.NEAREST)


def _map_ids(ids: np.ndarray, taxonomy: Taxonomy, options: BuildOptions) -> np.ndarray:
    """A ready mask's values to class ids by the taxonomy's table."""
    table = taxonomy.mask_values
    unknown = np.flatnonzero((np.bincount(ids.ravel(), minlength=256) > 0) & (table < 0))
    if len(unknown) and options.unknown_labels == "error":
        raise BadInput(
            "unknown_id",
            f"the mask holds value {unknown[0]}, which taxonomy {taxonomy.name} lacks (classes 0 to "
            f"{len(taxonomy.classes) - 1}, 255 ignored); add it to the taxonomy's ids or pass --unknown-labels ignore",
        )
    return np.where(table < 0, IGNORE_ID, table).astype(np.uint8)[ids]


def fit_mask(
    picture: Image.Image, content: tuple[int, int], canvas: tuple[int, int], majority: bool = False
) -> Image.Image:
    """Resize a mask to ``content`` (height, width) and fill right and bottom of ``canvas`` with 255.

    By nearest, or to the id that covers most of each new pixel (of equal ones, the smallest).
    """
    resized = _majority(picture, content) if majority else picture.resize(content[::-1], Image.Resampling.NEAREST)
    if content == canvas:
        return resized
    filled = Image.new("L", canvas[::-1], IGNORE_ID)
    filled.paste(resized)
    return filled


def _majority(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    ids = np.asarray(picture)
    best, most = np.zeros(size, np.uint8), np.full(size, -1.0, np.float32)
    for class_id in np.flatnonzero(picture.histogram()):
        cover = Image.fromarray((ids == class_id).astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)
        share = np.asarray(cover)
        best[share > most], most = class_id, np.maximum(most, share)
    return Image.fromarray(best)
