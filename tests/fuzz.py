"""Mutated annotation files of every format: no traceback, no hang, no wrong mask.

    python -m tests.fuzz --count 100000                     # 3 min 40 s; 2 min 10 s of processor time
    python -m tests.fuzz --seed 7 --first 4711 --count 1    # one case again

Each case takes a sound file of a format, damages it (flipped bits, cuts, slices that are gone, doubled or from
elsewhere, other encodings; values of JSON exchanged for hostile ones, doubled, swapped, left out, nested deep) and
goes the builder's own road: format found out, images found, each annotation read and drawn on 48x64. What may come
out is a mask of that size that holds only ids of the taxonomy and 255, or `BadInput`, or `UserError`. Anything else,
or more than five seconds, is a failure: its input is written to a temporary file, and the exit code is 1.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.formats import FORMATS, detect_format
from beam_jobs.formats.base import Files, Format
from beam_jobs.options import BuildOptions
from beam_jobs.rasterize import Mask, rasterize
from configs.commands import ArgumentParser, RunError, UserError, progress_bar, run_command, say
from configs.taxonomy import IGNORE_ID, Taxonomy

SIZE = (48, 64)
LONGEST_S = 5.0
MOST_MEMORY = 8 * 2**30
LARGEST = 2**20
"""Bytes of a damaged file: doubled values of doubled values would else fill the memory."""
LONGEST_MESSAGE = 2000
"""Characters of what is said of one file: names and values are cut short in it, however long they are."""
TAXONOMY = Taxonomy.model_validate(
    {
        "name": "fuzz",
        "canvas": "sky",
        "classes": [{"name": name, "color": [0, 0, 0]} for name in ("road", "car", "sky")],
        "labels": {"road": "road", "car": "car", "void": "ignore", "license plate": "skip"},
    }
)
ALLOWED = {0, 1, 2, IGNORE_ID}


class Seed(NamedTuple):
    """A sound annotation file, and the images below the same folder."""

    path: str
    data: bytes
    images: tuple[str, ...]


class Failure(NamedTuple):
    """What a case did that none may do. ``kind`` is the same for failures of one cause."""

    kind: str
    details: str


class Hang(BaseException):
    """A case took too long. No ``except Exception`` of a reader may take it for a damaged file."""


RING = [[2.5, 3.0], [40.0, 4.5], [38.5, 30.0], [5.0, 41.0]]
BOX = [[10, 10], [50, 10], [50, 20], [10, 20]]


def _png(mode: str, size: tuple[int, int] = SIZE) -> bytes:
    buffer = io.BytesIO()
    ids = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    Image.fromarray(ids * 255 if mode == "1" else ids).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def _cityscapes() -> Iterator[tuple[str, Any]]:
    objects = [
        {"label": "road", "polygon": RING, "deleted": 0, "id": 3, "user": "a", "date": "1-Jan-2020"},
        {"label": "cargroup", "polygon": BOX, "draw": True},
        {"label": "license plate", "polygon": [], "deleted": 1},
    ]
    yield "gtFine/train/a/b_gtFine_polygons.json", {"imgHeight": 48, "imgWidth": 64, "objects": objects}


def _labelme() -> Iterator[tuple[str, Any]]:
    shapes = [
        {"label": "road", "shape_type": "polygon", "points": RING, "group_id": None, "flags": {}},
        {"label": "car", "shape_type": "rectangle", "points": [[3, 4], [20.5, 30]]},
        {"label": "car", "shape_type": "circle", "points": [[30, 20], [35, 20]]},
        {"label": "road", "shape_type": "linestrip", "points": BOX},
        {
            "label": "void",
            "shape_type": "mask",
            "points": [[4, 5], [11, 10]],
            "mask": base64.b64encode(_png("1", (6, 8))).decode(),
        },
    ]
    sizes = {"imageHeight": 48, "imageWidth": 64}
    yield "b.json", {"version": "5.0", "shapes": shapes, "imagePath": "..\\b.jpg", "imageData": None, **sizes}


def _coco() -> Iterator[tuple[str, Any]]:
    def entry(number: int, category: int, segmentation: Any, image: int = 7) -> dict[str, Any]:
        return {"id": number, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0}

    flat = [number for point in RING for number in point]
    annotations = [
        entry(1, 3, [flat, [1, 1, 9, 1, 9, 9]]),
        entry(2, 4, {"size": [48, 64], "counts": [100, 200, 2772]}),
        entry(3, 4, {"size": [48, 64], "counts": "T3X6dY2"}),
        entry(4, 3, [flat], image=8),
    ]
    images = [{"id": 7 + n, "file_name": f"{name}.jpg", "height": 48, "width": 64} for n, name in enumerate("bc")]
    categories = [{"id": 3, "name": "car"}, {"id": 4, "name": "road"}]
    yield "instances.json", {"images": images, "annotations": annotations, "categories": categories}


def _via() -> Iterator[tuple[str, Any]]:
    across, down = ([point[axis] for point in RING] for axis in (0, 1))
    forms: list[dict[str, Any]] = [
        {"name": "polygon", "all_points_x": across, "all_points_y": down},
        {"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10},
        {"name": "circle", "cx": 20, "cy": 20, "r": 8.5},
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 8, "ry": 5, "theta": 0.3},
        {"name": "polyline", "all_points_x": across, "all_points_y": down},
    ]
    regions = [{"shape_attributes": form, "region_attributes": {"label": "car"}} for form in forms]
    entry = {"filename": "b.jpg", "size": 12345, "regions": regions, "file_attributes": {}}
    numbered = {str(number): region for number, region in enumerate(regions)}
    yield "via.json", {"b.jpg12345": entry, "c.jpg1": {**entry, "filename": "c.jpg", "regions": numbered}}
    yield "project.json", {"_via_settings": {}, "_via_img_metadata": {"b.jpg12345": entry}}


def _bdd100k() -> Iterator[tuple[str, Any]]:
    curve = {"vertices": [*RING, [3, 3], [4, 20], [2, 9]], "types": "LLLLCCC", "closed": True}
    labels = [
        {"category": "road", "poly2d": [curve, {"vertices": BOX, "types": "LLLL", "closed": False}]},
        {"category": "car", "poly2d": [{"vertices": BOX}]},
        {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}},
    ]
    yield "frames.json", [{"name": "b.jpg", "labels": labels}, {"name": "c.jpg", "labels": None}]
    triples = [[x, y, "L"] for x, y in RING]
    frames = [{"timestamp": 10000, "objects": [{"category": "road", "id": 1, "poly2d": triples}]}]
    yield "b.json", {"name": "b", "frames": frames}


def _vistas() -> Iterator[tuple[str, Any]]:
    objects = [{"label": "road", "polygon": RING}, {"label": "car", "polygon": BOX}]
    yield "training/v2.0/polygons/b.json", {"height": 48, "width": 64, "objects": objects}


def _masks() -> Iterator[tuple[str, Any]]:
    for mode in ("L", "P", "1", "RGB"):
        yield "masks/train/b.png", _png(mode)


MAKERS: dict[str, tuple[Callable[[], Iterator[tuple[str, Any]]], tuple[str, ...]]] = {
    "cityscapes": (_cityscapes, ("leftImg8bit/train/a/b_leftImg8bit.jpg",)),
    "labelme": (_labelme, ("b.jpg",)),
    "coco": (_coco, ("b.jpg", "c.jpg")),
    "via": (_via, ("b.jpg", "c.jpg")),
    "bdd100k": (_bdd100k, ("b.jpg", "c.jpg")),
    "vistas": (_vistas, ("training/images/b.jpg",)),
    "masks": (_masks, ("images/train/b.jpg",)),
}
"""Format name → its sound documents, and the images they are about."""


def seeds(reader: Format) -> list[Seed]:
    """The sound files of a format."""
    make, images = MAKERS[reader.NAME]
    return [
        Seed(path, value if isinstance(value, bytes) else json.dumps(value).encode(), images) for path, value in make()
    ]


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.0, 47.5, 64, 65, 1e6, 1e6 + 1, 1e9, 1e12, 1e300, -1e9, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *("", " ", "0", "1", "true", "car", " Car ", "CARGROUP", "group", "ro\nad", "trafic sign", "é", "e\u0301"),
    *("\ud800", "\udcff", "\0", "x" * 201, "y" * 10_000, "../../b.jpg", "/b.jpg", "b.jpg", "B.JPG", "c.jpg"),
    *([], {}, [[]], [{}], [[], []], [[1, 2]], [[1, 2], [3, 4]], [[1, 2], [3, 4], [5, 6, 7]], [[[1, 2], [3, 4]]]),
    *([None], [[None, 1]] * 3, [["1", "2"]] * 3, [[True, False]] * 3, [[1, 2], "ab", {"a": 1}], RING, BOX),
    *([[5, 5]] * 1000, [["z" * 10_000, 1], *[[1, 2]] * 1000], {"label": "car"}, {"size": [48, 64], "counts": [1]}),
    *("polygon", "mask", "LLC", "CCCC", "iVBORw0KGgo=", "1000000000"),
)
_DEEP = "\u2620deep"


def mutate(data: bytes, dice: random.Random) -> bytes:
    """The file, damaged: its JSON, its bytes, or both."""
    in_json = data[:1] in b"[{" and dice.random() < 0.75
    if in_json:
        data = _mutate_json(data, dice)[:LARGEST]
    if not in_json or dice.random() < 0.2:
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            data = _mutate_bytes(data, dice)[:LARGEST]
    return data


def _mutate_bytes(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    end = min(start + dice.choice((1, 2, 8, 64, 1000)), len(data))
    kind = dice.randrange(9)
    if kind == 0 and data:
        flipped = bytearray(data)
        flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(flipped)
    if kind == 1:
        return data[:start]
    if kind == 2:
        return data[:start] + data[end:]
    if kind == 3:
        return data[:end] + data[start:end] * dice.choice((1, 2, 50)) + data[end:]
    if kind == 4:
        return data[:start] + dice.randbytes(end - start) + data[end:]
    if kind == 5:
        return data[:start] + bytes([dice.choice(b'0123456789-+.eE[]{}",:\\ntfN\0\xff')]) + data[end:]
    if kind == 6:
        codec = dice.choice(("utf-16", "utf-16-le", "utf-8-sig", "utf-7", "latin-1", "utf-32"))
        return data.decode("latin-1").encode(codec)
    if kind == 7:
        return dice.choice((b"\xef\xbb\xbf", b"\0", b"\n\n", b"[" * 300, b"\x89PNG\r\n\x1a\n", b"x")) + data
    other = dice.randrange(len(data) + 1)
    return data[:start] + data[other : other + 200] + data[start:]


def _mutate_json(data: bytes, dice: random.Random) -> bytes:
    whole = [json.loads(data)]  # in a list, so that the document itself can be exchanged too
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _mutate_value(whole, dice)
    text = json.dumps(whole[0], ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, None, 1)))
    depth = dice.choice((2, 70, 190, 199, 250, 1100, 30_000))
    for placeholder in (json.dumps(_DEEP), f'"{_DEEP}"'):
        text = text.replace(placeholder, "[" * depth + "]" * depth)
    return text.encode("utf-8", "surrogatepass")


def _mutate_value(whole: list[Any], dice: random.Random) -> None:
    """Change one place of a document."""
    places = list(_places(whole))
    holder, key = dice.choice(places)
    other_holder, other_key = dice.choice(places)
    kind = dice.randrange(8)
    if kind <= 2 or (holder is whole and kind != 7):
        holder[key] = copy.deepcopy(dice.choice(HOSTILE))
    elif kind == 3:
        del holder[key]
    elif kind == 4 and isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(holder[key]) for _ in range(dice.choice((1, 2, 100)))]
    elif kind == 4:
        holder[dice.choice((*holder, "other", ""))] = copy.deepcopy(holder[key])
    elif kind == 5:
        holder[key] = copy.deepcopy(other_holder[other_key])
    elif kind == 6:
        holder[key] = dice.choice(([holder[key]], {"0": holder[key]}, [holder[key], holder[key]], str(holder[key])))
    else:
        holder[key] = _DEEP


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(list or object, index or key) of everything in a document."""
    entries = list(enumerate(value)) if isinstance(value, list) else list(value.items())
    for key, entry in entries:
        yield value, key
        if isinstance(entry, (list, dict)):
            yield from _places(entry)


