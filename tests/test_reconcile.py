"""Tests of reconciliation: a manifest only when every planned pair is a record or a dead letter, as the files say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beam_jobs.options import BuildOptions
from beam_jobs.plan import Plan, make_plan, write_plan
from beam_jobs.reconcile import DEAD_LETTERS, check_bad_fraction, finalize, reconcile, write_dead_letters
from beam_jobs.scan import DeadLetter, scan
from beam_jobs.shards import build_shard, sidecar_path
from configs.commands import RunError, UserError
from configs.taxonomy import load_taxonomy
from pipelines.manifest import FILE_NAME, median_frequency_weights, read_manifest
from tests.streets import make_streets, shard_hashes, write_street


def built(streets: Path, output: Path, **options: object) -> Plan:
    """Plan and build all shards in a plain loop, without Beam and without a manifest."""
    given = {"shards": 2, **options}
    plan = make_plan(scan(streets), streets, load_taxonomy("camvid11"), BuildOptions(**given), "python -m …")
    write_plan(output, plan)
    for index in range(len(plan.shards)):
        build_shard(plan, output, index)
    return plan


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    return make_streets(tmp_path / "in", splits={"train": 6, "val": 3}, seed=5)


def failure(output: Path, plan: Plan) -> str:
    with pytest.raises(RunError) as caught:
        reconcile(output, plan)
    assert not (output / FILE_NAME).exists()
    return str(caught.value)


def test_the_manifest_lists_every_shard_as_it_is_on_the_disk(tmp_path, streets):
    output = tmp_path / "out"
    plan = built(streets, output)
    manifest = reconcile(output, plan).manifest
    listed = {shard.file: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    assert listed == shard_hashes(output)
    assert len(listed) == 4
    assert {name: split.records for name, split in manifest.splits.items()} == {"train": 6, "val": 3}
    assert (manifest.planned, manifest.dead_letters, manifest.plan_digest) == (9, 0, plan.digest)
    assert manifest == read_manifest(output)
    assert manifest.command_line == "python -m …"
    assert not (output / "plan").exists()
    assert (output / DEAD_LETTERS).read_bytes() == b""


def test_weights_and_channels_are_of_the_training_images_alone(tmp_path, streets):
    output = tmp_path / "out"
    manifest = reconcile(output, built(streets, output)).manifest
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in streets.rglob("train/**/*.jpg")])
    assert manifest.channels is not None
    assert (manifest.channels.split, manifest.channels.images) == ("train", 6)
    np.testing.assert_allclose(manifest.channels.mean, pixels.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(manifest.channels.deviation, pixels.std(axis=0), atol=1e-4)
    train = manifest.splits["train"]
    # Every image has 48 · 56 = 2688 scored pixels, so a class's images tell the pixels where it is present.
    where_present = 2688 * np.array(train.class_images)
    assert manifest.class_weights == median_frequency_weights(np.array(train.class_pixels), where_present)


def test_a_missing_or_cut_shard_means_no_manifest(tmp_path, streets):
    output = tmp_path / "out"
    plan = built(streets, output)
    sidecar_path(output, plan.shard_files[1]).unlink()
    with open(output / plan.shard_files[3], "ab") as shard:
        shard.write(b"x")
    assert failure(output, plan) == (
        f"2 of 4 shards are missing or damaged, {plan.shard_files[1]} first; run the same command again to build them"
    )


def test_counts_that_do_not_add_up_mean_no_manifest(tmp_path, streets):
    output = tmp_path / "out"
    plan = built(streets, output)
    path = sidecar_path(output, plan.shard_files[0])
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "records": values["records"] - 1}))
    assert failure(output, plan) == "split train: 6 images planned, 5 accounted for; no manifest written"


def test_too_many_dead_letters_mean_no_manifest_but_a_list(tmp_path, streets):
    output = tmp_path / "out"
    image, _ = write_street(streets, "train/drive00/bad", image=b"")
    message = failure(output, built(streets, output, max_bad_fraction=0.09))
    source = image.relative_to(streets)
    assert message == (
        "1 of 10 inputs are bad, above --max-bad-fraction 0.09; most often image_empty (1 times), "
        f"first: {source}: the image file is empty All are in {output / DEAD_LETTERS}"
    )
    (line,) = (output / DEAD_LETTERS).read_text().splitlines()
    assert json.loads(line) == {
        "key": "train/drive00/bad",
        "stage": "build",
        "code": "image_empty",
        "message": f"{source}: the image file is empty",
        "source": str(source),
    }
    assert (output / "plan" / "plan.json").is_file()


def test_the_fraction_itself_is_still_allowed(tmp_path, streets):
    write_street(streets, "train/drive00/bad", image=b"")
    outcome = reconcile(tmp_path / "out", built(streets, tmp_path / "out", max_bad_fraction=0.1))  # 1 of 10
    assert outcome.manifest.dead_letters == len(outcome.dead_letters) == 1


def test_the_scan_s_dead_letters_count_as_input(tmp_path, streets):
    _, annotation = write_street(streets, "train/drive00/alone")
    annotation.unlink()
    outcome = reconcile(tmp_path / "out", built(streets, tmp_path / "out", max_bad_fraction=0.5))
    assert [(letter.stage, letter.code) for letter in outcome.dead_letters] == [("scan", "no_annotation")]
    assert (outcome.manifest.planned, outcome.manifest.dead_letters) == (10, 1)


def test_a_bad_fraction_is_of_all_inputs(tmp_path, streets):
    plan = built(streets, tmp_path / "out", max_bad_fraction=0.0)
    check_bad_fraction(tmp_path / "out", plan, [])
    with pytest.raises(RunError, match="1 of 9 inputs are bad"):
        check_bad_fraction(tmp_path / "out", plan, [DeadLetter("k", "scan", "no_image", "m", "s")])


def test_finalize_does_the_same_after_a_detached_run(tmp_path, streets):
    built(streets, tmp_path / "out")
    outcome = finalize(tmp_path / "out")
    assert outcome.manifest == read_manifest(tmp_path / "out")


def test_finalize_wants_a_plan(tmp_path):
    with pytest.raises(UserError) as caught:
        finalize(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no plan here; nothing to finalize"


def test_dead_letters_with_odd_names_are_still_json(tmp_path):
    letters = [
        DeadLetter("a\udcff\nb", "scan", "no_image", "é", "s"),
        DeadLetter("2", "build", "size_differs", 'say "x"', "t"),
    ]
    write_dead_letters(tmp_path, letters)
    lines = (tmp_path / DEAD_LETTERS).read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert [DeadLetter(**json.loads(line)) for line in lines] == letters


def test_a_set_that_is_all_bad_but_allowed_has_no_statistics(tmp_path):
    write_street(tmp_path / "in", "train/a/b", image=b"")
    outcome = reconcile(tmp_path / "out", built(tmp_path / "in", tmp_path / "out", max_bad_fraction=1.0))
    assert outcome.manifest.channels is None
    assert outcome.manifest.class_weights == (0.0,) * 11
    assert outcome.manifest.splits["train"].records == 0


def test_tfds_metadata_names_splits_shard_lengths_and_features(tiny_records):
    info = json.loads((tiny_records / "dataset_info.json").read_text())
    assert (info["name"], info["fileFormat"]) == ("tiny", "tfrecord")
    manifest = read_manifest(tiny_records)
    assert {split["name"]: split["shardLengths"] for split in info["splits"]} == {
        "train": ["5", "5"],
        "val": ["2", "3"],
    }
    sizes = {name: str(sum(shard.bytes for shard in split.shards)) for name, split in manifest.splits.items()}
    assert {split["name"]: split["numBytes"] for split in info["splits"]} == sizes
    features = json.loads((tiny_records / "features.json").read_text())["featuresDict"]["features"]
    assert set(features["image"]["featuresDict"]["features"]) == {
        *("encoded", "format", "height", "width", "filename", "source_id", "segmentation")
    }
