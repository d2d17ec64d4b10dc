"""Check and draw a taxonomy, or write a first one from the labels that a folder of annotations holds.

python -m configs.taxonomy idd21                            # one of ours: its table, and swatches in idd21.png
python -m configs.taxonomy my.yaml --output swatches.png    # one line for each fault, exit code 2
python -m configs.taxonomy --from DIR --output my.yaml      # every label a class of its own, to be merged by hand
"""

from __future__ import annotations

import io
import re
import reprlib
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from configs.commands import EXIT_USER_ERROR, ArgumentParser, UserError, did_you_mean, say
from configs.loading import read_yaml
from configs.swatches import describe, draw_swatches, spread_colors, table_rows
from configs.taxonomy import (
    IGNORE,
    IGNORE_ID,
    SKIP,
    Taxonomy,
    TaxonomyClass,
    find_taxonomy,
    normalize_label,
    parent_faults,
)

_PLAIN = re.compile(r"[a-z][a-z0-9 ()_/.-]*[a-z0-9)]|[a-z]")


def main(argv: Sequence[str] | None = None) -> int | None:
    """Parse the command line and do the one or the other."""
    parser = ArgumentParser(prog="python -m configs.taxonomy", description=__doc__)
    parser.add_argument("taxonomy", nargs="?", metavar="FILE_OR_NAME", help="taxonomy to check and draw")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="source", help="folder with images and annotations")
    parser.add_argument("--output", type=Path, metavar="FILE", help="PNG or, with --from, YAML (default: by the name)")
    parser.add_argument("--format", metavar="NAME", help="of the annotations of --from (default: by their content)")
    options = parser.parse_args(argv)
    if (options.taxonomy is None) == (options.source is None):
        raise UserError("which taxonomy? name one, or its YAML file, or say --from DIR to write a first one")
    if options.source is not None:
        draft(options.source, options.output, options.format or "auto")
        return None
    if options.format:
        raise UserError(f"--format {options.format}: is of the annotations of --from DIR, which was not given")
    return check(options.taxonomy, options.output)


def check(name_or_path: str, output: Path | None) -> int | None:
    """Print a taxonomy's table and draw its swatches, or print its faults and return exit code 2."""
    path = find_taxonomy(name_or_path)
    taxonomy, faults = read_and_check(path)
    for fault in faults:
        sys.stderr.write(f"error: {path}: {fault}\n")
    if faults or taxonomy is None:
        return EXIT_USER_ERROR
    target = output or Path(f"{taxonomy.name}.png")
    if target.suffix.lower() != ".png":
        raise UserError(f"--output {target}: swatches are a PNG; its name must end in .png")
    say(f"{path}: {describe(taxonomy)}")
    for line in [*table(taxonomy), *remarks(taxonomy)]:
        say(line)
    picture = io.BytesIO()
    draw_swatches(taxonomy).save(picture, "PNG")
    _write(target, picture.getvalue(), "wb")
    say(f"swatches drawn in {target}")
    return None


def read_and_check(path: Path) -> tuple[Taxonomy | None, list[str]]:
    """A taxonomy, None where its types are wrong, and all its faults, each with the key that it is in.

    Raises:
      UserError: the file is missing or no YAML mapping.
    """
    values = read_yaml(path)
    faults = list(_repeated_keys(yaml.compose(path.read_text(encoding="utf-8"))))
    try:
        taxonomy = Taxonomy.model_validate(values, context=faults)
    except ValidationError as error:
        entries = error.errors(include_url=False)
        inner = {entry["loc"][:depth] for entry in entries for depth in range(1, len(entry["loc"]))}
        # Of a list with a wrong element pydantic may also say that it is too short: that is no fault of its own.
        return None, faults + [_in_words(entry) for entry in entries if entry["loc"] not in inner]
    return taxonomy, faults + list(parent_faults(taxonomy, path))


def table(taxonomy: Taxonomy) -> list[str]:
    """Lines with each class's id, name, colour, parent and labels; then those of ignore and skip."""
    rows = table_rows(taxonomy)
    name, parent = (max(len(text) for text in column) for column in zip(*((row.name, row.parent) for row in rows)))
    name, parent = max(name, len("class")), max(parent, len("parent")) if parent else 0
    lines = [f"{'id':>3}  {'class':<{name}}  {'color':<7}  {'parent'[:parent]:<{parent}}".rstrip() + "  labels"]
    for row in rows:
        color = "#{:02x}{:02x}{:02x}".format(*row.color) if row.color else ""
        start = f"{'' if row.id is None else row.id:>3}  {row.name:<{name}}  {color:<7}  "
        lines.append((start + (f"{row.parent:<{parent}}  " if parent else "") + ", ".join(row.labels)).rstrip())
    return lines


