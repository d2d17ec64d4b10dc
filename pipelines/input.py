"""From shards to batches: one chain that reads from top to bottom.

Images stay uint8 up to the device: a quarter of float32's bytes. The order of a training epoch is a
function of (seed, epoch), so that a run that goes on sees what an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt

from configs.commands import UserError
from configs.loading import Config
from configs.taxonomy import IGNORE_ID
from pipelines.fitting import fit, round_up
from pipelines.manifest import Manifest, Shard, read_manifest
from pipelines.records import decode_example, parse_example

PARALLEL_SHARDS = 4


class DataOptions(Config):
    """Section ``data`` of a training recipe."""

    records: Path = Path("data/records")
    """Folder that `beam_jobs.build_records` wrote."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) to which images are fitted for the network; None takes the records' own size."""
    train_split: str = "train"
    val_split: str = "val"
    shuffle_buffer: int = Field(default=512, ge=1)
    """Encoded records in memory from which the next one is drawn."""


class Records(NamedTuple):
    """A folder of records and its manifest, checked to be what the manifest says."""

    folder: Path
    manifest: Manifest

    def shards(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split. Raises `UserError` when there is no such split."""
        return self.manifest.split(split).shards

    def count(self, split: str) -> int:
        """Number of records of a split."""
        return self.manifest.split(split).records


def open_records(folder: Path) -> Records:
    """Read the manifest and check that every shard is there with the size it had.

    Raises:
      UserError: no manifest, or a shard that is missing or of another size.
    """
    manifest = read_manifest(folder)
    for split in manifest.splits.values():
        for shard in split.shards:
            path = folder / shard.file
            if not path.is_file():
                raise UserError(f"{path}: missing, though the manifest lists it; build the records again")
            if path.stat().st_size != shard.bytes:
                raise UserError(
                    f"{path}: {path.stat().st_size} bytes, the manifest says {shard.bytes}; build the records again"
                )
    return Records(folder, manifest)


def network_size(manifest: Manifest, size: tuple[int, int] | None) -> tuple[int, int]:
    """The (height, width) to which images are fitted: as the recipe says, or the records' own.

    Raises:
      UserError: the recipe does not say and the records have several sizes.
    """
    if size:
        return size
    sizes = manifest.sizes()
    if len(sizes) != 1:
        common = max(sizes, key=lambda size: sizes[size]) if sizes else (512, 1024)
        raise UserError(
            f"the records have {len(sizes)} sizes; say to which one they are fitted: "
            f"--set data.size=[{common[0]},{common[1]}]"
        )
    return next(iter(sizes))


def training_batches(
    records: Records,
    options: DataOptions,
    *,
    batch_size: int,
    stride: int,
    seed: int,
    epoch: int,
    skip_batches: int = 0,
    replicas: int = 1,
) -> tf.data.Dataset:
    """One epoch of training, each element one replica's share of a batch, replica 0 first.

    Elements are (images uint8 (b, h, w, 3), masks uint8 (b, h, w)), with (h, w) the fitted size rounded
    up to the stride and b = batch_size / replicas, less in the last batch. ``skip_batches`` batches are
    passed over without decoding them.
    """
    size = network_size(records.manifest, options.size)
    random = np.random.default_rng((seed, epoch))
    files = [str(records.folder / shard.file) for shard in records.shards(options.train_split)]
    return (
        _serialized(random.permutation(files).tolist())
        .shuffle(options.shuffle_buffer, seed=int(random.integers(2**31)), reshuffle_each_iteration=False)
        .skip(skip_batches * batch_size)
        .map(parse_example, num_parallel_calls=tf.data.AUTOTUNE)
        .map(lambda record: fit(*decode_example(record), size, stride), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .apply(lambda batches: split_batches(batches, replicas))
        .prefetch(2 * replicas)
    )


def evaluation_batches(
    records: Records,
    split: str,
    size: tuple[int, int],
    *,
    batch_size: int,
    stride: int,
    replicas: int = 1,
) -> tf.data.Dataset:
    """A split in the order of its records, for scoring at the masks' own size.

    Elements are (images uint8 (b, h, w, 3) on the network's canvas, masks uint8 (b, H, W) as stored). All
    masks of a batch have one size; records of several sizes are grouped by it.
    """

    def fitted(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = decode_example(record)
        return fit(image, mask, size, stride)[0], mask

    examples = (
        _serialized([str(records.folder / shard.file) for shard in records.shards(split)])
        .map(parse_example, num_parallel_calls=tf.data.AUTOTUNE)
        .map(fitted, num_parallel_calls=tf.data.AUTOTUNE)
    )
    if len(records.manifest.split(split).sizes) <= 1:
        batches = examples.batch(batch_size)
    else:
        batches = examples.group_by_window(
            key_func=lambda _, mask: (
                tf.cast(tf.shape(mask)[0], tf.int64) * 2**32 + tf.cast(tf.shape(mask)[1], tf.int64)
            ),
            reduce_func=lambda _, window: window.batch(batch_size),
            window_size=batch_size,
        )
    return batches.apply(lambda batches: split_batches(batches, replicas)).prefetch(2 * replicas)


def split_batches(batches: tf.data.Dataset, replicas: int) -> tf.data.Dataset:
    """Cut each batch into one equal share for each replica, filled up with images that are not scored.

    A replica that gets nothing crashes the step; an image whose mask is all 255 changes no sum. It is a
    copy of the batch's first image, so that batch statistics are of real images only.
    """
    if replicas == 1:
        return batches

    def shares(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        missing = -tf.shape(images)[0] % replicas
        images = tf.concat([images, tf.repeat(images[:1], missing, axis=0)], axis=0)
        empty = tf.fill(tf.concat([[missing], tf.shape(masks)[1:]], axis=0), tf.constant(IGNORE_ID, tf.uint8))
        masks = tf.concat([masks, empty], axis=0)
        return tuple(  # type: ignore[return-value]
            tf.reshape(tensor, tf.concat([[replicas, -1], tf.shape(tensor)[1:]], axis=0)) for tensor in (images, masks)
        )

    image_spec, mask_spec = batches.element_spec
    split = batches.map(shares, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    return split.map(
        lambda images, masks: (tf.ensure_shape(images, image_spec.shape), tf.ensure_shape(masks, mask_spec.shape))
    )


def canvas_size(records: Records, options: DataOptions, stride: int) -> tuple[int, int]:
    """(height, width) of the images that `training_batches` gives."""
    return round_up(network_size(records.manifest, options.size), stride)


def _serialized(files: Sequence[str]) -> tf.data.Dataset:
    """Serialized Examples of the files, read a few files at a time, in an order that never varies."""
    return tf.data.Dataset.from_tensor_slices(list(files)).interleave(
        tf.data.TFRecordDataset,
        cycle_length=PARALLEL_SHARDS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
