"""Pictures of masks for people: colouring, overlay, legend, and sheets of several pictures with captions.

Pictures are uint8 arrays (height, width, 3), RGB; masks are uint8 (height, width) of class ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from configs.taxonomy import IGNORE_ID, Taxonomy

_INK = (32, 32, 32)
_PAPER = (250, 250, 250)
_WRONG = (235, 30, 30)
_DARKEST_GREY = 60  # so that the darkest scored pixel is no black one


def colorize(mask: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """The mask in the taxonomy's colours; ignored pixels are black. uint8 (H, W) → uint8 (H, W, 3)."""
    return taxonomy.colors[mask]


def overlay(image: np.ndarray, mask: np.ndarray, taxonomy: Taxonomy, opacity: float = 0.55) -> np.ndarray:
    """The coloured mask over the image; where the mask is 255 the image shows through unchanged."""
    blended = image * (1.0 - opacity) + colorize(mask, taxonomy) * opacity
    scored = (mask != IGNORE_ID)[..., None]
    return np.where(scored, np.rint(blended), image).astype(np.uint8)


def mistakes(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Where a prediction is wrong: red over the dimmed grey image; pixels that are not scored are black.

    Args:
      image: uint8 (H, W, 3).
      truth, predicted: uint8 (H, W), class ids; 255 in the truth is not scored.
    """
    grey = np.rint(_DARKEST_GREY + 0.4 * image.mean(axis=-1, keepdims=True)).astype(np.uint8).repeat(3, axis=-1)
    picture = np.where((predicted != truth)[..., None], np.array(_WRONG, np.uint8), grey)
    return np.where((truth == IGNORE_ID)[..., None], np.uint8(0), picture)


def legend(taxonomy: Taxonomy, width: int) -> np.ndarray:
    """Swatches with class names, in as many rows as the width needs. uint8 (height, width, 3)."""
    font = ImageFont.load_default(13)
    swatch, gap, row = 14, 6, 22
    places: list[tuple[int, int]] = []
    x = y = gap
    for name in taxonomy.class_names:
        needed = swatch + gap + int(font.getlength(name)) + 2 * gap
        if x + needed > width and x > gap:
            x, y = gap, y + row
        places.append((x, y))
        x += needed
    picture = Image.new("RGB", (width, y + row), _PAPER)
    draw = ImageDraw.Draw(picture)
    for (left, top), entry in zip(places, taxonomy.classes, strict=True):
        draw.rectangle((left, top, left + swatch, top + swatch), fill=entry.color, outline=_INK)
        draw.text((left + swatch + gap, top), entry.name, fill=_INK, font=font)
    return np.asarray(picture)


def beside(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures of one height from left to right, with a light gap between them."""
    height = pictures[0].shape[0]
    space = np.full((height, gap, 3), _PAPER, np.uint8)
    row: list[np.ndarray] = []
    for picture in pictures:
        row += [picture, space]
    return np.concatenate(row[:-1], axis=1)


def below(pictures: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures from top to bottom, filled up to the widest, with a light gap between them."""
    width = max(picture.shape[1] for picture in pictures)
    column: list[np.ndarray] = []
    for picture in pictures:
        filled = np.full((picture.shape[0] + gap, width, 3), _PAPER, np.uint8)
        filled[: picture.shape[0], : picture.shape[1]] = picture
        column.append(filled)
    return np.concatenate(column, axis=0)[: -gap or None]


def captions(texts: Sequence[str], width: int, gap: int = 4) -> np.ndarray:
    """One line of captions over a row of pictures, each ``width`` wide."""
    picture = Image.new("RGB", (len(texts) * width + (len(texts) - 1) * gap, 20), _PAPER)
    draw = ImageDraw.Draw(picture)
    for index, text in enumerate(texts):
        draw.text((index * (width + gap) + 4, 3), text, fill=_INK, font=ImageFont.load_default(13))
    return np.asarray(picture)


def text_block(text: str, width: int) -> np.ndarray:
    """Text broken into lines of at most a width in pixels, dark on paper."""
    font, lines = ImageFont.load_default(13), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) + 8 > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    picture = Image.new("RGB", (width, 17 * len(lines) + 6), _PAPER)
    ImageDraw.Draw(picture).multiline_text((4, 2), "\n".join(lines), fill=_INK, font=font, spacing=2)
    return np.asarray(picture)


def sheet(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """Rows of pictures of one size under a line of titles, with the taxonomy's legend beneath."""
    body = [beside(row) for row in rows]
    head = captions(titles, rows[0][0].shape[1])
    return below([head, *body, legend(taxonomy, max(head.shape[1], body[0].shape[1]))])


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) or a mask of ids (H, W) as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
