"""A taxonomy: which class an annotation's label is, and how the classes look.

    name: camvid11
    canvas: ignore                                   # class of pixels that no polygon covers
    coarser: my_categories.yaml                      # optional: the taxonomy that the parents are classes of
    classes:                                         # in id order: the first is class 0
      - {name: sky, color: [128, 128, 128]}          # optionally parent: ..., its class there
    labels:                                          # annotation label: class, or ignore, or skip
      sky: sky
      unlabeled: ignore                              # drawn as 255: these pixels are not scored
      license plate: skip                            # not drawn at all: what lies beneath stays

Masks hold class ids; 255 is the ignore id in every taxonomy. ``python -m configs.taxonomy`` checks and draws
a taxonomy, or writes a first one from the labels of a folder: see `configs.taxonomy_command`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, ValidationInfo, model_validator

from configs.commands import UserError, did_you_mean, run_command
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
    coarser: str | None = None
    """Taxonomy of the next coarser level, whose classes are the parents: its name, or its path from this file."""
    classes: tuple[TaxonomyClass, ...] = Field(min_length=1, max_length=IGNORE_ID)
    labels: dict[str, str]
    ids: dict[Annotated[int, Field(ge=0, le=255)], str] = Field(default_factory=dict)
    """Value of a ready mask → class, or ignore; empty when masks hold class ids already."""

    @model_validator(mode="before")
    @classmethod
    def _texts_are_texts(cls, values: Any, info: ValidationInfo) -> Any:
        # YAML reads a bare `no` as False: the message should say so, not complain of a missing class.
        labels = values.get("labels") if isinstance(values, dict) else None
        if not isinstance(labels, dict):
            return values
        texts = {key: value for key, value in labels.items() if isinstance(key, str) and isinstance(value, str)}
        faults = [
            f"labels: {label!r}: {target!r} must both be text (quote them in YAML)"
            for label, target in labels.items()
            if label not in texts
        ]
        return {**values, "labels": texts} if cls._told(faults, info) else values

    @classmethod
    def _told(cls, faults: Iterable[str], info: ValidationInfo) -> bool:
        """Raise the first fault, or put all into the list that is the validation's context."""
        found = list(faults)
        if isinstance(info.context, list):
            info.context.extend(found)
        elif found:
            raise ValueError(found[0])
        return bool(found)

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Taxonomy:
        self._told(self._faults(), info)
        return self

    def _faults(self) -> Iterator[str]:
        names = self.class_names
        for index, name in enumerate(names):
            if names.index(name) < index:
                yield f"classes.{index}.name: '{name}' stands twice, also as class {names.index(name)}"
            if name in (IGNORE, SKIP):
                yield f"classes.{index}.name: a class cannot be called '{name}': the word has a meaning of its own"
        if self.canvas not in (*names, IGNORE):
            yield f"canvas: '{self.canvas}' is neither a class nor {IGNORE}{did_you_mean(self.canvas, names)}"
        for value, target in self.ids.items():
            if target not in (*names, IGNORE):
                yield f"ids.{value}: '{target}' is neither a class nor {IGNORE}{did_you_mean(target, names)}"
        normal: dict[str, str] = {}
        for label, target in self.labels.items():
            if target not in (*names, IGNORE, SKIP):
                hint = did_you_mean(target, names)
                yield f"labels.{label}: '{target}' is neither a class nor {IGNORE} nor {SKIP}{hint}"
            if normal.setdefault(normalize_label(label), label) != label:
                yield f"labels: '{normal[normalize_label(label)]}' and '{label}' differ in case or spaces only"

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
        lacks = f"label '{label}', which taxonomy {self.name} lacks"
        if hint := did_you_mean(word, self._ids):
            raise UnknownLabel(f"{lacks}{hint} Add it to {self._home} or pass --unknown-labels ignore")
        raise UnknownLabel(
            f"{lacks}. Add it to {self._home}, pass --unknown-labels ignore, "
            "or write a taxonomy of your labels with python -m configs.taxonomy --from DIR"
        )

    @cached_property
    def _home(self) -> str:
        """The file that the taxonomy is read from, when it is one that comes with us and not one of its name."""
        path = FOLDER / f"{self.name}.yaml"
        ours = path.is_file() and load_config(Taxonomy, path) == self
        return f"configs/taxonomies/{path.name}" if ours else "its file"

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
      UserError: there is none, or the file, or that of the coarser level, is wrong.
    """
    path = find_taxonomy(name_or_path)
    taxonomy = load_config(Taxonomy, path)
    if fault := next(parent_faults(taxonomy, path), None):
        raise UserError(f"{path}: {fault}")
    return taxonomy


def find_taxonomy(name_or_path: str) -> Path:
    """The file of a taxonomy. Raises `UserError` when a name is none of those that come with us."""
    if name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        raise UserError(
            f"taxonomy '{name_or_path}' is unknown{did_you_mean(name_or_path, known) or ';'} "
            f"there are {', '.join(known)}, or name a YAML file"
        )
    return path


def parent_faults(taxonomy: Taxonomy, path: Path) -> Iterator[str]:
    """What is wrong with the parents of a taxonomy that was read from ``path``; nothing without ``coarser``."""
    if taxonomy.coarser is None:
        return
    try:
        file = find_taxonomy(taxonomy.coarser)
        names = load_config(Taxonomy, file if file.parent == FOLDER else path.parent / file).class_names
    except UserError as error:
        yield f"coarser: {error}"
        return
    for index, entry in enumerate(taxonomy.classes):
        if entry.parent is None:
            yield f"classes.{index}.parent: '{entry.name}' has none, though coarser is {taxonomy.coarser}"
        elif entry.parent not in names:
            hint = did_you_mean(entry.parent, names)
            yield f"classes.{index}.parent: '{entry.parent}' is no class of {taxonomy.coarser}{hint}"


if __name__ == "__main__":
    # The command stands in a module of its own: in this one, run as __main__, every class would exist twice.
    from configs.taxonomy_command import main

    sys.exit(run_command(main))
