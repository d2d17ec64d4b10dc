"""Hostile inputs, end to end: one folder holds them all among good ones, and each has the end that it must have.

What is bad is a dead letter with its key, stage, code, message and file; what is odd but good is a record with the
mask worked out here. LabelMe's, COCO's and VIA's own oddities are in the tests of their readers, a build that is
killed in test_build_recovery.py, damaged shards in test_verify_records.py, two builds at once in test_lock.py,
tables of labels in test_taxonomy.py.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from beam_jobs import shards
from beam_jobs.annotation import BadInput, DeadLetter
from beam_jobs.build_records import main
from beam_jobs.images import check_image, decode_rgb
from beam_jobs.reconcile import reconcile
from beam_jobs.shards import build_shard
from configs.commands import UserError, run_command
from configs.taxonomy import load_taxonomy
from pipelines.manifest import Manifest, read_manifest
from pipelines.records import Record, read_records
from tests.builds import arguments_for, for_loop, planned, without_bars
from tests.streets import TINY, make_streets, shard_hashes, write_street
from tests.test_images import png_of

HEIGHT, WIDTH = TINY
CLASS = {name: number for number, name in enumerate(load_taxonomy("camvid11").class_names)}
BOX = [[10, 4], [19, 4], [19, 8], [10, 8]]
"""Columns 10 to 19 and rows 4 to 8, both ends included: 50 pixels."""
PIXELS = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def encoded(mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = TINY, **options: Any) -> bytes:
    """An image file of (height, width)."""
    picture = Image.fromarray(PIXELS).resize(size[::-1], Image.Resampling.NEAREST)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    else:
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int, damaged: bool = False) -> bytes:
    """A JPEG with an EXIF orientation; damaged: with a text where the tag promises a fraction."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x011A] = 72.5
    data = exif.tobytes()
    if damaged:
        at = data.index(b"\x01\x1a\x00\x05") if b"\x01\x1a\x00\x05" in data else data.index(b"\x1a\x01\x05\x00")
        data = data[: at + 2] + (b"\x00\x02" if data[at] == 1 else b"\x02\x00") + data[at + 4 :]
    return encoded(kind="JPEG", exif=data)


def document(*objects: Any, **changes: Any) -> bytes:
    return json.dumps({"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": list(objects), **changes}).encode()


def car(polygon: Any, **more: Any) -> dict[str, Any]:
    return {"label": "car", "polygon": polygon, **more}


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


class Bad(NamedTuple):
    """A pair that must become a dead letter; its message begins with the image's or the annotation's path."""

    name: str
    code: str
    message: str
    annotation: bytes | None = None
    image: bytes | None = None
    suffix: str = ".jpg"


CAR = "object 0 ('car')"
POINT = "is not a point [x, y] of two numbers"
NO_IMAGE = "not a JPEG, PNG, WEBP, BMP image that Pillow opens"
JPEG = encoded(kind="JPEG")

