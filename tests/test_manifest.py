"""Tests of the manifest: class weights worked out by hand, and what a reader says of a folder that has none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from configs.commands import UserError
from configs.taxonomy import load_taxonomy
from pipelines.manifest import (
    FILE_NAME,
    ChannelStatistics,
    Manifest,
    Shard,
    Split,
    median_frequency_weights,
    read_manifest,
    write_manifest,
)


def split(sizes: dict[str, int]) -> Split:
    records = sum(sizes.values())
    shard = Shard(file="x-train.tfrecord-00000-of-00001", records=records, bytes=10, sha256="0" * 64)
    return Split(
        shards=(shard,), records=records, class_pixels=(1,) * 11, class_images=(1,) * 11, ignored_pixels=3, sizes=sizes
    )


def manifest(**changes: object) -> Manifest:
    values = {
        "schema_version": 1,
        "name": "x",
        "taxonomy": load_taxonomy("camvid11"),
        "splits": {"train": split({"48x64": 2, "360x480": 1}), "val": split({"48x64": 3})},
        "class_weights": (1.0,) * 11,
        "channels": ChannelStatistics(split="train", images=2, mean=(1.0, 2.0, 3.0), deviation=(4.0, 5.0, 6.0)),
        "planned": 6,
        "dead_letters": 0,
        "plan_digest": "d",
        "versions": {"pillow": "12"},
        "command_line": "python",
    }
    return Manifest(**{**values, **changes})


def test_weights_are_the_median_frequency_over_the_frequency():
    # Image A, 100 scored pixels: class 0 has 80, class 1 has 20.
    # Image B,  50 scored pixels: class 0 has 40, class 2 has 10.
    # Frequencies: class 0 120/150 = 0.8, class 1 20/100 = 0.2, class 2 10/50 = 0.2; class 3 does not occur.
    # Median of 0.8, 0.2, 0.2 is 0.2; weights 0.2/0.8 = 0.25, 1, 1, and 0 for class 3.
    weights = median_frequency_weights(np.array([120, 20, 10, 0]), np.array([150, 100, 50, 0]))
    assert weights == (0.25, 1.0, 1.0, 0.0)


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    # Frequencies 0.25 and 0.75, median 0.5; weights 0.5/0.25 = 2 and 0.5/0.75 = 0.666667 (six decimals).
    assert median_frequency_weights(np.array([1, 3]), np.array([4, 4])) == (2.0, 0.666667)


def test_a_class_that_covers_everything_has_weight_1_and_no_pixels_give_zeros():
    assert median_frequency_weights(np.array([0, 9]), np.array([0, 9])) == (0.0, 1.0)
    assert median_frequency_weights(np.zeros(3, np.int64), np.zeros(3, np.int64)) == (0.0, 0.0, 0.0)


def test_counts_beyond_32_bits_are_exact():
    huge = 2**40
    assert median_frequency_weights(np.array([huge, 3 * huge]), np.array([4 * huge, 4 * huge])) == (2.0, 0.666667)


def test_a_manifest_reads_back(tmp_path):
    write_manifest(tmp_path, manifest())
    assert read_manifest(tmp_path) == manifest()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_sizes_are_height_and_width_over_all_splits():
    assert manifest().sizes() == {(48, 64): 5, (360, 480): 1}


def test_an_unknown_split_lists_those_there_are():
    assert manifest().split("val").records == 3
    with pytest.raises(UserError) as caught:
        manifest().split("test")
    assert str(caught.value) == "split 'test' is not in the records; there are train, val"


def test_a_folder_without_a_manifest_is_told_how_to_get_one(tmp_path):
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no records here (manifest.json is missing); build them as the recipe's header says, or with "
        f"python -m beam_jobs.build_records --input DIR --output {tmp_path} --set taxonomy=NAME (without them: "
        "the sample streets, in data/records)"
    )


def test_a_manifest_of_another_version_is_refused(tmp_path):
    write_manifest(tmp_path, manifest(schema_version=2))
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / FILE_NAME}: schema version 2, this program reads 1; build the records again"
    )


DAMAGED = {
    "empty": "",
    "list": "[]",
    "number": "3",
    "cut": "{",
    "bytes": "\xff",
    "half": json.dumps({"schema_version": 1}),
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_one_line(tmp_path, text):
    (tmp_path / FILE_NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / FILE_NAME}: damaged (")
    assert message.endswith("; build the records again with --overwrite")
    assert "\n" not in message


def test_a_built_manifest_counts_every_pixel(tiny_records):
    built = read_manifest(tiny_records)
    assert {name: entry.records for name, entry in built.splits.items()} == {"train": 10, "val": 5}
    for entry in built.splits.values():
        # 48 · 64 = 3072 pixels an image, of which the strip of 64/8 = 8 columns, 48 · 8 = 384, is canvas.
        assert sum(entry.class_pixels) + entry.ignored_pixels == 3072 * entry.records
        assert entry.ignored_pixels == 384 * entry.records
    assert built.sizes() == {(48, 64): 15}