def run_case(reader: Format, seed: Seed, data: bytes, folder: Path, options: BuildOptions) -> Counter[str]:
    """Outcomes of one file on the builder's road: masks, and codes of what is bad.

    Raises:
      WrongMask: a mask of another size, or with ids that the taxonomy lacks.
    """
    outcomes: Counter[str] = Counter()
    path = folder / seed.path
    path.write_bytes(data)
    files = Files(folder, [*seed.images, seed.path])
    try:
        outcomes[f"taken for {detect_format(files).NAME}"] += 1
    except UserError as error:
        _check_message(str(error))
        outcomes["taken for nothing"] += 1  # --format says it then
    try:
        found = reader.find(files)
    except BadInput as error:
        _check_message(str(error))
        return outcomes + Counter([error.code])
    for letter in found.dead_letters:
        _check_message(letter.message)
        outcomes[letter.code] += 1
    for candidate in found.candidates:
        try:
            annotation = reader.read(candidate.inline.encode() or data)
            if annotation.ids is not None and annotation.ids.shape != SIZE:
                raise BadInput("size_differs", "as the builder says of ready masks")
            mask = rasterize(annotation, SIZE, TAXONOMY, options)
        except BadInput as error:
            _check_message(str(error))
            outcomes[error.code] += 1
        else:
            _check_mask(mask)
            outcomes["masks"] += 1
    return outcomes


