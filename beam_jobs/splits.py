"""Which split a pair belongs to: as list files say, as its folders say, or by a stable hash of its group."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from beam_jobs.scan import Pair, group_of, split_of
from configs.commands import UserError, did_you_mean


def assign_splits(
    pairs: Sequence[Pair], salt: str, validation_fraction: float, lists: Mapping[str, Path] | None = None
) -> dict[str, list[Pair]]:
    """Pairs by split, splits in sorted order. With list files, pairs in none of them are left out.

    Raises:
      UserError: a list file is missing or names an image that is not there.
    """
    named = _by_lists(pairs, lists) if lists else _by_folders(pairs, salt, validation_fraction)
    return {split: named[split] for split in sorted(named)}


def statistics_split(splits: Collection[str]) -> str | None:
    """The split whose images give class weights and channel statistics: train, or the first there is."""
    return "train" if "train" in splits else min(splits, default=None)


def stable_hash(*texts: str) -> str:
    """sha256 of texts: the same in every process and on every machine, which `hash` is not."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


def _by_folders(pairs: Sequence[Pair], salt: str, validation_fraction: float) -> dict[str, list[Pair]]:
    """By the folder that names a split, else whole groups by hash.

    With several groups at least one is training and, for a fraction above 0, at least one is validation.
    A single group (all images in one folder) is split image by image.
    """
    named: dict[str, list[Pair]] = {}
    loose: dict[str, list[Pair]] = {}
    for pair in pairs:
        split = split_of(pair.key)
        if split:
            named.setdefault(split, []).append(pair)
        else:
            loose.setdefault(group_of(pair.key), []).append(pair)
    if len(loose) == 1:
        loose = {pair.key: [pair] for group in loose.values() for pair in group}
    ordered = sorted(loose, key=lambda group: stable_hash(salt, "split", group))
    validation = min(round(len(ordered) * validation_fraction), len(ordered) - 1)
    if validation_fraction > 0 and len(ordered) > 1:
        validation = max(validation, 1)
    for place, group in enumerate(ordered):
        named.setdefault("val" if place < validation else "train", []).extend(loose[group])
    return named


def _by_lists(pairs: Sequence[Pair], lists: Mapping[str, Path]) -> dict[str, list[Pair]]:
    """By text files with a key, an image's path or its bare name a line; empty lines and # lines do not count."""
    known = _by_any_name(pairs)
    named: dict[str, list[Pair]] = {}
    taken: dict[str, str] = {}
    for split, path in lists.items():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"split_lists.{split} = {path}: cannot be read ({error})") from None
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name or name.startswith("#"):
                continue
            pair = known.get(name)
            if pair is None:
                what = "could be several images" if name in known else "is no image of the input with an annotation"
                raise UserError(f"{path}, line {number}: '{name}' {what}{did_you_mean(name, known)}")
            if taken.setdefault(pair.key, split) != split:
                raise UserError(f"{path}, line {number}: '{name}' stands in the list of split {taken[pair.key]} too")
            if pair not in named.setdefault(split, []):
                named[split].append(pair)
    return named


def _by_any_name(pairs: Sequence[Pair]) -> dict[str, Pair | None]:
    """Key, image path and bare name, the latter two with and without suffix → pair; None where it is ambiguous."""
    known: dict[str, Pair | None] = {}
    for pair in pairs:
        path = PurePosixPath(pair.image)
        bare = PurePosixPath(pair.key).name
        for name in {pair.key, pair.image, str(path.with_suffix("")), path.name, path.stem, bare}:
            known[name] = pair if known.setdefault(name, pair) is pair else None
    return known
