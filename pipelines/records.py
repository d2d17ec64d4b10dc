"""One record: an image and its mask as a serialized ``tf.train.Example`` in a TFRecord file.

The feature keys are those of the TensorFlow Model Garden's segmentation input:

    image/encoded                     the image file's bytes (JPEG or PNG)
    image/format                      b"jpeg" or b"png"
    image/height, image/width         int64, of image and mask alike
    image/filename                    the source image's path below the input folder
    image/source_id                   the record's key, unique in the data set
    image/segmentation/class/encoded  PNG, 8 bits, class ids; 255 is the ignore id
    image/segmentation/class/format   b"png"

The writer side runs in Beam workers and imports no TensorFlow; the reader side imports it when called.
Both stand in this file so that they cannot drift apart.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    import tensorflow as tf

IMAGE = "image/encoded"
IMAGE_FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
FILENAME = "image/filename"
SOURCE_ID = "image/source_id"
MASK = "image/segmentation/class/encoded"
MASK_FORMAT = "image/segmentation/class/format"

_MASK_DELTA = 0xA282EAD8  # of the TFRecord format's "masked" CRC
_FRAME = 16  # bytes around a record: its length (8), the length's CRC (4), its own CRC (4)


class Record(NamedTuple):
    """What one Example holds. ``image`` and ``mask`` are encoded files, ``image_format`` is jpeg or png."""

    key: str
    filename: str
    height: int
    width: int
    image: bytes
    image_format: str
    mask: bytes


class DamagedRecords(Exception):
    """A TFRecord file that is cut off, fails a checksum or holds no such Example."""


def _example_class() -> Any:
    """The Example message, with the ``feature`` map declared as the list of entries that it is on the wire.

    Protobuf writes a map in an order that changes from process to process, even when asked to be
    deterministic; a list of entries is written as given. The pool is our own: TensorFlow registers the
    real Example in the default one.
    """
    file = descriptor_pb2.FileDescriptorProto(name="streetmask_example.proto", package="streetmask", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, int, int, str | None]) -> Any:
        entry = file.message_type.add(name=name)
        for field, number, type_, label, type_name in fields:
            entry.field.add(name=field, number=number, type=type_, label=label, type_name=type_name)  # type: ignore[arg-type]
        return entry

    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    message("BytesList", ("value", 1, kind.TYPE_BYTES, many, None))
    message("Int64List", ("value", 1, kind.TYPE_INT64, many, None))
    feature = message(
        "Feature",
        ("bytes_list", 1, kind.TYPE_MESSAGE, one, ".streetmask.BytesList"),
        ("int64_list", 3, kind.TYPE_MESSAGE, one, ".streetmask.Int64List"),
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    message(
        "Entry",
        ("key", 1, kind.TYPE_STRING, one, None),
        ("value", 2, kind.TYPE_MESSAGE, one, ".streetmask.Feature"),
    )
    message("Features", ("feature", 1, kind.TYPE_MESSAGE, many, ".streetmask.Entry"))
    message("Example", ("features", 1, kind.TYPE_MESSAGE, one, ".streetmask.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("streetmask.Example"))


_Example = _example_class()


def serialize(record: Record) -> bytes:
    """A record as the bytes of an Example: the same bytes in every process, keys in sorted order."""
    values: dict[str, bytes | int] = {
        IMAGE: record.image,
        IMAGE_FORMAT: record.image_format.encode(),
        HEIGHT: record.height,
        WIDTH: record.width,
        FILENAME: record.filename.encode(),
        SOURCE_ID: record.key.encode(),
        MASK: record.mask,
        MASK_FORMAT: b"png",
    }
    example = _Example()
    for key in sorted(values):
        value = values[key]
        entry = example.features.feature.add(key=key)
        if isinstance(value, int):
            entry.value.int64_list.value.append(value)
        else:
            entry.value.bytes_list.value.append(value)
    return example.SerializeToString()


def deserialize(data: bytes) -> Record:
    """The record in an Example's bytes, without TensorFlow. Raises `DamagedRecords` when it is none."""
    try:
        example = _Example.FromString(data)
        features = {entry.key: entry.value for entry in example.features.feature}

        def blob(key: str) -> bytes:
            return features[key].bytes_list.value[0]

        def number(key: str) -> int:
            return features[key].int64_list.value[0]

        return Record(
            key=blob(SOURCE_ID).decode(),
            filename=blob(FILENAME).decode(),
            height=number(HEIGHT),
            width=number(WIDTH),
            image=blob(IMAGE),
            image_format=blob(IMAGE_FORMAT).decode(),
            mask=blob(MASK),
        )
    except (KeyError, IndexError) as error:
        raise DamagedRecords(f"the example lacks feature {error}") from None
    except Exception as error:  # protobuf's DecodeError has no public home in the upb implementation
        raise DamagedRecords(f"not an Example ({error})") from None


