"""Tests of a worker's work as plain functions: one planned shard to its bytes and its sidecar."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from beam_jobs import convert, shards
from beam_jobs.annotation import BadInput
from beam_jobs.convert import build_record, read_file
from beam_jobs.images import decode_rgb
from beam_jobs.options import BuildOptions
from beam_jobs.plan import Plan, make_plan, progress_path, write_plan
from beam_jobs.scan import scan
from beam_jobs.shards import BuildShard, build_shard, read_sidecar, sidecar_path
from configs.taxonomy import load_taxonomy
from pipelines.files import sha256_file
from pipelines.records import read_records
from tests.streets import make_streets, write_street


def planned(streets: Path, output: Path, **options: object) -> Plan:
    plan = make_plan(scan(streets), streets, load_taxonomy("camvid11"), BuildOptions(**options), "")
    write_plan(output, plan)
    return plan


def build_one(streets: Path, output: Path, **options: object) -> shards.Sidecar:
    return build_shard(planned(streets, output, shards=1, **options), output, 0)


def drawn_by_hand(annotation: Path) -> np.ndarray:
    """The mask by the rule of Cityscapes' tools: paint polygon after polygon on 255."""
    values, names = json.loads(annotation.read_text()), load_taxonomy("camvid11").class_names
    picture = Image.new("L", (values["imgWidth"], values["imgHeight"]), 255)
    for entry in values["objects"]:
        ImageDraw.Draw(picture).polygon([tuple(p) for p in entry["polygon"]], fill=names.index(entry["label"]))
    return np.asarray(picture)


def test_a_record_holds_the_sources_bytes_and_the_drawn_mask(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    plan = planned(streets, tmp_path / "out", shards=1)
    build_shard(plan, tmp_path / "out", 0)
    found = list(read_records(tmp_path / "out" / plan.shard_files[0]))
    assert [record.key for record in found] == [pair.key for pair in plan.shards[0].pairs]
    for record, pair in zip(found, plan.shards[0].pairs, strict=True):
        assert (record.filename, record.height, record.width, record.image_format) == (pair.image, 48, 64, "jpeg")
        assert record.image == (streets / pair.image).read_bytes()
        np.testing.assert_array_equal(Image.open(io.BytesIO(record.mask)), drawn_by_hand(streets / pair.annotation))


def test_the_same_shard_is_the_same_bytes_a_second_time_and_elsewhere(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 5})
    first = build_one(streets, tmp_path / "a")
    (tmp_path / "a" / first.file).unlink()
    again = build_one(streets, tmp_path / "a")
    elsewhere = build_one(streets, tmp_path / "b")
    assert first == again == elsewhere
    assert first.sha256 == sha256_file(tmp_path / "a" / first.file) == sha256_file(tmp_path / "b" / first.file)
    assert first.bytes == os.stat(tmp_path / "a" / first.file).st_size


def test_a_sidecar_counts_what_the_masks_hold(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 4}, seed=3)
    sidecar = build_one(streets, tmp_path / "out")
    masks = [drawn_by_hand(path) for path in streets.rglob("*_polygons.json")]
    counts = np.array([np.bincount(mask.ravel(), minlength=256) for mask in masks])
    present = counts[:, :11] > 0
    assert sidecar.class_pixels == tuple(counts[:, :11].sum(axis=0))
    assert sidecar.class_images == tuple(present.sum(axis=0))
    assert sidecar.pixels_where_present == tuple((present * counts[:, :11].sum(axis=1, keepdims=True)).sum(axis=0))
    assert sidecar.ignored_pixels == counts[:, 255].sum()
    assert sidecar.sizes == {"48x64": 4}
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in streets.rglob("*.jpg")])
    assert sidecar.channel_sums == tuple(pixels.sum(axis=0, dtype=np.int64))
    assert sidecar.channel_square_sums == tuple((pixels.astype(np.int64) ** 2).sum(axis=0))
    assert (sidecar.channel_pixels, sidecar.channel_images) == (4 * 48 * 64, 4)