class WrongMask(Exception):
    """A mask, or a message, that is not as it must be."""


def _check_mask(mask: Mask) -> None:
    if mask.ids.shape != SIZE or mask.ids.dtype != np.uint8:
        raise WrongMask(f"mask of shape {mask.ids.shape}, {mask.ids.dtype}")
    if not set(np.unique(mask.ids).tolist()) <= ALLOWED:
        raise WrongMask("mask with ids that the taxonomy lacks")
    if not np.array_equal(np.asarray(mask.picture), mask.ids):
        raise WrongMask("mask whose picture is another")


def _check_message(message: str) -> None:
    if not 0 < len(message) <= LONGEST_MESSAGE:
        raise WrongMask("message that is empty or endless")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `Hang` in a block that takes longer."""

    def ring(*_: object) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def try_case(seed: int, number: int, folder: Path) -> tuple[bytes, Counter[str], Failure | None]:
    """Case ``number`` of a seed, which depends on nothing else: (input, outcomes, failure or None)."""
    dice = random.Random(f"{seed}/{number}")
    reader = FORMATS[number % len(FORMATS)]
    sound = dice.choice(seeds_of(reader.NAME))
    data = mutate(sound.data, dice)
    options = BuildOptions(
        unknown_labels=dice.choice(("ignore", "skip", "error")), few_points=dice.choice(("skip", "skip", "error"))
    )
    started = time.monotonic()
    outcomes: Counter[str] = Counter()
    failure = None
    try:
        with at_most(LONGEST_S):
            outcomes = run_case(reader, sound, data, folder / reader.NAME, options)
    except Hang:
        failure = Failure("hang", traceback.format_exc())
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        failure = Failure(
            f"{type(error).__name__} in {Path(place.filename).name}, {place.name}", traceback.format_exc()
        )
    seconds = time.monotonic() - started
    if failure is None and seconds > LONGEST_S:
        failure = Failure("hang", f"{seconds:.1f} s")
    return data, outcomes, failure


_SEEDS: dict[str, list[Seed]] = {}


def seeds_of(name: str) -> list[Seed]:
    """`seeds` by a format's name, made once."""
    if not _SEEDS:
        _SEEDS.update({reader.NAME: seeds(reader) for reader in FORMATS})
    return _SEEDS[name]