BAD = [
    # Polygons
    Bad(
        "polygon, NaN",
        "coordinate_not_finite",
        f"{CAR}: point [NaN, 4] is not finite",
        document(car([[float("nan"), 4], *BOX])),
    ),
    Bad(
        "polygon, Infinity",
        "coordinate_not_finite",
        f"{CAR}: point [Infinity, 4] is not finite",
        document(car([[float("inf"), 4], *BOX])),
    ),
    Bad(
        "polygon, 1e9",
        "coordinate_range",
        f"{CAR}: point [1000000000.0, 4] is beyond ±1e6",
        document(car([[1e9, 4], *BOX])),
    ),
    Bad(
        "polygon, 1e12",
        "coordinate_range",
        f"{CAR}: point [1000000000000.0, 4] is beyond ±1e6",
        document(car([[1e12, 4], *BOX])),
    ),
    Bad(
        "polygon, a whole number of 400 digits beside a NaN",
        "coordinate_not_finite",
        f"{CAR}: point [NaN, 4] is not finite",
        document(car([[float("nan"), 4], [10**400, 4], *BOX])),
    ),
    Bad("polygon, strings", "polygon_points", f'{CAR}: ["1", "2"] {POINT}', document(car([["1", "2"], *BOX]))),
    Bad(
        "polygon, a text of a megabyte among 100,000 points",  # as one array it would be 800 gigabytes
        "polygon_points",
        f'{CAR}: ["{"a" * 55}... {POINT}',
        document(car([["a" * 10**6, 1], *[[1, 2]] * 100_000])),
    ),
    Bad("polygon, triples", "polygon_points", f"{CAR}: [1, 2, 3] {POINT}", document(car([[1, 2, 3], *BOX]))),
    Bad("polygon, null", "polygon_not_list", f"{CAR}: polygon is missing", document(car(None))),
    Bad("polygon, null in a point", "polygon_points", f"{CAR}: [null, 2] {POINT}", document(car([[None, 2], *BOX]))),
    Bad("polygon, nested once too deep", "polygon_points", f"{CAR}: {BOX} {POINT}", document(car([BOX]))),
    # Labels
    Bad(
        "label, unknown",
        "unknown_label",
        "object 1 has label 'rod', which taxonomy camvid11 lacks; did you mean 'road'? Add it to "
        "configs/taxonomies/camvid11.yaml or pass --unknown-labels ignore",
        document(car(BOX), {"label": "rod", "polygon": BOX}),
    ),
    Bad(
        "label, not a string", "label_not_text", "object 0 has label 7, which is not text", document(car(BOX, label=7))
    ),
    Bad(
        "label, of 201 characters",
        "label_too_long",
        f'object 0 has a label of 201 characters: "{"x" * 56}...',
        document(car(BOX, label="x" * 201)),
    ),
    # Annotation files
    Bad("annotation, empty", "annotation_empty", "the file is empty", b""),
    Bad("annotation, an empty object", "no_objects", "'objects' is missing", b"{}"),
    Bad("annotation, a list", "annotation_not_object", "the file: expected a JSON object, found a list", b"[]"),
    Bad("annotation, cut off", "annotation_not_json", "not JSON in UTF-8 (", document(car(BOX))[:-9]),
    Bad("annotation, UTF-16", "annotation_not_json", "not JSON in UTF-8 (", document().decode().encode("utf-16")),
    Bad("annotation, Latin-1", "annotation_not_json", "not JSON in UTF-8 (", '{"a": "é"}'.encode("latin-1")),
    Bad("annotation, width 0", "annotation_size", "imgWidth is 0", document(imgWidth=0)),
    Bad("annotation, width negative", "annotation_size", "imgWidth is -64", document(imgWidth=-64)),
    Bad("annotation, width a string", "annotation_size", 'imgWidth is "64"', document(imgWidth="64")),
    Bad("annotation, width missing", "annotation_size", "imgWidth is missing", b'{"imgHeight": 48, "objects": []}'),
    Bad("annotation, width beyond all images", "annotation_size", "imgWidth is 1e+300", document(imgWidth=1e300)),
    Bad(
        "annotation, size that is not the image's",
        "size_differs",
        "the image is 48x64, its annotation says 48x65 (height x width); --set rescale_polygons=true scales it",
        document(imgWidth=65),
    ),
    Bad("annotation, no objects", "no_objects", "'objects' is missing", b'{"imgHeight": 48, "imgWidth": 64}'),
    Bad(
        "annotation, nested a thousand deep", "annotation_too_deep", "brackets are nested deeper than 200", b"[" * 2000
    ),
    # Images
    Bad("image, 0 bytes", "image_empty", "the image file is empty", image=b""),
    Bad("image, text named .jpg", "not_an_image", NO_IMAGE, image=b"the file that you seek"),
    Bad("image, HTML named .jpg", "not_an_image", NO_IMAGE, image=b"<!DOCTYPE html><html>404</html>"),
    Bad("image, JPEG cut in the header", "not_an_image", "damaged header (", image=JPEG[:100]),
    Bad("image, JPEG cut in the middle", "image_cut_off", "the JPEG has no end marker", image=JPEG[: len(JPEG) // 2]),
    Bad("image, JPEG cut two bytes before the end", "image_cut_off", "the JPEG has no end marker", image=JPEG[:-2]),
    Bad(
        "image, PNG of 20,000x20,000",
        "image_too_large",
        "20000x20000 is above the limit of 100000000 pixels",
        image=png_of(20_000, 20_000, 8, 2, b""),
        suffix=".png",
    ),
    Bad(
        "image, other size than its annotation",
        "size_differs",
        "the image is 64x48, its annotation says 48x64 (height x width); --set rescale_polygons=true scales it",
        image=encoded(kind="JPEG", size=(64, 48)),
    ),
]


class Odd(NamedTuple):
    """A pair that is odd but good: the ids that its mask must hold, on a canvas of 255.

    ``kept`` says that the image's bytes must be stored as they are.
    """

    name: str
    ids: np.ndarray
    annotation: bytes
    image: bytes = JPEG
    suffix: str = ".jpg"
    kept: bool = True


def canvas(*boxes: tuple[str, int, int, int, int], size: tuple[int, int] = TINY) -> np.ndarray:
    """A mask of boxes (label, left, top, right, bottom), both ends included, the later over the earlier."""
    ids = np.full(size, 255, np.uint8)
    for label, left, top, right, bottom in boxes:
        ids[top : bottom + 1, left : right + 1] = CLASS.get(label, 255)
    return ids


def bow_tie() -> np.ndarray:
    """Two triangles that meet at (20, 20): of the square around it, what is nearer to its left and right sides."""
    x, y = np.meshgrid(np.arange(WIDTH) - 20, np.arange(HEIGHT) - 20)
    return np.where((np.abs(x) >= np.abs(y)) & (np.abs(x) <= 10), CLASS["car"], 255).astype(np.uint8)


def outline(points: int) -> list[list[float]]:
    """The outline of the box (10, 4, 19, 8), of so many points."""
    corners = np.array([*BOX, BOX[0]], float)
    along = np.arange(points) * 4 / points
    side = along.astype(int)
    return (corners[side] + (corners[side + 1] - corners[side]) * (along - side)[:, None]).tolist()


def many_objects(count: int) -> tuple[np.ndarray, bytes]:
    """Single pixels in rows, car and road in turn, going round the image more than three times."""
    ids, objects = canvas(), []
    for number in range(count):
        x, y = number % WIDTH, number // WIDTH % HEIGHT
        label = ("car", "road", "sky")[number % 3]
        objects.append({"label": label, "polygon": [[x, y]] * 3})
        ids[y, x] = CLASS[label]
    return ids, document(*objects)


CAR_BOX = canvas(("car", 10, 4, 19, 8))
ONE_CAR = document(car(BOX))
ALL_ROAD = {"label": "road", "polygon": box(0, 0, 63, 47)}


def of_size(height: int, width: int) -> dict[str, Any]:
    """One object that covers the whole of a small image."""
    road = {"label": "road", "polygon": box(0, 0, width, height)}
    return {
        "ids": np.full((height, width), CLASS["road"], np.uint8),
        "annotation": document(road, imgHeight=height, imgWidth=width),
        "image": encoded(size=(height, width)),
        "suffix": ".png",
    }


ODD = [
    # Polygons
    Odd("polygon, no points", CAR_BOX, document(car(BOX), car([]))),
    Odd("polygon, one point", CAR_BOX, document(car(BOX), car([[30, 30]]))),
    Odd("polygon, two points", CAR_BOX, document(car(BOX), car([[30, 30], [40, 40]]))),
    Odd("polygon, three points in a row", canvas(("car", 5, 6, 9, 6)), document(car([[5, 6], [7, 6], [9, 6]]))),
    Odd("polygon, outside in part", canvas(("car", 60, 40, 63, 47)), document(car(box(60, 40, 10**6, 10**6)))),
    Odd("polygon, outside altogether", canvas(), document(car(box(-90, -90, -1, -1)), car(box(64, 0, 99, 47)))),
    Odd("polygon, first point repeated at the end", CAR_BOX, document(car([*BOX, BOX[0]]))),
    Odd("polygon, bow-tie", bow_tie(), document(car([[10, 10], [30, 30], [30, 10], [10, 30]]))),
    Odd("polygon, half-pixel coordinates", CAR_BOX, document(car([[x + 0.5, y + 0.5] for x, y in BOX]))),
    Odd(
        "polygon, a hole made by a later polygon",
        canvas(("car", 10, 10, 40, 40), ("road", 20, 20, 30, 30)),
        document(car(box(10, 10, 40, 40)), {"label": "road", "polygon": box(20, 20, 30, 30)}),
    ),
    Odd(
        "polygon, a hole of pixels that are not scored",
        canvas(("car", 10, 10, 40, 40), ("void", 20, 20, 30, 30)),
        document(car(box(10, 10, 40, 40)), {"label": "void", "polygon": box(20, 20, 30, 30)}),
    ),
    Odd("polygon, 100,000 vertices", CAR_BOX, document(car(outline(100_000)))),
    Odd("polygon, 10,000 objects", *many_objects(10_000)),
    Odd(
        "polygon, order matters",
        canvas(("road", 15, 6, 30, 20), ("car", 10, 4, 19, 8)),
        document({"label": "road", "polygon": box(15, 6, 30, 20)}, car(BOX)),
    ),
    # Labels
    Odd("label, deleted as 1", CAR_BOX, document(car(BOX), car(box(0, 0, 50, 40), deleted=1))),
    Odd("label, deleted as true", CAR_BOX, document(car(BOX), car(box(0, 0, 50, 40), deleted=True))),
    Odd("label, deleted as the text 0", CAR_BOX, document(car(BOX, deleted="0"))),
    Odd("label, deleted with nonsense in it", CAR_BOX, document(car(BOX), {"label": 3, "polygon": "x", "deleted": 1})),
    Odd("label, cargroup means car", CAR_BOX, document(car(BOX, label="cargroup"))),
    Odd("label, upper case and stray spaces", CAR_BOX, document(car(BOX, label=" \tCAR\n"))),
    # Annotation files
    Odd("annotation, with a BOM", CAR_BOX, b"\xef\xbb\xbf" + ONE_CAR),
    Odd("annotation, keys that nobody knows", CAR_BOX, document(car(BOX, draw=False, user="é", id=None), comment=[])),
    Odd("annotation, no object in objects", canvas(), document()),
    # Images
    Odd("image, PNG named .jpg", CAR_BOX, ONE_CAR, encoded()),
    Odd("image, JPEG named .png", CAR_BOX, ONE_CAR, JPEG, ".png"),
    Odd("image, upper case suffix", CAR_BOX, ONE_CAR, JPEG, ".JPG"),
    *(Odd(f"image, EXIF orientation {n}", CAR_BOX, ONE_CAR, turned(n)) for n in range(1, 9)),
    Odd("image, EXIF block damaged", CAR_BOX, ONE_CAR, turned(6, damaged=True)),
    Odd("image, CMYK", CAR_BOX, ONE_CAR, encoded("CMYK", "JPEG"), kept=False),
    Odd("image, grey", CAR_BOX, ONE_CAR, encoded("L", "JPEG")),
    Odd("image, progressive", CAR_BOX, ONE_CAR, encoded(kind="JPEG", progressive=True)),
    Odd(
        "image, JPEG with a second picture after it",
        CAR_BOX,
        ONE_CAR,
        encoded(kind="MPO", save_all=True, append_images=[Image.new("RGB", (32, 24))]),
    ),
    Odd("image, 16-bit PNG", CAR_BOX, ONE_CAR, encoded("I;16"), ".png", kept=False),
    Odd("image, palette PNG", CAR_BOX, ONE_CAR, encoded("P"), ".png", kept=False),
    Odd("image, 1-bit PNG", CAR_BOX, ONE_CAR, encoded("1"), ".png", kept=False),
    Odd("image, alpha PNG", CAR_BOX, ONE_CAR, encoded("RGBA"), ".png", kept=False),
    Odd("image, 1x1", **of_size(1, 1)),
    Odd("image, 1xN", **of_size(1, 64)),
    Odd("image, Nx1", **of_size(48, 1)),
    # Files
    *(
        Odd(f"file, {name}", CAR_BOX, ONE_CAR)
        for name in ("a b  c", "[x]", "*", "?", "100%", "%41", "zwei\nzeilen", "e\u0301", "\u00e9", "'\"\\", "-f", "~")
    ),
]


def key_of(case: Bad | Odd) -> str:
    return f"train/hostile/{case.name.removeprefix('file, ')}"


class Built(NamedTuple):
    """A folder that was built: records and dead letters by key."""

    records: dict[str, Record]
    letters: dict[str, DeadLetter]
    manifest: Manifest
    said: str


def built_of(streets: Path, output: Path, *more: object) -> Built:
    """Run the command with one worker and every dead letter allowed, and read what it wrote."""
    arguments = arguments_for(streets, output, "--max-bad-fraction", "1", *more)
    with redirect_stdout(io.StringIO()) as said:
        assert run_command(main, [str(argument) for argument in arguments]) == 0
    lines = (output / "dead_letters.jsonl").read_text(encoding="utf-8").splitlines()
    letters = [DeadLetter(**json.loads(line)) for line in lines]
    manifest = read_manifest(output)
    files = [shard.file for split in manifest.splits.values() for shard in split.shards]
    records = [record for file in files for record in read_records(output / file)]
    by_key, letters_by_key = {entry.key: entry for entry in records}, {entry.key: entry for entry in letters}
    assert (len(by_key), len(letters_by_key)) == (len(records), len(letters))
    return Built(by_key, letters_by_key, manifest, said.getvalue())


def write_pair(streets: Path, case: Bad | Odd) -> tuple[Path, Path]:
    image, annotation = write_street(streets, key_of(case), image=case.image, suffix=case.suffix)
    if case.annotation is not None:
        annotation.write_bytes(case.annotation)
    return image, annotation


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All hostile pairs in one folder with five good ones, built in one go."""
    base = tmp_path_factory.mktemp("hostile")
    streets = make_streets(base / "streets", splits={"train": 3, "val": 2})
    for case in (*BAD, *ODD):
        write_pair(streets, case)
    return built_of(streets, base / "out")


def test_nothing_else_is_lost_and_everything_is_accounted_for(built):
    good = {f"{split}/drive0{n % 2}/frame{n:04d}" for split, count in (("train", 3), ("val", 2)) for n in range(count)}
    assert set(built.records) == good | {key_of(case) for case in ODD}
    assert set(built.letters) == {key_of(case) for case in BAD}
    assert built.manifest.planned == 5 + len(BAD) + len(ODD)
    assert built.manifest.dead_letters == len(BAD)
    assert f"dead letters: {len(BAD)} of {5 + len(BAD) + len(ODD)} inputs (" in built.said


@pytest.mark.parametrize("case", BAD, ids=[case.name for case in BAD])
def test_what_is_bad_is_a_dead_letter(built, case):
    letter = built.letters[key_of(case)]
    assert (letter.stage, letter.code) == ("build", case.code)
    # A size that differs is said of the annotation.
    of_image = case.image is not None and case.code != "size_differs"
    tree, ending = ("leftImg8bit", f"_leftImg8bit{case.suffix}") if of_image else ("gtFine", "_gtFine_polygons.json")
    assert letter.source == f"{tree}/{key_of(case)}{ending}"
    assert letter.message.startswith(f"{letter.source}: {case.message}")
    if not case.message.endswith("("):
        assert letter.message == f"{letter.source}: {case.message}"


@pytest.mark.parametrize("case", ODD, ids=[case.name for case in ODD])
def test_what_is_odd_but_good_is_a_record_with_its_mask(built, case):
    record = built.records[key_of(case)]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(record.mask))), case.ids)
    assert (record.height, record.width) == case.ids.shape
    stored = Image.open(io.BytesIO(record.image))
    assert (stored.height, stored.width) == case.ids.shape
    assert (record.image == case.image) == case.kept
    assert record.image_format == ("jpeg" if case.image.startswith(b"\xff\xd8") else "png")
    if not case.kept:
        assert (stored.mode, stored.format.lower()) == ("RGB", record.image_format)


@pytest.mark.parametrize("case", [case for case in ODD if case.name.startswith("image, ")], ids=lambda case: case.name)
def test_a_stored_image_is_what_tensorflow_reads(built, case, tensorflow_ready):
    record = built.records[key_of(case)]
    assert tensorflow_ready.io.decode_image(record.image, channels=3).shape == (*case.ids.shape, 3)


# Files that are none: the scan finds them, and nothing waits for a pipe that nobody writes into.
def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(path.with_name(target) if target != "itself" else path)


NO_FILES: list[tuple[str, Callable[[Path], None], str, str]] = [
    ("broken link", link_to("nowhere"), "file_unreadable", "No such file or directory"),
    ("link loop", link_to("itself"), "file_unreadable", "Too many levels of symbolic links"),
    ("pipe", os.mkfifo, "not_a_file", "not a regular file"),
]


@pytest.fixture(scope="module")
def built_with_no_files(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Images and annotations that are links, pipes and folders, or stand alone or double, among four good pairs."""
    base = tmp_path_factory.mktemp("no_files")
    streets = make_streets(base / "streets", splits={"train": 4})
    for name, make, _, _ in NO_FILES:
        for index, which in enumerate(("image", "annotation")):
            path = write_street(streets, f"train/a/{name} as {which}")[index]
            path.unlink()
            make(path)
    folder, _ = write_street(streets, "train/a/folder as image", suffix=".png")
    folder.unlink()
    folder.mkdir()
    (folder / "within_leftImg8bit.png").write_bytes(encoded())
    write_street(streets, "train/a/no annotation")[1].unlink()
    write_street(streets, "train/a/no image")[0].unlink()
    write_street(streets, "train/a/twice", suffix=".jpg")
    write_street(streets, "train/a/twice", suffix=".png")
    return built_of(streets, base / "out")


@pytest.mark.parametrize("which", ["image", "annotation"])
@pytest.mark.parametrize(("name", "make", "code", "message"), NO_FILES, ids=[entry[0] for entry in NO_FILES])
def test_what_is_no_file_is_a_dead_letter_and_nothing_waits(built_with_no_files, name, make, code, message, which):
    letter = built_with_no_files.letters[f"train/a/{name} as {which}"]
    assert (letter.stage, letter.code) == ("scan", code)
    assert letter.source.startswith("leftImg8bit" if which == "image" else "gtFine")
    assert letter.message == f"{letter.source}: {message}"


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        ("folder as image", "not_a_file", "{image}.png: not a regular file"),
        ("no annotation", "no_annotation", "{image}.jpg: there is no annotation for this image"),
        ("no image", "no_image", "{annotation}: there is no image for this annotation"),
        ("twice", "duplicate_key", "{image}.jpg and {image}.png have one key, 'train/a/twice'"),
    ],
)
def test_what_has_no_partner_or_two_is_a_dead_letter(built_with_no_files, frame, code, message):
    letter = built_with_no_files.letters[f"train/a/{frame}"]
    image, annotation = f"leftImg8bit/train/a/{frame}_leftImg8bit", f"gtFine/train/a/{frame}_gtFine_polygons.json"
    assert (letter.stage, letter.code) == ("scan", code)
    assert letter.message == message.format(image=image, annotation=annotation)