def frame(data: bytes) -> bytes:
    """Bytes as one TFRecord: length, its masked CRC-32C, the bytes, their masked CRC-32C."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _masked_crc(length), data, _masked_crc(data)))


def read_frames(path: Path) -> Iterator[bytes]:
    """The records' bytes of a TFRecord file in order, both checksums checked. Raises `DamagedRecords`."""
    with open(path, "rb") as file:
        index = 0
        while header := file.read(12):
            if len(header) < 12 or header[8:] != _masked_crc(header[:8]):
                raise DamagedRecords(f"{path}: record {index}: damaged length")
            (length,) = struct.unpack("<Q", header[:8])
            data, crc = file.read(length), file.read(4)
            if len(data) < length or crc != _masked_crc(data):
                raise DamagedRecords(f"{path}: record {index}: damaged or cut off")
            yield data
            index += 1


def frame_offsets(path: Path) -> np.ndarray:
    """Where the records of a TFRecord file begin, and its end: int64 (records + 1,).

    Walks from length to length and checks these, but reads no record: 16 bytes of each, 3 µs when the file is cached.
    Raises `DamagedRecords`.
    """
    offsets = [0]
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while offsets[-1] < size:
            header = os.pread(file.fileno(), 12, offsets[-1])
            if len(header) < 12 or header[8:] != _masked_crc(header[:8]):
                raise DamagedRecords(f"{path}: record {len(offsets) - 1}: damaged length")
            offsets.append(offsets[-1] + struct.unpack("<Q", header[:8])[0] + _FRAME)
    if offsets[-1] != size:
        raise DamagedRecords(f"{path}: record {len(offsets) - 2}: cut off")
    return np.array(offsets, np.int64)


def read_frame(path: Path, offsets: np.ndarray, index: int) -> bytes:
    """The bytes of one record of a file whose `frame_offsets` are known. Raises `DamagedRecords`."""
    begin, end = int(offsets[index]), int(offsets[index + 1])
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), end - begin - _FRAME, begin + 12)
        crc = os.pread(file.fileno(), 4, end - 4)
    if crc != _masked_crc(data):
        raise DamagedRecords(f"{path}: record {index}: damaged or cut off")
    return data


def read_records(path: Path) -> Iterator[Record]:
    """The records of a TFRecord file in order, without TensorFlow. Raises `DamagedRecords`."""
    return map(deserialize, read_frames(path))


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def parse_example(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """TensorFlow graph: a serialized Example to its scalar features, images still encoded."""
    import tensorflow as tf

    text, number = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
    return tf.io.parse_single_example(
        serialized, {IMAGE: text, MASK: text, SOURCE_ID: text, HEIGHT: number, WIDTH: number}
    )


def decode_example(features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """TensorFlow graph: parsed features to image uint8 (H, W, 3), RGB, and mask uint8 (H, W)."""
    import tensorflow as tf

    # INTEGER_ACCURATE gives Pillow's levels exactly; TensorFlow's default differs by up to 5. Reads PNG too.
    image = tf.io.decode_jpeg(features[IMAGE], channels=3, dct_method="INTEGER_ACCURATE")
    mask = tf.io.decode_png(features[MASK], channels=1)[..., 0]
    image.set_shape([None, None, 3])
    return image, mask
