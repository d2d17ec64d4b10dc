"""TensorFlow Datasets opens our folders, and the two files written for it are those it would write."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from pipelines.manifest import read_manifest
from pipelines.records import read_records


@pytest.fixture(scope="module")
def tfds(tensorflow_ready):
    return pytest.importorskip("tensorflow_datasets")


def test_builder_from_directory_reads_every_record(tfds, tiny_records):
    builder = tfds.builder_from_directory(tiny_records)
    manifest = read_manifest(tiny_records)
    datasets = builder.as_dataset()
    for split, entry in manifest.splits.items():
        assert builder.info.splits[split].num_examples == entry.records
        ours = [record for shard in entry.shards for record in read_records(tiny_records / shard.file)]
        theirs = {bytes(example["image"]["source_id"]): example for example in datasets[split].as_numpy_iterator()}
        assert set(theirs) == {record.key.encode() for record in ours}
        for record in ours:
            image = theirs[record.key.encode()]["image"]
            assert (image["height"], image["width"]) == (record.height, record.width)
            assert image["encoded"] == record.image
            mask = np.asarray(Image.open(io.BytesIO(image["segmentation"]["class"]["encoded"])))
            np.testing.assert_array_equal(mask, np.asarray(Image.open(io.BytesIO(record.mask))))


def test_features_json_is_what_tfds_itself_writes(tfds, tiny_records, tmp_path):
    text, number, blob = tfds.features.Text(), tfds.features.Scalar(np.int64), tfds.features.Scalar(np.object_)
    image = {
        "encoded": blob,
        "format": text,
        "height": number,
        "width": number,
        "filename": text,
        "source_id": text,
        "segmentation": tfds.features.FeaturesDict({"class": {"encoded": blob, "format": text}}),
    }
    tfds.features.FeaturesDict({"image": image}).save_config(tmp_path)
    ours, theirs = (json.loads((folder / "features.json").read_text()) for folder in (tiny_records, tmp_path))
    assert ours == theirs


def test_dataset_info_agrees_with_what_tfds_computes(tfds, tiny_records, tmp_path):
    features = tfds.builder_from_directory(tiny_records).info.features
    splits = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=[shard.records for shard in split.shards],
            num_bytes=sum(shard.bytes for shard in split.shards),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=tmp_path, dataset_name="tiny", split=name, filetype_suffix="tfrecord"
            ),
        )
        for name, split in read_manifest(tiny_records).splits.items()
    ]
    for path in tiny_records.glob("*.tfrecord-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tfds.folder_dataset.write_metadata(data_dir=tmp_path, features=features, split_infos=splits)
    ours, theirs = (json.loads((folder / "dataset_info.json").read_text()) for folder in (tiny_records, tmp_path))
    assert {s["name"]: s["shardLengths"] for s in ours["splits"]} == {
        s["name"]: s["shardLengths"] for s in theirs["splits"]
    }
    assert ours["fileFormat"] == theirs["fileFormat"]
