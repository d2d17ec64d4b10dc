"""Tests of the plan: splits, order, shards of exact lengths, and a digest of what decides the bytes only."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from beam_jobs.options import NOT_IN_BYTES, BuildOptions
from beam_jobs.plan import (
    Plan,
    make_plan,
    progress_path,
    read_plan,
    read_planned_shard,
    shard_count,
    statistics_step,
    write_plan,
)
from beam_jobs.scan import Pair, Scan, group_of, scan
from beam_jobs.splits import assign_splits, statistics_split
from configs.taxonomy import load_taxonomy
from tests.streets import make_streets

CAMVID = load_taxonomy("camvid11")


def pair(key: str) -> Pair:
    return Pair(key, f"{key}.jpg", f"{key}.json", 1, 2, 3, 4)


def pairs_of(groups: int, frames: int, prefix: str = "") -> list[Pair]:
    return [pair(f"{prefix}drive{group:02d}/{frame:04d}") for group in range(groups) for frame in range(frames)]


def plan_of(pairs: list[Pair], folder: Path = Path("in"), **options: object) -> Plan:
    return make_plan(Scan(pairs, [], "cityscapes"), folder, CAMVID, BuildOptions(**options), "")


def test_folders_that_name_a_split_decide_it():
    splits = assign_splits([pair("train/a/1"), pair("val/a/1"), pair("test/b/1"), pair("validation/c/1")], "s", 0.15)
    assert {name: [entry.key for entry in found] for name, found in splits.items()} == {
        "test": ["test/b/1"],
        "train": ["train/a/1"],
        "val": ["val/a/1", "validation/c/1"],
    }


def test_groups_never_straddle_splits():
    splits = assign_splits(pairs_of(20, 5), "s", 0.15)
    groups = {name: {group_of(entry.key) for entry in found} for name, found in splits.items()}
    assert {name: len(found) for name, found in groups.items()} == {"train": 17, "val": 3}  # 20 · 0.15 = 3
    assert not groups["train"] & groups["val"]
    assert sum(len(found) for found in splits.values()) == 100


@pytest.mark.parametrize(
    ("groups", "fraction", "validation"), [(2, 0.15, 1), (3, 0.15, 1), (2, 0.9, 1), (10, 0.0, 0), (10, 0.25, 2)]
)
def test_at_least_one_group_trains_and_for_a_fraction_one_validates(groups, fraction, validation):
    # 10 · 0.25 = 2.5, which Python rounds to the even 2.
    splits = assign_splits(pairs_of(groups, 3), "s", fraction)
    assert len(splits.get("val", [])) == 3 * validation
    assert len(splits["train"]) == 3 * (groups - validation)


def test_a_single_group_is_split_image_by_image():
    splits = assign_splits(pairs_of(1, 20), "s", 0.15)
    assert {name: len(found) for name, found in splits.items()} == {"train": 17, "val": 3}


def test_one_image_alone_trains():
    assert list(assign_splits([pair("frame")], "s", 0.15)) == ["train"]


def test_splits_are_stable_when_images_come_and_depend_on_the_salt():
    before = {group_of(entry.key) for entry in assign_splits(pairs_of(20, 5), "s", 0.15)["val"]}
    after = {group_of(entry.key) for entry in assign_splits(pairs_of(20, 9), "s", 0.15)["val"]}
    other = {group_of(entry.key) for entry in assign_splits(pairs_of(20, 5), "t", 0.15)["val"]}
    assert before == after
    assert before != other


@pytest.mark.parametrize(
    ("images", "wanted", "count"),
    [
        (1, 0, 1),
        (64, 0, 1),
        (65, 0, 2),
        (400, 0, 8),
        (2000, 0, 32),
        (100_000, 0, 128),
        (10, 3, 3),
        (2, 8, 2),
        (0, 0, 1),
        (0, 4, 1),
    ],
)
def test_the_number_of_shards_follows_from_images_and_shards_alone(images, wanted, count):
    assert shard_count(images, wanted) == count


def test_shards_cut_all_pairs_into_lengths_that_differ_by_one_at_most():
    plan = plan_of(pairs_of(1, 10, "train/"), shards=3, name="demo")
    # 10 in 3: cuts at 10·1//3 = 3 and 10·2//3 = 6.
    assert [len(shard.pairs) for shard in plan.shards] == [3, 3, 4]
    assert plan.shard_files == tuple(f"demo-train.tfrecord-{index:05d}-of-00003" for index in range(3))
    keys = [entry.key for shard in plan.shards for entry in shard.pairs]
    assert sorted(keys) == [entry.key for entry in pairs_of(1, 10, "train/")]
    assert keys != sorted(keys)
    assert plan.planned == {"train": 10}


def test_the_order_is_of_the_salted_hash_and_not_of_the_listing():
    pairs = pairs_of(2, 10, "train/")
    assert plan_of(pairs).shards == plan_of(pairs[::-1]).shards
    assert plan_of(pairs).shards != plan_of(pairs, salt="other").shards


def test_channel_statistics_are_of_the_training_images_alone():
    shards = plan_of([*pairs_of(1, 20, "train/"), *pairs_of(1, 5, "val/")]).shards
    assert [sum(shard.statistics) for shard in shards] == [20, 0]
    assert statistics_split(["test", "val"]) == "test"
    assert statistics_split([]) is None


def test_the_digest_is_of_what_decides_the_bytes(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 4, "val": 2})
    found = scan(streets)

    def digest(taxonomy: str = "camvid11", folder: Path = streets, **options: object) -> str:
        given = {"input": folder, "taxonomy": taxonomy, **options}
        return make_plan(found, folder, load_taxonomy(taxonomy), BuildOptions(**given), "").digest

    base = digest()
    harmless = {
        "output": Path("elsewhere"),
        "workers": 7,
        "runner": "FlinkRunner",
        "overwrite": True,
        "max_bad_fraction": 0.5,
    }
    for key, value in harmless.items():
        assert digest(**{key: value}) == base, key
    decisive = {
        "unknown_labels": "skip",
        "resize": (24, 32),
        "resize_mode": "stretch",
        "resize_mask": "majority",
        "group_labels": "unknown",
        "deleted_objects": "draw",
        "few_points": "error",
        "rescale_polygons": True,
        "exif": "turn",
        "odd_images": "error",
        "jpeg_quality": 90,
        "shards": 2,
        "salt": "x",
        "validation_fraction": 0.5,
        "max_pixels": 10,
        "max_annotation_bytes": 10,
    }
    assert set(BuildOptions.model_fields) == {*decisive, *NOT_IN_BYTES}
    digests = [digest(**{key: value}) for key, value in decisive.items()]
    digests += [digest(name="other"), digest(taxonomy="cityscapes19")]
    assert len({base, *digests}) == len(digests) + 1


def test_the_digest_changes_with_a_file_and_not_with_the_folder(tmp_path):
    streets = make_streets(tmp_path / "in", splits={"train": 3})
    base = make_plan(scan(streets), streets, CAMVID, BuildOptions(), "").digest
    moved = tmp_path / "moved"
    shutil.copytree(streets, moved)  # copies modification times too
    assert make_plan(scan(moved), moved, CAMVID, BuildOptions(), "another command line").digest == base
    changed = moved / scan(moved).pairs[0].image
    os.utime(changed, ns=(1, 1))
    assert make_plan(scan(moved), moved, CAMVID, BuildOptions(), "").digest != base


def test_a_plan_folder_reads_back_shard_by_shard(tmp_path):
    plan = plan_of(pairs_of(2, 10, "train/"), folder=tmp_path, shards=3)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan.model_copy(update={"shards": ()})
    assert [read_planned_shard(tmp_path, index) for index in range(3)] == list(plan.shards)
    assert progress_path(tmp_path, 2).parent == tmp_path / "plan"
    # A worker reads its own shard only: plan.json holds no pair.
    assert "drive00/0000" not in (tmp_path / "plan" / "plan.json").read_text()


def test_a_plan_that_is_missing_or_damaged_raises_what_its_callers_catch(tmp_path):
    with pytest.raises(OSError, match=r"plan\.json"):
        read_plan(tmp_path)
    (tmp_path / "plan").mkdir()
    for text in ("", "{}", json.dumps([1])):
        (tmp_path / "plan" / "plan.json").write_text(text)
        with pytest.raises(ValueError, match="validation error"):
            read_plan(tmp_path)


@pytest.mark.parametrize(
    ("images", "each", "step"),
    [
        (10, 420_000, 1),  # 16 are always decoded, of fewer all
        (400, 420_000, 25),  # 400 / 16
        (4000, 420_000, 30),  # 420,000 / 14,000
        (4000, 5_000_000, 32),  # never rarer
        (367, 20_000, 1),
        (0, 0, 1),
    ],
)
def test_large_images_are_seldom_decoded_for_the_statistics_and_small_ones_often(images, each, step):
    assert statistics_step([each] * images) == step
