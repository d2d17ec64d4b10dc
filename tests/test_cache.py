"""Decoded images kept in memory or on disk: how large, where, and what does not fit."""

import re
import shutil

import numpy as np
import pytest

from configs.commands import UserError


@pytest.fixture
def records(tensorflow_ready, tiny_records, tmp_path):
    from pipelines.dataset import open_records

    return open_records(shutil.copytree(tiny_records, tmp_path / "records"))


def open_cache(records, **options):
    from pipelines.input import DataOptions, training_cache

    return training_cache(records, DataOptions(**options), 32)


def contents(cache, records=10):
    return [tuple(part.numpy() for part in cache.load(number)) for number in range(records)]


def test_size_is_stated_before_the_cache_is_filled(records, capsys):
    open_cache(records, cache="memory", size=(24, 40))
    # A canvas of 32x64 has 2048 pixels of 4 bytes; 10 of them are 81,920 bytes.
    assert "cache in memory: 10 decoded images of 32x64, 0.08 MB" in capsys.readouterr().out
    assert open_cache(records, cache="none") is None


def test_disk_and_memory_keep_the_same(records, capsys):
    memory, disk = (contents(open_cache(records, cache=kind)) for kind in ("memory", "disk"))
    for (image, mask), (other, other_mask) in zip(memory, disk, strict=True):
        assert image.shape == (64, 64, 3)
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(mask, other_mask)
    (file,) = (records.folder / "cache").iterdir()
    assert file.stat().st_size == 10 * 4 * 64 * 64
    assert f"in {file}" in capsys.readouterr().out


def test_the_file_of_an_earlier_run_is_used_again_unless_something_decisive_changed(records, capsys, monkeypatch):
    import pipelines.cache

    open_cache(records, cache="disk")
    written = []
    monkeypatch.setattr(
        pipelines.cache, "_write", lambda path, *rest: written.append(path) or path.write_bytes(bytes(163840))
    )
    open_cache(records, cache="disk")
    assert "there already in" in capsys.readouterr().out
    assert not written
    open_cache(records, cache="disk", size=(64, 64), fit="stretch")  # the same number of bytes, another fitting
    assert len(written) == 1


def test_a_cache_that_is_larger_than_free_memory_is_refused_with_the_way_out(records, monkeypatch):
    import pipelines.cache

    monkeypatch.setattr(pipelines.cache, "available_memory", lambda: 100_000)
    message = (
        "data.cache=memory: 10 decoded images of 64x64, 0.16 MB, but only 0.08 MB may be taken; set data.cache=disk"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        open_cache(records, cache="memory")


def test_a_cache_that_is_larger_than_the_disk_is_refused(records, monkeypatch):
    usage = shutil.disk_usage(records.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"data.cache=disk: .*0.00 MB may be taken; set data.cache=none"):
        open_cache(records, cache="disk")


def test_a_folder_that_cannot_be_written_is_one_line(records):
    (records.folder / "cache").write_text("a file in its place")
    with pytest.raises(UserError, match=r"data.cache=disk: .* cannot be written .*; set data.cache=none"):
        open_cache(records, cache="disk")


def test_whole_images_of_several_sizes_are_refused_with_the_way_out(records):
    split = records.manifest.splits["train"].model_copy(update={"sizes": {"48x64": 9, "40x80": 1}})
    manifest = records.manifest.model_copy(update={"splits": {**records.manifest.splits, "train": split}})
    mixed = records._replace(manifest=manifest)
    with pytest.raises(UserError, match=r"in 2 sizes \(48x64, 40x80\); set data.cache=none or data.fit=letterbox"):
        open_cache(mixed, cache="memory", fit="crop", size=(32, 32))
    assert open_cache(mixed, cache="memory", size=(32, 32))


def test_free_memory_is_a_number_of_bytes(tensorflow_ready):
    from pipelines.cache import available_memory

    assert 1e7 < available_memory() < 1e14
