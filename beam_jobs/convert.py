"""One pair of image and annotation to one record: read → check → rasterize → encode."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.annotation import Annotation, BadInput, about
from beam_jobs.formats import format_by_name
from beam_jobs.images import (
    Checked,
    channel_sums,
    check_image,
    decode_rgb,
    encode_image,
    fit_image,
)
from beam_jobs.mask_png import class_pixels, encode_mask
from beam_jobs.options import BuildOptions
from beam_jobs.plan import Plan
from beam_jobs.rasterize import fit_mask, rasterize
from beam_jobs.scan import Pair
from pipelines.fitting import content_size
from pipelines.records import Record

READ_ATTEMPTS = 3
_SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".bmp": "bmp", ".webp": "webp"}


class Built(NamedTuple):
    """A record with what the statistics need of it.

    ``id_pixels`` is int64 (256,), pixels of each id; ``channels`` are sums and sums of squares of R, G, B.
    """

    record: Record
    id_pixels: np.ndarray
    counts: Counter[str]
    channels: tuple[np.ndarray, np.ndarray] | None


def build_record(plan: Plan, pair: Pair, full_decode: bool) -> Built:
    """Convert one pair; ``full_decode`` asks for its channel sums.

    Raises:
      BadInput: image or annotation cannot become a record.
    """
    options, reader = plan.options, format_by_name(plan.format)
    with about(pair.image):
        data = read_planned(plan.input / pair.image, pair.image_size, pair.image_mtime_ns)
        checked = check_image(data, options.max_pixels)
        if checked.oddity and options.odd_images == "error":
            raise BadInput("image_odd", f"{checked.oddity}, which --set odd_images=convert would convert")
    turn = checked.orientation > 1 and (options.exif == "turn" or (options.exif == "format" and reader.TURNED))
    turned_sideways = turn and checked.orientation >= 5
    size = (checked.width, checked.height) if turned_sideways else (checked.height, checked.width)
    with about(pair.annotation):
        annotation = reader.read(_annotation_bytes(plan, pair), options.deleted_objects == "draw")
        _check_sizes(size, annotation, options)
        mask = rasterize(annotation, size, plan.taxonomy, options)
    again = turn or not checked.keep or options.resize is not None
    image = decode_rgb(data, turn) if again or full_decode else None
    ids = mask.ids
    if image is not None and options.resize:
        image, picture = _resize(image, mask.picture, options)
        ids = np.asarray(picture)
    image_format = checked.image_format
    if image is not None and again:
        data_to_store, image_format = encode_image(image, image_format == "jpeg", options.jpeg_quality)
    else:
        data_to_store = data
    counts = mask.counts + _image_counts(pair, checked, turn, again)
    record = Record(pair.key, pair.image, ids.shape[0], ids.shape[1], data_to_store, image_format, encode_mask(ids))
    sums = channel_sums(image) if full_decode and image is not None else None
    return Built(record, class_pixels(ids), counts, sums)


class InputChanged(RuntimeError):
    """A file is not the one that was planned. A record of it would not be what the plan promises."""


def read_planned(path: Path, size: int, mtime_ns: int) -> bytes:
    """The bytes of a file that still has the size and time it was planned with.

    Raises:
      InputChanged: it has not.
      BadInput: as `read_file` does.
    """
    changed = InputChanged(f"{path} changed while the build ran; build again with --overwrite")
    try:
        status = path.stat()
    except OSError:
        return read_file(path)  # which says why it cannot be read
    # Before it is opened: to read a pipe that took the file's place would wait for ever.
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise changed
    data = read_file(path)
    if len(data) != size:
        raise changed
    return data


def read_file(path: Path) -> bytes:
    """A file's bytes, tried again when the file system fails in passing.

    Raises:
      BadInput: the file is gone, forbidden or no file: trying again would not help.
      OSError: the file system fails for good.
    """
    for attempt in range(READ_ATTEMPTS):
        try:
            return path.read_bytes()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
            raise BadInput("file_unreadable", f"{error.strerror}") from None
        except OSError:
            if attempt == READ_ATTEMPTS - 1:
                raise
            time.sleep(0.1 * 4**attempt)
    raise AssertionError("unreachable")


def _annotation_bytes(plan: Plan, pair: Pair) -> bytes:
    limit = plan.options.max_annotation_bytes
    if pair.annotation_size > limit:
        raise BadInput("annotation_too_large", f"{pair.annotation_size} bytes is above the limit of {limit}")
    if pair.inline:
        return pair.inline.encode()
    return read_planned(plan.input / pair.annotation, pair.annotation_size, pair.annotation_mtime_ns)


def _check_sizes(size: tuple[int, int], annotation: Annotation, options: BuildOptions) -> None:
    """The annotation's own size, where it says one, must be the image's."""
    said = (annotation.height or size[0], annotation.width or size[1])
    if said != size and (not options.rescale_polygons or annotation.ids is not None):
        raise BadInput(
            "size_differs",
            f"the image is {size[0]}x{size[1]}, its annotation says {said[0]}x{said[1]} (height x width); "
            "--set rescale_polygons=true scales it",
        )


def _resize(image: Image.Image, picture: Image.Image, options: BuildOptions) -> tuple[Image.Image, Image.Image]:
    canvas = options.resize or (image.height, image.width)
    letterbox = options.resize_mode == "letterbox"
    content = content_size((image.height, image.width), canvas) if letterbox else canvas
    return fit_image(image, content, canvas), fit_mask(picture, content, canvas, options.resize_mask == "majority")


def _image_counts(pair: Pair, checked: Checked, turned: bool, again: bool) -> Counter[str]:
    """What was good but odd about an image file."""
    suffix = PurePosixPath(pair.image).suffix.lower()
    return Counter(
        images_encoded_again=int(again),
        images_turned=int(turned),
        images_converted=int(not checked.keep),
        images_of_another_suffix=int(_SUFFIXES.get(suffix) != checked.image_format),
        images_with_bytes_after_the_end=int(checked.bytes_after_end > 0),
    )