def test_the_pairs_beside_them_are_built(built_with_no_files):
    assert len(built_with_no_files.records) == 4
    assert len(built_with_no_files.letters) == 2 * len(NO_FILES) + 4


@pytest.mark.parametrize("format_name", ["auto", "coco", "via", "bdd100k", "labelme", "vistas"])
def test_a_pipe_where_annotations_are_looked_for_is_never_waited_for(tmp_path, format_name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(JPEG)
    os.mkfifo(tmp_path / "in" / "a.json")
    arguments = arguments_for(tmp_path / "in", tmp_path / "out", "--format", format_name)
    try:
        letters = planned(arguments, tmp_path / "out").scan_dead_letters
        assert {letter.code for letter in letters} == {"not_a_file"}
    except UserError as error:
        assert "not a regular file" in str(error) or "no annotations of a known format" in str(error)  # noqa: PT017


# EXIF: Cityscapes and IDD draw on the stored pixels, LabelMe on the image as viewers turn it.
STORED = np.arange(6, dtype=np.uint8).reshape(2, 3)
UPRIGHT = {
    # Where the stored first row and first column are to be seen, by the EXIF standard (tag 274), written out:
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_an_image_is_turned_as_the_exif_standard_says(orientation, bits):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(STORED if bits == 8 else STORED.astype(np.uint16) * 257).save(buffer, "PNG", exif=exif)
    assert check_image(buffer.getvalue(), 100).orientation == orientation
    np.testing.assert_array_equal(np.asarray(decode_rgb(buffer.getvalue(), turn=True))[..., 0], UPRIGHT[orientation])
    np.testing.assert_array_equal(np.asarray(decode_rgb(buffer.getvalue()))[..., 0], STORED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_whose_exif_block_is_damaged_is_turned_all_the_same(orientation):
    sound, damaged = (decode_rgb(turned(orientation, damaged=state), turn=True) for state in (False, True))
    np.testing.assert_array_equal(np.asarray(damaged), np.asarray(sound))
    assert sound.size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF blocks
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "BMP", "16-bit PNG"])
def test_an_image_that_passes_the_check_decodes_however_damaged(kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a street", 72.5
    data = encoded("I;16", exif=exif) if kind == "16-bit PNG" else encoded(kind=kind, exif=exif)
    dice, passed = np.random.default_rng(8), 0
    for _ in range(300):
        damaged = bytearray(data)
        reach = dice.choice([len(data), min(len(data), 300)])  # headers and EXIF stand in front
        for place in dice.integers(0, reach, dice.integers(1, 4)):
            damaged[place] = dice.choice([0, 1, 127, 128, 255, dice.integers(256)])
        try:
            checked = check_image(bytes(damaged), 10**6)
        except BadInput:
            continue
        passed += 1
        stored, upright = (decode_rgb(bytes(damaged), turn=turn) for turn in (False, True))
        assert (stored.height, stored.width) == (checked.height, checked.width)
        assert upright.size == (stored.size if checked.orientation < 5 else stored.size[::-1])
    assert passed > 50 or "PNG" in kind  # whose checksums find nearly every damaged byte


def test_scaled_polygons_never_leave_what_pillow_can_draw(tmp_path):
    # 1e6 in an annotation of width 1 would be 6.4e7 in the image; in wider ones more than C's ints hold.
    write_street(tmp_path / "in", "train/a/b", objects=[car([[0, 0], [10**6, 0], [10**6, 1]])])
    path = tmp_path / "in/gtFine/train/a/b_gtFine_polygons.json"
    path.write_bytes(document(*json.loads(path.read_bytes())["objects"], imgHeight=1, imgWidth=1))
    found = built_of(tmp_path / "in", tmp_path / "out", "--set", "rescale_polygons=true")
    (letter,) = found.letters.values()
    assert letter.code == "coordinate_range"
    assert letter.message.endswith(f"{CAR}: point [1000000.0, 0.0] is beyond ±1e6 when scaled to the image")


# Splits and shards
def test_fewer_images_than_shards_make_a_shard_for_each(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 3, "val": 1})
    found = built_of(streets, tmp_path / "out", "--shards", "8")
    assert {name: [shard.records for shard in split.shards] for name, split in found.manifest.splits.items()} == {
        "train": [1, 1, 1],
        "val": [1],
    }


def test_a_split_without_one_good_image_is_an_empty_split(tmp_path, tensorflow_ready):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    for frame in ("a", "b"):
        write_street(streets, f"val/bad/{frame}", image=b"")
    found = built_of(streets, tmp_path / "out")
    val = found.manifest.splits["val"]
    assert (val.records, val.ignored_pixels, val.sizes, set(val.class_pixels)) == (0, 0, {}, {0})
    assert {letter.code for letter in found.letters.values()} == {"image_empty"}
    files = [str(tmp_path / "out" / shard.file) for shard in val.shards]
    assert [os.path.getsize(file) for file in files] == [0, 0]
    assert list(tensorflow_ready.data.TFRecordDataset(files)) == []
    assert "val" in found.said


def test_an_input_with_a_whole_split_missing_its_images_is_told(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 2})
    write_street(streets, "val/a/b")[0].unlink()
    found = built_of(streets, tmp_path / "out")
    assert set(found.manifest.splits) == {"train"}
    assert [(letter.key, letter.code) for letter in found.letters.values()] == [("val/a/b", "no_image")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written_is_the_users_mistake(tmp_path, streets, command):
    (tmp_path / "locked").mkdir(mode=0o500)
    status, _, err = command(*arguments_for(streets, tmp_path / "locked" / "out"))
    assert (status, err) == (2, f"error: --output {tmp_path / 'locked' / 'out'}: cannot be written (Permission denied)")


# Runs: whatever the runner does with bundles, and wherever it runs, the bytes are those of a plain loop.
@pytest.mark.parametrize(
    "flags",
    [["--direct_runner_bundle_repeat=1"], ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]],
    ids=["every bundle replayed", "threads"],
)
def test_the_bytes_are_those_of_a_plain_loop(tmp_path, streets, command, flags):
    expected = for_loop(arguments_for(streets, tmp_path / "loop"), tmp_path / "loop")
    status, _, err = command(*arguments_for(streets, tmp_path / "out", *flags))
    assert (status, err) == (0, "")
    assert shard_hashes(tmp_path / "out") == expected
    assert sum(split.records for split in read_manifest(tmp_path / "out").splits.values()) == 9


