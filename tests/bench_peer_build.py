"""What people use to build records, as a benchmark's peer: two scripts in turn, one process.

    python -m tests.bench_peer_build IMAGES OUTPUT COUNT

First `cityscapesscripts`' json2labelImg draws each annotation's mask and writes it as a PNG; then, as DeepLab's
build_cityscapes_data.py does, image and mask files are read, decoded to check them, and written as Examples.
Prints the seconds of both together, without imports.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import tensorflow as tf
from cityscapesscripts.preparation.json2labelImg import json2labelImg


def main(images: Path, output: Path, count: int) -> float:
    """Seconds for the first ``count`` images."""
    annotations = sorted(images.rglob("*_gtFine_polygons.json"))[:count]
    pairs = []
    for annotation in annotations:
        frame = annotation.name.removesuffix("_gtFine_polygons.json")
        image = Path(str(annotation.parent).replace("gtFine", "leftImg8bit")) / f"{frame}_leftImg8bit.jpg"
        pairs.append((annotation, image, output / f"{annotation.parent.name}_{frame}.png"))
    started = time.perf_counter()
    for annotation, _, mask in pairs:
        json2labelImg(str(annotation), str(mask), "trainIds")
    with tf.io.TFRecordWriter(str(output / "peer.tfrecord")) as writer:
        for _, image, mask in pairs:
            writer.write(example(image, mask))
    return time.perf_counter() - started


def example(image: Path, mask: Path) -> bytes:
    """An Example of an image and its mask; both are decoded, as DeepLab's reader does to learn their sizes."""
    image_bytes, mask_bytes = tf.io.gfile.GFile(str(image), "rb").read(), tf.io.gfile.GFile(str(mask), "rb").read()
    height, width = tf.io.decode_jpeg(image_bytes, channels=3).shape[:2]
    if tuple(tf.io.decode_png(mask_bytes, channels=1).shape[:2]) != (height, width):
        raise ValueError(f"{mask}: another size than {image}")

    def blob(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        "image/encoded": blob(image_bytes),
        "image/filename": blob(image.name.encode()),
        "image/format": blob(b"jpeg"),
        "image/height": number(height),
        "image/width": number(width),
        "image/channels": number(3),
        "image/segmentation/class/encoded": blob(mask_bytes),
        "image/segmentation/class/format": blob(b"png"),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


if __name__ == "__main__":
    tf.io.decode_jpeg(tf.io.encode_jpeg(tf.zeros([8, 8, 3], tf.uint8)))  # the first call is slow
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))  # noqa: T201
