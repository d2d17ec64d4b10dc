"""From shards to batches: every record once an epoch, in an order that is a function of (seed, epoch)."""

import hashlib
import shutil

import numpy as np
import pytest

from configs.commands import UserError


@pytest.fixture
def records(tensorflow_ready, tiny_records):
    from pipelines.dataset import open_records

    return open_records(tiny_records)


def batches(records, cached=False, options=None, epoch=0, skip_batches=0, **settings):
    """The elements of an epoch as (images, masks) of NumPy arrays."""
    from pipelines.input import DataOptions, training_batches, training_cache

    options = DataOptions(**(options or {}))
    cache = training_cache(records, options, 32) if cached else None
    settings = {"batch_size": 4, "stride": 32, "seed": 1, "cache": cache, **settings}
    return list(training_batches(records, options, lambda: (epoch, skip_batches), **settings).as_numpy_iterator())


def epoch(records, **settings):
    """All images and masks of an epoch, joined."""
    elements = batches(records, **settings)
    return np.concatenate([b[0] for b in elements]), np.concatenate([b[1] for b in elements])


def hashes(elements):
    """One hash for each batch."""
    return [hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest() for images, masks in elements]


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


FITS = [
    {"size": (24, 32)},
    {"size": (24, 40), "fit": "stretch"},
    {"size": (32, 32), "fit": "crop"},
    {"size": (32, 32), "fit": "crop", "rare_class_crop": 0.7},
]


@pytest.mark.parametrize("options", FITS, ids=lambda options: "-".join(map(str, options.values())))
def test_resumed_equals_unbroken_with_and_without_a_cache(records, options):
    plain = hashes(batches(records, options=options, epoch=3))
    assert len(set(plain)) == 3
    assert hashes(batches(records, options=options, epoch=3, skip_batches=1)) == plain[1:]
    kept = {**options, "cache": "memory"}
    assert hashes(batches(records, cached=True, options=kept, epoch=3)) == plain
    assert hashes(batches(records, cached=True, options=kept, epoch=3, skip_batches=2)) == plain[2:]
    assert hashes(batches(records, options=options, epoch=4)) != plain