def fuzz(count: int, seed: int, first: int = 0) -> Counter[str]:
    """Try cases ``first`` to ``first + count - 1``; returns how often each outcome was met.

    Raises:
      RunError: at least one case failed. The first of each kind was reported and written to a file.
    """
    outcomes: Counter[str] = Counter()
    failures: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, progress_bar(count, "file", "fuzzing") as bar:
        for reader in FORMATS:
            for sound in seeds_of(reader.NAME):
                for path in (sound.path, *sound.images):
                    (Path(name) / reader.NAME / path).parent.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            data, found, failure = try_case(seed, number, Path(name))
            outcomes += found
            if failure:
                if failure.kind not in failures:
                    _report(seed, number, data, failure)
                failures[failure.kind] = failures.get(failure.kind, 0) + 1
            bar.update()
    if failures:
        listed = ", ".join(f"{kind} ({times} times)" for kind, times in failures.items())
        raise RunError(f"{sum(failures.values())} of {count} cases failed: {listed}")
    return outcomes


def _report(seed: int, number: int, data: bytes, failure: Failure) -> None:
    reader = FORMATS[number % len(FORMATS)].NAME
    with tempfile.NamedTemporaryFile(prefix=f"fuzz-{reader}-{seed}-{number}-", delete=False) as file:
        file.write(data)
    say(f"\n{failure.kind}: {reader}, python -m tests.fuzz --seed {seed} --first {number} --count 1; input {file.name}")
    say(failure.details)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and fuzz."""
    parser = ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="cases (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed makes other cases (default: 0)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case (default: 0)")
    given = parser.parse_args(argv)
    _limit_memory()
    outcomes = fuzz(given.count, given.seed, given.first)
    say(f"{given.count} files: " + ", ".join(f"{kind} {times}" for kind, times in outcomes.most_common()))


def _limit_memory() -> None:
    """Let an allocation that asks for too much fail here, not the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    sys.exit(run_command(main))
