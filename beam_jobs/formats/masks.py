"""Folders of ready masks: 8-bit PNGs of class ids, grey or palette, of the same names as the images.

    images/train/a.jpg   masks/train/a.png        (or labels/, annotations/, segmentation/, gtFine/, …)

A mask's values are class ids and 255, or what the taxonomy's table ``ids`` says they are. Of a palette
only the indices count; a 1-bit mask holds 0 and 1.
"""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from beam_jobs.annotation import Annotation, BadInput
from beam_jobs.formats.base import IMAGE_SUFFIXES, TREES, Files, Found, pair_by_key, short, tree_key

NAME = "masks"
TURNED = False
MASK_TREES = frozenset(
    (
        *("masks", "mask", "labels", "label", "annotations", "annotation"),
        *("segmentation", "segmentationclass", "gtfine", "gtcoarse"),
    )
)
MOST_MASK_PIXELS = 2**30
"""All masks of one image together: a few bytes of a hostile file would unpack to more than memory holds."""
_OTHER_TREES = frozenset(("segmentationobject", "instances", "panoptic", "colormaps", "bitmasks"))
_SUFFIXES = (".png", ".bmp")
_OTHER_ENDINGS = re.compile(r".*_(color|instanceIds|instanceTrainIds)", re.IGNORECASE | re.DOTALL)
_IMAGE_ENDING = re.compile(r"_leftImg8bit\Z", re.IGNORECASE)
_MASK_ENDINGS = re.compile(
    r"(_leftImg8bit|_gt(Fine|Coarse)_label(Train)?Ids|_label(Train)?Ids|_mask|_label|_train_id|_L)\Z", re.IGNORECASE
)


def recognizes(path: PurePosixPath, value: Any) -> bool:
    """Never by a JSON file: it is what a folder without one is taken for, if its trees have the names."""
    return False


def find(files: Files) -> Found:
    """Pair images with PNGs in a tree of masks, of the image's name or of one that ends as masks do."""
    images = {_image_key(PurePosixPath(path)) for path in files.paths}

    def mask_key(path: PurePosixPath) -> str | None:
        if not _is_mask(path):
            return None
        key = tree_key(path, path.stem)  # street_L may be the left camera's image, not CamVid's ending
        return key if key in images else tree_key(path, _MASK_ENDINGS.sub("", path.stem))

    return pair_by_key(files, _image_key, mask_key)


def has_masks(files: Files) -> bool:
    """Whether any PNG stands in a tree that bears a name of masks."""
    return any(_is_mask(PurePosixPath(path)) for path in files.paths)


def is_map(path: PurePosixPath) -> bool:
    """Whether a picture is, by its place, some map of labels and not an image."""
    return path.suffix.lower() in _SUFFIXES and _tree(path) in MASK_TREES | _OTHER_TREES


def read(data: bytes, keep_deleted: bool = False) -> Annotation:
    """The bytes of a mask to an `Annotation` that holds its values. Raises `BadInput`."""
    if not data:
        raise BadInput("annotation_empty", "the file is empty")
    picture = open_mask(data, "the mask")
    bits, color_type = data[24], data[25]
    # Pillow scales 2 and 4 bits of grey up to 0..255 as the PNG specification asks: id 1 would become 17.
    mode = f"grey of {bits} bits" if picture.format == "PNG" and color_type == 0 and bits in (2, 4) else picture.mode
    if mode not in ("L", "P", "1"):
        raise BadInput("mask_mode", f"the mask has mode {mode}; expected 8 bits, grey or palette")
    return Annotation(picture.height, picture.width, [], ids=np.asarray(picture).astype(np.uint8, copy=False))


def open_mask(data: bytes, place: str) -> Image.Image:
    """A PNG or BMP, read to its end. Raises `BadInput` that begins with ``place``."""
    try:
        picture = Image.open(io.BytesIO(data), formats=["PNG", "BMP"])
        size = (picture.height, picture.width)
    except UnidentifiedImageError:  # its message has an address in it, which no two runs share
        raise BadInput("mask_damaged", f"{place}: not a PNG") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise BadInput("mask_damaged", f"{place}: not a PNG ({error})") from None
    check_mask_pixels(1, size)
    try:
        picture.load()
    except Exception as error:
        raise BadInput("mask_damaged", f"{place}: the PNG does not decode to its end ({error})") from None
    return picture


def check_mask_pixels(masks: int, size: tuple[int, int]) -> None:
    """Raise `BadInput` if so many masks of (height, width) have more than `MOST_MASK_PIXELS`."""
    if masks * size[0] * size[1] > MOST_MASK_PIXELS:
        message = f"masks ({masks}) of size {short(list(size))} have more than {MOST_MASK_PIXELS} pixels"
        raise BadInput("mask_too_large", message)


def _tree(path: PurePosixPath) -> str:
    """The innermost of a path's folders that tells what it holds, in lower case, or ''."""
    folders = (folder.lower() for folder in reversed(path.parts[:-1]))
    return next((folder for folder in folders if folder in TREES | _OTHER_TREES), "")


def _is_mask(path: PurePosixPath) -> bool:
    return is_map(path) and _tree(path) in MASK_TREES and not _OTHER_ENDINGS.fullmatch(path.stem)


def _image_key(path: PurePosixPath) -> str | None:
    if path.suffix.lower() not in IMAGE_SUFFIXES or _tree(path) in MASK_TREES | _OTHER_TREES:
        return None
    return tree_key(path, _IMAGE_ENDING.sub("", path.stem))
