"""A taxonomy: which class an annotation's label is, and how the classes look.

    name: camvid11
    canvas: ignore                                   # class of pixels that no polygon covers
    classes:                                         # in id order: the first is class 0
      - {name: sky, color: [128, 128, 128]}          # optionally parent: ..., for coarser levels
    labels:                                          # annotation label: class, or ignore, or skip
      sky: sky
      unlabeled: ignore                              # drawn as 255: these pixels are not scored
      license plate: skip                            # not drawn at all: what lies beneath stays

Masks hold class ids; 255 is the ignore id in every taxonomy.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from configs.commands import UserError, did_you_mean
from configs.loading import Config, load_config

IGNORE_ID = 255
IGNORE = "ignore"
SKIP = "skip"
FOLDER = Path(__file__).parent / "taxonomies"

Channel = Annotated[int, Field(ge=0, le=255)]


class UnknownLabel(Exception):
    """A label that stands in no table of the taxonomy; the message says what to do."""


class TaxonomyClass(Config):
    """One class: its name, its display colour (RGB 0..255) and, for coarser levels, its parent's name."""

    name: str = Field(min_length=1)
    color: tuple[Channel, Channel, Channel]
    parent: str | None = None


class Taxonomy(Config):
    """Classes in id order and the table from annotation label to class, `IGNORE` or `SKIP`."""

    model_config = ConfigDict(ignored_types=(cached_property,))

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    canvas: str = IGNORE
    classes: tuple[TaxonomyClass, ...] = Field(min_length=1, max_length=IGNORE_ID)
    labels: dict[str, str]
    ids: dict[Annotated[int, Field(ge=0, le=255)], str] = Field(default_factory=dict)
    """Value of a ready mask → class, or ignore; empty when masks hold class ids already."""

    @model_validator(mode="before")
    @classmethod
    def _texts_are_texts(cls, values: Any) -> Any:
        # YAML reads a bare `no` as False: the message should say so, not complain of a missing class.
        labels = values.get("labels") if isinstance(values, dict) else None
        for label, target in (labels or {}).items() if isinstance(labels, dict) else ():
            if not isinstance(label, str) or not isinstance(target, str):
                raise ValueError(f"labels: {label!r}: {target!r} must both be text (quote them in YAML)")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        names = self.class_names
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"class '{name}' stands twice")
            if name in (IGNORE, SKIP):
                raise ValueError(f"a class cannot be called '{name}': the word has a meaning of its own")
        if self.canvas not in (*names, IGNORE):
            raise ValueError(f"canvas '{self.canvas}' is no class{did_you_mean(self.canvas, names)}")
        for value, target in self.ids.items():
            if target not in (*names, IGNORE):
                raise ValueError(
                    f"id {value} has class '{target}'{did_you_mean(target, names)}, which is not in classes"
                )
        normal: dict[str, str] = {}
        for label, target in self.labels.items():
            if target not in (*names, IGNORE, SKIP):
                raise ValueError(
                    f"label '{label}' has class '{target}'{did_you_mean(target, names)}, which is not in classes"
                )
            if normal.setdefault(normalize_label(label), label) != label:
                raise ValueError(
                    f"labels '{normal[normalize_label(label)]}' and '{label}' differ in case or spaces only"
                )
        return self

    @property
    def class_names(self) -> list[str]:
        """Class names in id order."""
        return [entry.name for entry in self.classes]

    @property
    def canvas_id(self) -> int:
        """Id of pixels that no polygon covers."""
        return self._id_of(self.canvas)

    @property
    def colors(self) -> np.ndarray:
        """uint8 (256, 3): the RGB colour of every id; ids without a class, 255 among them, are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self.classes)] = [entry.color for entry in self.classes]
        return table

    @cached_property
    def _ids(self) -> dict[str, int | None]:
        return {
            normalize_label(label): None if target == SKIP else self._id_of(target)
            for label, target in self.labels.items()
        }

    def class_id(self, label: str) -> int | None:
        """The id with which a label is drawn, `IGNORE_ID` among them; None when it is not drawn at all.

        Upper case and stray spaces do not matter.

        Raises:
          UnknownLabel: the label is in no table.
        """
        word = normalize_label(label)
        if word in self._ids:
            return self._ids[word]
        home = f"configs/taxonomies/{self.name}.yaml"
        raise UnknownLabel(
            f"label '{label}', which taxonomy {self.name} lacks{did_you_mean(word, self._ids) or '.'} "
            f"Add it to {home if (FOLDER / f'{self.name}.yaml').is_file() else 'its file'} "
            f"or pass --unknown-labels ignore"
        )

    def group_member(self, label: str) -> str | None:
        """``car`` for ``cargroup`` where only ``car`` is in the table, as in Cityscapes' own tools; else None."""
        word = normalize_label(label)
        member = word.removesuffix("group").strip()
        return member if member != word and word not in self._ids and member in self._ids else None

    @cached_property
    def mask_values(self) -> np.ndarray:
        """int16 (256,): the class id or `IGNORE_ID` for each value of a ready mask; −1 where there is none.

        Without a table ``ids`` a ready mask holds class ids and 255.
        """
        table = np.full(256, -1, np.int16)
        if self.ids:
            for value, target in self.ids.items():
                table[value] = self._id_of(target)
        else:
            table[: len(self.classes)] = np.arange(len(self.classes))
            table[IGNORE_ID] = IGNORE_ID
        return table

    def _id_of(self, target: str) -> int:
        return IGNORE_ID if target == IGNORE else self.class_names.index(target)


def normalize_label(label: str) -> str:
    """Lower case, runs of white space as one space, none at the ends."""
    return " ".join(label.lower().split())


def load_taxonomy(name_or_path: str) -> Taxonomy:
    """A taxonomy by the name of one that comes with us (``camvid11``) or by the path of a YAML file.

    Raises:
      UserError: there is none, or the file is wrong.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return load_config(Taxonomy, Path(name_or_path))
    path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        raise UserError(
            f"taxonomy '{name_or_path}' is unknown{did_you_mean(name_or_path, known) or ';'} "
            f"there are {', '.join(known)}, or name a YAML file"
        )
    return load_config(Taxonomy, path)