def test_eight_workers_write_the_bytes_of_a_plain_loop(tmp_path, run_cli):
    streets = make_streets(tmp_path / "in", splits={"train": 24, "val": 3}, drives=4)
    write_pair(streets, next(case for case in BAD if case.code == "image_cut_off"))
    more = ["--shards", "8", "--max-bad-fraction", "1"]
    expected = for_loop(arguments_for(streets, tmp_path / "loop", *more), tmp_path / "loop")
    assert len(expected) == 8 + 3
    done = run_cli(
        "beam_jobs.build_records", *arguments_for(streets, tmp_path / "out", *more, "--workers", "8"), cwd=tmp_path
    )
    assert (done.returncode, without_bars(done.stderr)) == (0, "")
    assert shard_hashes(tmp_path / "out") == expected


def test_neither_hash_seed_nor_folder_is_in_the_bytes_of_hostile_input(tmp_path, run_cli):
    # Dead letters, odd images and odd names too; the other hash seed is this process's own.
    streets = make_streets(tmp_path / "in", splits={"train": 2, "val": 1})
    for case in (*BAD, *ODD):
        if "100,000" not in case.name and "10,000" not in case.name:
            write_pair(streets, case)
    expected = for_loop(arguments_for(streets, tmp_path / "loop"), tmp_path / "loop")
    (tmp_path / "elsewhere").mkdir()
    outputs = []
    for seed in ("0", "1"):
        arguments = arguments_for(Path("../in"), Path(f"out{seed}"), "--max-bad-fraction", "1")
        done = run_cli("beam_jobs.build_records", *arguments, cwd=tmp_path / "elsewhere", env={"PYTHONHASHSEED": seed})
        assert (done.returncode, without_bars(done.stderr)) == (0, "")
        outputs.append(tmp_path / "elsewhere" / f"out{seed}")
        assert shard_hashes(outputs[-1]) == expected
    letters = [(output / "dead_letters.jsonl").read_bytes() for output in outputs]
    assert letters[0] == letters[1] != b""