def remarks(taxonomy: Taxonomy) -> list[str]:
    """Lines on what is allowed and perhaps not meant: classes without a label, and of one colour."""
    used = set(taxonomy.labels.values()) | set(taxonomy.ids.values()) | {taxonomy.canvas}
    lines = [f"note: class '{name}' has no label" for name in taxonomy.class_names if name not in used]
    first: dict[tuple[int, int, int], str] = {}
    for entry in taxonomy.classes:
        if (other := first.setdefault(entry.color, entry.name)) != entry.name:
            lines.append(f"note: classes '{other}' and '{entry.name}' have one colour")
    return lines


def draft(source: Path, output: Path | None, format_name: str) -> None:
    """Write a taxonomy in which every label found is a class of its own. Refuses to overwrite a file."""
    name = re.sub(r"[^a-z0-9]+", "_", (output or source.resolve()).stem.lower()).strip("_")
    name = name if name[:1].isalpha() else f"labels_{name}".rstrip("_")
    target = output or Path(f"{name}.yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {target}: a taxonomy is YAML; its name must end in .yaml")
    if target.exists():
        raise UserError(f"--output {target}: is there already; remove it or name another")
    # Only here: configs imports nothing of ours, so that every package may import it. Reading annotations is the
    # builder's, and this branch of the command is the only one that needs it.
    from beam_jobs.labels import count_labels

    counts = count_labels(source, format_name)
    _write(target, draft_yaml(name, counts), "x")
    say(f"labels of {counts.total()} objects written to {target}; merge classes in it, then check it:")
    say(f"python -m configs.taxonomy {target}")


def draft_yaml(name: str, counts: Mapping[str, int]) -> str:
    """The text of a first taxonomy: classes and labels by falling count, which stands beside as a comment.

    Labels that differ in case or spaces only are one. There are at most 255 classes; the rarest labels above that
    are ignored, and so is a label that cannot be a class because it is called ignore or skip.
    """
    merged: Counter[str] = Counter()
    for label, count in counts.items():
        merged[normalize_label(label)] += count
    ordered = sorted((label for label in merged if label), key=lambda label: (-merged[label], label))
    classes = [label for label in ordered if label not in (IGNORE, SKIP)][:IGNORE_ID]
    width = max((len(_text(label)) for label in ordered), default=0)
    lines = [
        "# A first taxonomy: every label found is a class of its own. Numbers are objects.",
        "# To do: give labels of one kind one class, and those that shall not be scored the class ignore (or skip: not",
        "# drawn, what lies beneath stays); then remove the classes that no label has. Ids are the classes' order.",
        f"name: {name}",
        f"canvas: {IGNORE}",
        "classes:",
    ]
    for label, (red, green, blue) in zip(classes, spread_colors(len(classes)), strict=True):
        lines.append(f"  - {{name: {_text(label)}, color: [{red}, {green}, {blue}]}}")
    lines.append("labels:")
    for label in ordered:
        target = label if label in set(classes) else IGNORE
        entry = f"{_text(label)}: {_text(target)}"
        lines.append(f"  {entry:<{2 * width + 2}}  # {merged[label]}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """Text as a YAML scalar of one line, quoted where it must be."""
    if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=2**31).strip()


def _in_words(entry: Any) -> str:
    """One of pydantic's errors: ``classes.3.color.0: input should be less than or equal to 255, found 256``."""
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "missing":
        return f"{key}: is missing"
    if entry["type"] == "extra_forbidden":
        model: type[BaseModel] = TaxonomyClass if entry["loc"][0] == "classes" else Taxonomy
        return f"{key}: unknown key{did_you_mean(str(entry['loc'][-1]), model.model_fields)}"
    message = entry["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}, found {reprlib.repr(entry['input'])}" if key else message


def _repeated_keys(node: yaml.Node | None, place: str = "") -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML's reader keeps the last without a word."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, f"{place}{index}.")
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in lines:
                yield f"{place}{key.value}: stands twice, in lines {lines[str(key.value)]} and {line}"
            lines[str(key.value)] = line
            yield from _repeated_keys(value, f"{place}{key.value}.")


def _write(path: Path, data: str | bytes, mode: str) -> None:
    try:
        with open(path, mode, encoding=None if "b" in mode else "utf-8") as file:
            file.write(data)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written ({error.strerror})") from None