@pytest.mark.parametrize("options", [FITS[0], FITS[3]], ids=["letterbox", "rare-windows"])
@pytest.mark.parametrize(("workers", "replicas"), [(2, 1), (2, 2), (3, 1)])
def test_workers_side_by_side_give_the_batches_of_one_process(records, options, workers, replicas):
    whole = batches(records, options=options, replicas=workers * replicas)
    parts = [
        batches(records, options=options, replicas=replicas, worker=worker, workers=workers)
        for worker in range(workers)
    ]
    joined = []
    for step in range(len(parts[0]) // replicas):
        joined += [element for part in parts for element in part[step * replicas : (step + 1) * replicas]]
    assert hashes(joined) == hashes(whole)


def test_one_data_set_serves_all_epochs(records):
    from pipelines.input import DataOptions, training_batches

    places = iter([(0, 0), (1, 0), (1, 2)])
    options = DataOptions(size=(32, 32), fit="crop")
    served = training_batches(records, options, lambda: next(places), batch_size=4, stride=32, seed=1)
    rounds = [hashes(served.as_numpy_iterator()) for _ in range(3)]
    assert rounds[0] == hashes(batches(records, options=options.model_dump()))
    assert rounds[1] == hashes(batches(records, options=options.model_dump(), epoch=1))
    assert rounds[2] == rounds[1][2:]


@pytest.mark.parametrize("replicas", [1, 2])
def test_no_iteration_ends_by_waiting_for_the_thread_that_tunes_it(records, replicas):
    """That thread sleeps up to a minute, and is not always woken; nothing is left to be tuned by it."""
    from pipelines.input import DataOptions, evaluation_batches, make_fitting, training_batches

    how = {"batch_size": 4, "replicas": replicas}
    fitting = make_fitting(records.manifest, DataOptions(), 32)
    for workers in (1, 2):
        training = training_batches(records, DataOptions(), lambda: (0, 0), stride=32, seed=1, workers=workers, **how)
        scoring = evaluation_batches(records, "val", fitting, workers=workers, **how)
        for given in (training, scoring):
            assert given.options().autotune.enabled is False


def test_a_worker_reads_only_its_own_records(records, monkeypatch):
    from pipelines.dataset import RecordReader

    numbers, read = [], RecordReader.read
    monkeypatch.setattr(RecordReader, "read", lambda self, number: numbers.append(int(number)) or read(self, number))
    batches(records, worker=1, workers=2, skip_batches=1)
    # Batches 1 and 2 of 10 records are positions 4..7 and 8..9; the second half of each is 6, 7 and 9.
    order = np.random.default_rng((1, 0)).permutation(10)
    assert sorted(numbers) == sorted(order[[6, 7, 9]])


def test_a_damaged_record_stops_the_epoch_by_name(tensorflow_ready, tiny_records, tmp_path):
    from pipelines.dataset import open_records

    copy = shutil.copytree(tiny_records, tmp_path / "copy")
    opened = open_records(copy)
    path = copy / opened.shards("train")[1].file
    data = bytearray(path.read_bytes())
    data[opened.offsets[path.name][3] + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(tensorflow_ready.errors.OpError, match=f"{path.name}: record 3: damaged"):
        batches(opened)


def test_two_replicas_share_the_joined_batch_in_order(records):
    whole, split = epoch(records), epoch(records, replicas=2)
    np.testing.assert_array_equal(split[0], whole[0])
    np.testing.assert_array_equal(split[1], whole[1])


def test_images_are_fitted_to_the_recipes_size(records):
    from pipelines.input import DataOptions, training_batches

    batches = training_batches(records, DataOptions(size=(24, 32)), lambda: (0, 0), batch_size=4, stride=32, seed=1)
    images, masks = next(iter(batches))
    assert images.shape == (4, 32, 32, 3)
    assert (masks.numpy()[:, 24:] == 255).all()
    assert (masks.numpy()[:, :24] != 255).any()


def test_evaluation_keeps_masks_at_their_own_size_in_the_order_of_the_records(records):
    from pipelines.fitting import Fitting
    from pipelines.input import evaluation_batches

    batches = list(evaluation_batches(records, "val", Fitting((24, 32), 32), batch_size=4))
    assert [tuple(b[0].shape) for b in batches] == [(4, 32, 32, 3), (1, 32, 32, 3)]
    assert [tuple(b[1].shape) for b in batches] == [(4, 48, 64), (1, 48, 64)]


def test_records_of_several_sizes_are_grouped_by_size(tensorflow_ready, make_street_folder, tmp_path):
    from beam_jobs.build_records import build
    from beam_jobs.options import BuildOptions
    from pipelines.dataset import open_records
    from pipelines.fitting import Fitting
    from pipelines.input import evaluation_batches, network_size

    streets = make_street_folder(tmp_path / "streets", splits={"train": 2, "val": 3}, size=(48, 64))
    make_street_folder(tmp_path / "streets", splits={"val/other": 2}, size=(40, 80), seed=5)
    build(BuildOptions(input=streets, output=tmp_path / "records", taxonomy="camvid11", workers=1))
    mixed = open_records(tmp_path / "records")
    with pytest.raises(UserError, match=r"records have 2 sizes.*--set data.size=\[48,64\]"):
        network_size(mixed.manifest, None)
    batches = evaluation_batches(mixed, "val", Fitting((48, 64), 32), batch_size=4)
    assert sorted(tuple(b[1].shape) for b in batches) == [(2, 40, 80), (3, 48, 64)]


def test_windows_of_the_canvas_size_are_parts_of_the_stored_images(records):
    images, masks = epoch(records, options={"size": (30, 32), "fit": "crop"})
    assert images.shape == (10, 32, 32, 3)
    whole, whole_masks = epoch(records, options={"size": (48, 64)})
    for image, mask, stored, stored_mask in zip(images, masks, whole, whole_masks):
        found = [
            (top, left)
            for top in range(48 - 32 + 1)
            for left in range(64 - 32 + 1)
            if np.array_equal(stored[top : top + 32, left : left + 32], image)
        ]
        assert len(found) == 1
        (top, left) = found[0]
        np.testing.assert_array_equal(stored_mask[top : top + 32, left : left + 32], mask)


def test_stretching_leaves_nothing_to_fill(records):
    images, masks = epoch(records, options={"size": (32, 96), "fit": "stretch"})
    assert images.shape == (10, 32, 96, 3)
    # The street's right eighth is not scored, and nothing else: columns 84..95 of 96.
    assert (masks[:, :, :84] != 255).all()
    assert (masks[:, :, 84:] == 255).all()


def test_evaluation_under_crop_sees_every_pixel_of_the_image(records):
    from pipelines.fitting import Fitting
    from pipelines.input import evaluation_batches

    images, masks = next(iter(evaluation_batches(records, "val", Fitting((16, 16), 32, "crop"), batch_size=2)))
    assert images.shape == (2, 64, 64, 3)  # 48 x 64 as it is, filled up to multiples of 32
    assert masks.shape == (2, 48, 64)
    assert (images.numpy()[:, :48].max(axis=(1, 2, 3)) > 0).all()
    assert (images.numpy()[:, 48:] == 0).all()


def test_rare_windows_without_windows_are_refused():
    from configs.loading import load_config
    from pipelines.input import DataOptions

    with pytest.raises(UserError, match=r"rare_class_crop = 0.5: it chooses the windows of data.fit=crop"):
        load_config(DataOptions, overrides=["rare_class_crop=0.5"])