# Statistics
def test_void_images_and_absent_classes_count_as_what_they_are(tmp_path):
    streets = tmp_path / "in"
    write_street(streets, "train/a/void", objects=[{"label": "void", "polygon": box(0, 0, 63, 47)}])
    write_street(streets, "train/a/nothing", objects=[])
    write_street(streets, "train/a/covered", objects=[ALL_ROAD])
    train = built_of(streets, tmp_path / "out").manifest
    # Two images of 48 · 64 = 3072 pixels are not scored, one is road all over.
    split = train.splits["train"]
    assert split.ignored_pixels == 2 * 3072
    assert dict(zip(CLASS, split.class_pixels, strict=True)) == {**dict.fromkeys(CLASS, 0), "road": 3072}
    assert dict(zip(CLASS, split.class_images, strict=True)) == {**dict.fromkeys(CLASS, 0), "road": 1}
    # Road's frequency is 3072 / 3072 and the only one, so the median over it is 1; what never occurs weighs nothing.
    assert dict(zip(CLASS, train.class_weights, strict=True)) == {**dict.fromkeys(CLASS, 0.0), "road": 1.0}


def test_a_set_that_is_all_void_has_no_weights_and_still_channels(tmp_path):
    write_street(tmp_path / "in", "train/a/void", objects=[])
    manifest = built_of(tmp_path / "in", tmp_path / "out").manifest
    assert set(manifest.class_weights) == {0.0}
    assert manifest.channels is not None
    assert manifest.channels.images == 1


