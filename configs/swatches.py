"""A taxonomy as a picture: a row for each class with its colour and id, its name, its parent and its labels.

Pictures are RGB; (left, top) is in pixels from the top left corner. `spread_colors` makes colours for new classes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from configs.taxonomy import IGNORE, IGNORE_ID, SKIP, Taxonomy

_PAPER, _INK, _FAINT, _LINE = (255, 255, 255), (32, 32, 32), (110, 110, 110), (225, 225, 225)
_BOX = (56, 24)
"""(width, height) of the coloured box; the id stands in it."""
_MARGIN, _GAP, _LINE_HEIGHT, _LABELS_WIDTH = 20, 16, 18, 520
_GOLDEN = 0.618034
"""Turning the hue by this share of the circle puts every next one into the largest gap so far."""


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Row(NamedTuple):
    """What is drawn, and printed, for one class, for ignore (255) or for skip (no id and no colour)."""

    id: int | None
    name: str
    color: tuple[int, int, int] | None
    parent: str
    labels: tuple[str, ...]


def table_rows(taxonomy: Taxonomy) -> list[Row]:
    """A row for each class in id order; then ignore and, where labels have it, skip."""
    labels: dict[str, list[str]] = {}
    for label, target in taxonomy.labels.items():
        labels.setdefault(target, []).append(label)
    rows = [
        Row(index, entry.name, entry.color, entry.parent or "", tuple(labels.get(entry.name, ())))
        for index, entry in enumerate(taxonomy.classes)
    ]
    rows.append(Row(IGNORE_ID, IGNORE, (0, 0, 0), "", tuple(labels.get(IGNORE, ()))))
    if SKIP in labels:
        rows.append(Row(None, SKIP, None, "", tuple(labels[SKIP])))
    return rows


def draw_swatches(taxonomy: Taxonomy) -> Image.Image:
    """The picture of a taxonomy, as wide as its names need and as high as its rows."""
    rows = table_rows(taxonomy)
    font, small, large = (ImageFont.load_default(size) for size in (15, 13, 20))
    lines = [_wrapped(row.labels, small) for row in rows]
    heights = [max(_BOX[1], len(wrapped) * _LINE_HEIGHT) + 10 for wrapped in lines]
    name_left = _MARGIN + _BOX[0] + _GAP
    parent_left = name_left + _widest([row.name for row in rows], font) + _GAP
    labels_left = parent_left + (_widest([row.parent for row in rows], font) or -_GAP) + _GAP
    title_height = 92
    size = (labels_left + _LABELS_WIDTH + _MARGIN, title_height + sum(heights) + _MARGIN)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), taxonomy.name, fill=_INK, font=large)
    draw.text((_MARGIN, _MARGIN + 27), describe(taxonomy), fill=_FAINT, font=small)
    for left, heading in ((_MARGIN, "id"), (name_left, "class"), (parent_left, "parent"), (labels_left, "labels")):
        if heading != "parent" or any(row.parent for row in rows):
            draw.text((left, title_height - 6), heading, fill=_FAINT, font=small, anchor="ls")
    top = title_height
    for row, wrapped, height in zip(rows, lines, heights, strict=True):
        draw.line((_MARGIN, top, size[0] - _MARGIN, top), fill=_LINE)
        _draw_box(draw, row, (_MARGIN, top + 5), font)
        baseline = top + 5 + _BOX[1] // 2
        draw.text((name_left, baseline), row.name, fill=_INK, font=font, anchor="lm")
        draw.text((parent_left, baseline), row.parent, fill=_FAINT, font=font, anchor="lm")
        for index, line in enumerate(wrapped):
            draw.text((labels_left, baseline + index * _LINE_HEIGHT), line, fill=_FAINT, font=small, anchor="lm")
        top += height
    return picture


def describe(taxonomy: Taxonomy) -> str:
    """``"21 classes of 41 labels; canvas: unlabeled; parents in …"``."""
    coarser = f"; parents in {taxonomy.coarser}" if taxonomy.coarser else ""
    return f"{len(taxonomy.classes)} classes of {len(taxonomy.labels)} labels; canvas: {taxonomy.canvas}{coarser}"


def spread_colors(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ, neighbours most of all, and are neither black (ignored pixels) nor nearly so."""
    found: dict[tuple[int, int, int], None] = {}
    index = 0
    while len(found) < count:
        # Eight hues in full, then eight paler, then eight darker: hues alone are told apart badly beyond a dozen.
        saturation, value = ((0.8, 0.95), (0.45, 0.95), (0.85, 0.6))[index // 8 % 3]
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value))
        found.setdefault((red, green, blue))
        index += 1
    return list(found)


def _draw_box(draw: ImageDraw.ImageDraw, row: Row, corner: tuple[int, int], font: Font) -> None:
    """The coloured box with the id in it; skip, which is not drawn, is an empty one."""
    left, top = corner
    draw.rectangle((left, top, left + _BOX[0], top + _BOX[1]), fill=row.color, outline=_FAINT)
    if row.id is not None and row.color is not None:
        red, green, blue = row.color
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # luma of ITU-R BT.601
        middle = (left + _BOX[0] / 2, top + _BOX[1] / 2 + 1)
        draw.text(middle, str(row.id), fill=_INK if bright else _PAPER, font=font, anchor="mm")


def _wrapped(labels: Sequence[str], font: Font) -> list[str]:
    """Labels with commas, in lines that fit their column and break between labels only."""
    lines: list[str] = []
    for index, label in enumerate(labels):
        text = " ".join(label.split()) + ("," if index < len(labels) - 1 else "")
        if lines and font.getlength(f"{lines[-1]} {text}") <= _LABELS_WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines


def _widest(texts: Sequence[str], font: Font) -> int:
    return max(int(font.getlength(text)) for text in texts)