def damage(streets: Path) -> dict[str, str]:
    """Add one bad pair of each kind; returns frame → the code that it must get."""
    text = json.dumps({"imgHeight": 48, "imgWidth": 64, "objects": [{"label": "zebra", "polygon": []}]})
    wrong = {
        "empty_image": ("image_empty", b"", None),
        "text_image": ("not_an_image", b"<html>", None),
        "unknown": ("unknown_label", None, text),
        "not_json": ("annotation_not_json", None, "{"),
        "no_annotation_bytes": ("annotation_empty", None, ""),
        "half": ("unknown_label", None, text.replace("zebra", "\\ud800")),
        "size": ("size_differs", None, text.replace("64", "65")),
    }
    for number, (frame, (_, image, annotation)) in enumerate(wrong.items()):
        _, path = write_street(streets, f"train/bad/{frame}", seed=number, image=image)
        if annotation is not None:
            path.write_text(annotation)
    return {frame: code for frame, (code, _, _) in wrong.items()}


def test_each_bad_pair_is_a_dead_letter_with_code_and_file_and_nothing_else_is_lost(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 4})
    codes = damage(streets)
    sidecar = build_one(streets, tmp_path / "out")
    assert {letter.key.rpartition("/")[2]: letter.code for letter in sidecar.dead_letters} == codes
    assert (sidecar.planned, sidecar.records) == (4 + len(codes), 4)
    for letter in sidecar.dead_letters:
        assert letter.stage == "build"
        assert letter.message.startswith(f"{letter.source}: ")
        assert (streets / letter.source).is_file()
    assert read_sidecar(tmp_path / "out", sidecar.file, sidecar.plan_digest) == sidecar


def test_a_size_that_differs_is_told_height_first(tmp_path):
    write_street(tmp_path / "in", "train/a/b", size=(48, 64))
    path = tmp_path / "in/gtFine/train/a/b_gtFine_polygons.json"
    path.write_text(json.dumps({"imgHeight": 64, "imgWidth": 48, "objects": []}))
    (letter,) = build_one(tmp_path / "in", tmp_path / "out").dead_letters
    assert letter.message == (
        "gtFine/train/a/b_gtFine_polygons.json: the image is 48x64, its annotation says 64x48 (height x width); "
        "--set rescale_polygons=true scales it"
    )