def test_counts_beyond_2_to_the_31_are_exact(tmp_path, monkeypatch):
    streets = make_streets(tmp_path / "in", splits={"train": 6})
    plain = planned(arguments_for(streets, tmp_path / "plain"), tmp_path / "plain")
    large = planned(arguments_for(streets, tmp_path / "large"), tmp_path / "large")
    for index in range(2):
        build_shard(plain, tmp_path / "plain", index)
    real, times = shards.build_record, 2**31 + 1

    def multiplied(*given: Any) -> Any:
        made = real(*given)
        channels = made.channels and tuple(sums * times for sums in made.channels)
        return made._replace(id_pixels=made.id_pixels * times, channels=channels)

    monkeypatch.setattr(shards, "build_record", multiplied)
    for index in range(2):
        build_shard(large, tmp_path / "large", index)
    small, big = (reconcile(tmp_path / name, plan).manifest for name, plan in (("plain", plain), ("large", large)))
    one, other = small.splits["train"], big.splits["train"]
    assert max(other.class_pixels) > 2**31
    assert other.class_pixels == tuple(count * times for count in one.class_pixels)
    assert other.ignored_pixels == one.ignored_pixels * times
    assert other.class_images == one.class_images
    assert big.class_weights == small.class_weights
    assert big.channels is not None
    assert small.channels is not None
    # Each image still has 48 · 64 pixels, so the mean is as many times larger.
    np.testing.assert_allclose(big.channels.mean, np.array(small.channels.mean) * times, rtol=1e-6)


def names(cases: Sequence[Bad | Odd]) -> list[str]:
    return [case.name for case in cases]


def test_no_case_stands_twice():
    assert len(set(names(BAD) + names(ODD))) == len(BAD) + len(ODD)
