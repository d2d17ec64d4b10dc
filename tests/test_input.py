"""From shards to batches: every record once an epoch, in an order that is a function of (seed, epoch)."""

import shutil

import numpy as np
import pytest

from configs.commands import UserError


@pytest.fixture
def records(tensorflow_ready, tiny_records):
    from pipelines.input import open_records

    return open_records(tiny_records)


def epoch(records, **settings):
    """All images and masks of an epoch, joined."""
    from pipelines.input import DataOptions, training_batches

    defaults = {"batch_size": 4, "stride": 32, "seed": 1, "epoch": 0}
    batches = list(training_batches(records, DataOptions(shuffle_buffer=8), **{**defaults, **settings}))
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def test_an_epoch_holds_every_record_once_on_the_networks_canvas(records):
    from pipelines.records import read_records

    images, masks = epoch(records)
    assert images.dtype == masks.dtype == np.uint8
    assert images.shape == (10, 64, 64, 3)  # 48 x 64 filled up to multiples of 32
    assert (masks[:, 48:] == 255).all()
    assert (images[:, 48:] == 0).all()
    assert len({image.tobytes() for image in images}) == 10
    stored = {record.mask for shard in records.shards("train") for record in read_records(records.folder / shard.file)}
    assert len(stored) == 10


def test_masks_arrive_as_they_were_stored(records):
    import io

    from PIL import Image

    from pipelines.records import read_records

    _, masks = epoch(records)
    stored = [
        np.asarray(Image.open(io.BytesIO(record.mask)))
        for shard in records.shards("train")
        for record in read_records(records.folder / shard.file)
    ]
    assert sorted(m[:48].tobytes() for m in masks) == sorted(np.array(m).tobytes() for m in stored)


def test_the_order_is_a_function_of_seed_and_epoch(records):
    first = epoch(records)[0]
    np.testing.assert_array_equal(first, epoch(records)[0])
    assert not np.array_equal(first, epoch(records, epoch=1)[0])
    assert not np.array_equal(first, epoch(records, seed=2)[0])


def test_going_on_gives_the_rest_of_the_epoch(records):
    np.testing.assert_array_equal(epoch(records, skip_batches=1)[0], epoch(records)[0][4:])


def test_two_replicas_share_the_joined_batch_in_order(records):
    whole, split = epoch(records), epoch(records, replicas=2)
    np.testing.assert_array_equal(split[0], whole[0])
    np.testing.assert_array_equal(split[1], whole[1])


def test_images_are_fitted_to_the_recipes_size(records):
    from pipelines.input import DataOptions, training_batches

    batches = training_batches(records, DataOptions(size=(24, 32)), batch_size=4, stride=32, seed=1, epoch=0)
    images, masks = next(iter(batches))
    assert images.shape == (4, 32, 32, 3)
    assert (masks.numpy()[:, 24:] == 255).all()
    assert (masks.numpy()[:, :24] != 255).any()


def test_evaluation_keeps_masks_at_their_own_size_in_the_order_of_the_records(records):
    from pipelines.input import evaluation_batches

    batches = list(evaluation_batches(records, "val", (24, 32), batch_size=4, stride=32))
    assert [tuple(b[0].shape) for b in batches] == [(4, 32, 32, 3), (1, 32, 32, 3)]
    assert [tuple(b[1].shape) for b in batches] == [(4, 48, 64), (1, 48, 64)]


def test_records_of_several_sizes_are_grouped_by_size(tensorflow_ready, make_street_folder, tmp_path):
    from beam_jobs.build_records import build
    from beam_jobs.options import BuildOptions
    from pipelines.input import evaluation_batches, network_size, open_records

    streets = make_street_folder(tmp_path / "streets", splits={"train": 2, "val": 3}, size=(48, 64))
    make_street_folder(tmp_path / "streets", splits={"val/other": 2}, size=(40, 80), seed=5)
    build(BuildOptions(input=streets, output=tmp_path / "records", taxonomy="camvid11", workers=1))
    mixed = open_records(tmp_path / "records")
    with pytest.raises(UserError, match=r"records have 2 sizes.*--set data.size=\[48,64\]"):
        network_size(mixed.manifest, None)
    batches = evaluation_batches(mixed, "val", (48, 64), batch_size=4, stride=32)
    assert sorted(tuple(b[1].shape) for b in batches) == [(2, 40, 80), (3, 48, 64)]


def test_a_missing_or_changed_shard_is_refused_by_name(tensorflow_ready, tiny_records, tmp_path):
    from pipelines.input import open_records

    copy = shutil.copytree(tiny_records, tmp_path / "copy")
    shard = next(path for path in sorted(copy.glob("*.tfrecord-*")) if path.suffix != ".json")
    with open(shard, "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=rf"{shard.name}: \d+ bytes, the manifest says \d+"):
        open_records(copy)
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard.name}: missing, though the manifest lists it"):
        open_records(copy)


def test_a_split_that_is_not_there_is_refused_with_those_that_are(records):
    with pytest.raises(UserError, match="split 'test' is not in the records; there are train, val"):
        records.shards("test")
