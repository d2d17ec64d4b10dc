"""Tests of the record format: what we write without TensorFlow, TensorFlow reads, and byte for byte the same."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines import records
from pipelines.records import DamagedRecords, Record, deserialize, frame, read_frames, read_records, serialize
from tests.conftest import cli_environment


def picture_bytes(kind: str, seed: int = 0, height: int = 48, width: int = 64) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def mask_bytes(height: int = 48, width: int = 64) -> bytes:
    ids = np.tile(np.arange(width, dtype=np.uint8) % 11, (height, 1))
    ids[0] = 255
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, "PNG")
    return buffer.getvalue()


def record(number: int = 0) -> Record:
    key = f"train/drive00/främe{number:04d}"
    return Record(key, f"leftImg8bit/{key}.png", 48, 64, picture_bytes("PNG", number), "png", mask_bytes())


def test_a_record_reads_back():
    assert deserialize(serialize(record())) == record()


def test_tensorflow_parses_the_features_of_the_model_garden(tensorflow_ready):
    example = tensorflow_ready.train.Example.FromString(serialize(record()))
    found = {key: value.bytes_list.value or value.int64_list.value for key, value in example.features.feature.items()}
    assert {key: value[0] for key, value in found.items()} == {
        "image/encoded": record().image,
        "image/format": b"png",
        "image/height": 48,
        "image/width": 64,
        "image/filename": record().filename.encode(),
        "image/source_id": record().key.encode(),
        "image/segmentation/class/encoded": record().mask,
        "image/segmentation/class/format": b"png",
    }
    assert all(len(value) == 1 for value in found.values())


def test_a_file_of_frames_is_what_tensorflows_writer_writes(tmp_path, tensorflow_ready):
    examples = [serialize(record(number)) for number in range(3)] + [b""]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"".join(frame(example) for example in examples))
    with tensorflow_ready.io.TFRecordWriter(str(theirs)) as writer:
        for example in examples:
            writer.write(example)
    assert ours.read_bytes() == theirs.read_bytes()
    assert [item.numpy() for item in tensorflow_ready.data.TFRecordDataset(str(ours))] == examples
    assert list(read_frames(theirs)) == examples


def test_the_graph_s_reader_gives_the_pixels_that_pillow_sees(tensorflow_ready):
    image, mask = records.decode_example(records.parse_example(serialize(record())))
    assert (image.dtype, mask.dtype) == (tensorflow_ready.uint8, tensorflow_ready.uint8)
    np.testing.assert_array_equal(image, np.asarray(Image.open(io.BytesIO(record().image))))
    np.testing.assert_array_equal(mask, np.asarray(Image.open(io.BytesIO(record().mask))))


def test_a_grey_image_is_decoded_to_three_channels(tensorflow_ready):
    grey = record()._replace(image=mask_bytes())
    image, _ = records.decode_example(records.parse_example(serialize(grey)))
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert image.shape == (48, 64, 3)


def test_jpegs_are_decoded_as_pillow_decodes_them(tensorflow_ready):
    # INTEGER_ACCURATE gives Pillow's levels exactly here; TensorFlow's default method is up to 5 levels off.
    data = picture_bytes("JPEG")
    image, _ = records.decode_example(records.parse_example(serialize(record()._replace(image=data))))
    expected = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(image.numpy().astype(int) - expected).max() <= 1


def test_bytes_are_the_same_in_processes_that_hash_differently():
    program = (
        "import hashlib; from pipelines.records import Record, frame, serialize;"
        "data = frame(serialize(Record('train/a/b', 'b.jpg', 48, 64, bytes(range(256)), 'jpeg', b'mask')));"
        "import sys; sys.stdout.write(hashlib.sha256(data).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=cli_environment({"PYTHONHASHSEED": seed}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


def test_features_stand_in_sorted_order():
    data = serialize(record())
    places = [data.index(key.encode()) for key in sorted([records.HEIGHT, records.MASK, records.SOURCE_ID])]
    assert places == sorted(places)


def test_every_cut_but_between_records_is_found(tmp_path):
    whole = frame(b"first") + frame(b"second")  # 12 + 5 + 4 = 21 bytes, then 12 + 6 + 4 = 22
    path = tmp_path / "shard"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in (0, 21):
            assert list(read_frames(path)) == [b"first"][: int(length == 21)]
        else:
            with pytest.raises(DamagedRecords, match=f"record {int(length > 21)}: damaged"):
                list(read_frames(path))


def test_every_flipped_bit_is_found(tmp_path):
    whole, path = frame(b"first"), tmp_path / "shard"
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedRecords):
            list(read_frames(path))


def test_damage_is_named_with_file_and_record(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(frame(b"first") + frame(b"second")[:-1])
    with pytest.raises(DamagedRecords) as caught:
        list(read_frames(path))
    assert str(caught.value) == f"{path}: record 1: damaged or cut off"
    path.write_bytes(b"text")
    with pytest.raises(DamagedRecords, match="record 0: damaged length"):
        list(read_frames(path))


def test_an_example_without_our_features_is_refused_by_name(tensorflow_ready):
    tf = tensorflow_ready
    number = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    other = tf.train.Example(features=tf.train.Features(feature={"label": number}))
    with pytest.raises(DamagedRecords, match="lacks feature 'image/source_id'"):
        deserialize(other.SerializeToString())
    with pytest.raises(DamagedRecords, match="not an Example"):
        deserialize(b"\xff\xff text")


def test_a_built_shard_is_read_in_its_order(tiny_records):
    paths = sorted(tiny_records.glob("tiny-train.tfrecord-*-of-00002"))
    found = [entry.key for path in paths for entry in read_records(path)]
    assert len(found) == len(set(found)) == 10
    assert all(key.startswith("train/drive0") for key in found)


def test_the_writer_side_has_a_descriptor_pool_of_its_own(tensorflow_ready):
    # TensorFlow registers its Example in protobuf's default pool; ours must not meet it there.
    assert records._Example.DESCRIPTOR.full_name == "streetmask.Example"
    assert tensorflow_ready.train.Example.DESCRIPTOR.full_name == "tensorflow.Example"
    assert os.path.basename(records.__file__) == "records.py"