def test_a_file_that_went_between_plan_and_build_is_a_dead_letter(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    plan = planned(streets, tmp_path / "out", shards=1)
    gone = plan.shards[0].pairs[1]
    (streets / gone.image).unlink()
    (letter,) = build_shard(plan, tmp_path / "out", 0).dead_letters
    assert (letter.code, letter.message) == ("file_unreadable", f"{gone.image}: No such file or directory")


def test_a_large_annotation_is_refused_before_it_is_read(tmp_path):
    write_street(tmp_path / "in", "train/a/b")
    (letter,) = build_one(tmp_path / "in", tmp_path / "out", max_annotation_bytes=100).dead_letters
    assert letter.code == "annotation_too_large"
    assert letter.message.endswith(" bytes is above the limit of 100")


@pytest.fixture
def failing_reads(monkeypatch: pytest.MonkeyPatch):
    """``failing_reads(n)`` makes the first n reads of every file fail; returns the list of waits in seconds."""
    waits: list[float] = []
    monkeypatch.setattr(convert.time, "sleep", waits.append)

    def fail(times: int) -> list[float]:
        left: dict[Path, int] = {}
        real = Path.read_bytes

        def read_bytes(path: Path) -> bytes:
            left[path] = left.get(path, times) - 1
            if left[path] >= 0:
                raise OSError(errno.EIO, "Input/output error")
            return real(path)

        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        return waits

    return fail


def test_a_read_that_fails_twice_and_then_works_is_no_fault(tmp_path, failing_reads):
    path = tmp_path / "file"
    path.write_bytes(b"data")
    waits = failing_reads(2)
    assert read_file(path) == b"data"
    assert waits == [0.1, 0.4]  # 0.1 · 4^0 and 0.1 · 4^1 seconds, none of them waited here


def test_a_read_that_always_fails_is_raised_and_no_dead_letter(tmp_path, failing_reads):
    path = tmp_path / "file"
    path.write_bytes(b"data")
    failing_reads(3)
    with pytest.raises(OSError, match="Input/output error"):
        read_file(path)


def test_a_missing_file_or_a_folder_is_bad_input_at_once(tmp_path, failing_reads):
    waits = failing_reads(0)
    for path, text in ((tmp_path / "no", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(BadInput) as caught:
            read_file(path)
        assert (caught.value.code, str(caught.value)) == ("file_unreadable", text)
    assert waits == []


def test_a_fault_in_mid_shard_leaves_no_shard_and_no_sidecar(tmp_path, monkeypatch):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    plan = planned(streets, tmp_path / "out", shards=1)
    monkeypatch.setattr(shards, "serialize", lambda record: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        build_shard(plan, tmp_path / "out", 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan"]


def test_resizing_keeps_the_ratio_and_fills_or_stretches(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 1}, drives=1)
    for mode, content in (("letterbox", (24, 32)), ("stretch", (24, 40))):
        plan = planned(streets, tmp_path / mode, resize=(24, 40), resize_mode=mode)
        record = build_record(plan, plan.shards[0].pairs[0], full_decode=True).record
        mask = np.asarray(Image.open(io.BytesIO(record.mask)))
        # 48x64 into 24x40: the scale is min(24/48, 40/64) = 0.5, so 24x32 hold the image and 8 columns are 255.
        assert (record.height, record.width) == mask.shape == (24, 40)
        assert decode_rgb(record.image).size == (40, 24)
        assert (mask[:, content[1] :] == 255).all()
        assert (mask[:, 0] != 255).all()


def test_images_that_cannot_be_kept_are_encoded_again_and_counted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 4)).astype(np.uint8)
    write_street(tmp_path / "in", "train/a/alpha", image=Image.fromarray(pixels), suffix=".png")
    write_street(tmp_path / "in", "train/a/cmyk", image=Image.new("CMYK", (64, 48)))
    sidecar = build_one(tmp_path / "in", tmp_path / "out")
    found = {record.key[8:]: record for record in read_records(tmp_path / "out" / sidecar.file)}
    assert {key: record.image_format for key, record in found.items()} == {"alpha": "png", "cmyk": "jpeg"}
    assert Image.open(io.BytesIO(found["cmyk"].image)).mode == "RGB"
    np.testing.assert_array_equal(decode_rgb(found["alpha"].image), pixels[..., :3])
    assert sidecar.counts["images_encoded_again"] == 2


def test_a_sidecar_counts_only_for_its_plan_and_its_size(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 2})
    sidecar = build_one(streets, tmp_path / "out")
    output, file, digest = tmp_path / "out", sidecar.file, sidecar.plan_digest
    assert read_sidecar(output, file, digest) == sidecar
    assert read_sidecar(output, file, "another") is None
    with open(output / file, "ab") as shard:
        shard.write(b"x")
    assert read_sidecar(output, file, digest) is None
    (output / file).unlink()
    assert read_sidecar(output, file, digest) is None
    sidecar_path(output, file).write_text("{")
    assert read_sidecar(output, file, digest) is None


def test_progress_is_a_byte_for_every_image_good_or_bad(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    write_street(streets, "train/bad/empty", image=b"")
    build_one(streets, tmp_path / "out")
    assert progress_path(tmp_path / "out", 0).read_bytes() == b"...."


def test_the_dofn_is_the_function_on_a_list(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 4})
    plan = planned(streets, tmp_path / "out", shards=2)
    function = BuildShard(str(tmp_path / "out"))
    function.setup()
    results = [result for index in (1, 0) for result in function.process(index)]
    assert [result["file"] for result in results] == [plan.shard_files[1], plan.shard_files[0]]
    assert results[1] == build_shard(plan, tmp_path / "out", 0).model_dump(mode="json")


def test_a_file_name_that_is_not_utf8_costs_itself_at_most(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 2})
    image, annotation = write_street(streets, "train/drive00/x")
    for path in (image, annotation):
        odd = os.fsencode(path.parent) + b"/\xff" + os.fsencode(path.name)
        os.rename(path, odd)
    sidecar = build_one(streets, tmp_path / "out")
    assert sidecar.records + len(sidecar.dead_letters) + len(scan(streets).dead_letters) == 3
    assert sidecar.records >= 2
