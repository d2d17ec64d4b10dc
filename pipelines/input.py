"""From shards to batches: one chain that reads from top to bottom.

Images stay uint8 up to the device: a quarter of float32's bytes. Records are read by number
(pipelines/dataset.py), so the order of a training epoch is any permutation, a function of (seed, epoch); a
run that goes on sees what an unbroken one would have seen, without reading what it passes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from configs.commands import UserError
from configs.loading import Config
from configs.taxonomy import IGNORE_ID
from pipelines.cache import CacheKind, ImageCache, open_cache
from pipelines.dataset import RecordReader, Records, Verify
from pipelines.fitting import Fitting, Rule, fill, fit
from pipelines.manifest import Manifest
from pipelines.order import Places, epoch_order, worker_places, worker_share
from pipelines.records import IMAGE, MASK, decode_example
from pipelines.windows import WindowDraw, cut_window, rarity

Encoded = dict[str, tf.Tensor]
READ_AT_A_TIME, READERS = 8, 2
_PLACES = Places(*(tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int32, tf.int64, tf.bool)))


class DataOptions(Config):
    """Section ``data`` of a training recipe."""

    records: Path = Path("data/records")
    """Folder that `beam_jobs.build_records` wrote."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) to which images are fitted for the network; None takes the records' own size."""
    fit: Rule = "letterbox"
    """How: scaled with the aspect ratio kept, stretched, or not scaled but cut into windows (pipelines/fitting.py)."""
    rare_class_crop: float = Field(default=0.0, ge=0.0, le=1.0)
    """With ``fit: crop``: probability that a window is laid around a pixel of a rare class (pipelines/windows.py)."""
    cache: CacheKind = "none"
    """Keep decoded training images in memory or on disk (pipelines/cache.py)."""
    verify: Verify = "size"
    """What is checked of every shard at the start: bytes and number of records, or its sha256 too."""
    train_split: str = "train"
    val_split: str = "val"

    @field_validator("rare_class_crop")
    @classmethod
    def _windows_are_cut(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("fit") != "crop":
            raise ValueError("it chooses the windows of data.fit=crop; set that too")
        return value


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


def make_fitting(manifest: Manifest, options: DataOptions, stride: int) -> Fitting:
    """How images meet a network of this stride. Raises `UserError` as `network_size` does."""
    return Fitting(network_size(manifest, options.size), stride, options.fit)


def training_cache(records: Records, options: DataOptions, stride: int) -> ImageCache | None:
    """The training split's decoded images, if the recipe wants them kept: made once, used by all epochs."""
    fitting, split = make_fitting(records.manifest, options, stride), options.train_split
    stored = _read(records.reader(split), tf.data.Dataset.range(records.count(split)))
    images = stored.map(_loader(records, split, fitting), num_parallel_calls=tf.data.AUTOTUNE).with_options(_untuned())
    return open_cache(records, split, options.cache, fitting, images)


def training_batches(
    records: Records,
    options: DataOptions,
    start: Callable[[], tuple[int, int]],
    *,
    batch_size: int,
    stride: int,
    seed: int,
    replicas: int = 1,
    worker: int = 0,
    workers: int = 1,
    cache: ImageCache | None = None,
) -> tf.data.Dataset:
    """Training's batches: each time it is iterated over, it gives an epoch, or the rest of one.

    Elements are one replica's share of a batch, replica 0 first: (images uint8 (b, h, w, 3), masks uint8
    (b, h, w)), with (h, w) the fitting's canvas and b = batch_size / (workers · replicas), rounded up; less in
    the last batch. The elements of all workers' replicas side by side are the batch of a single process.

    Args:
      start: gives (epoch, batches of it to pass over), and is asked when an iteration begins; nothing is read
        of what is passed over. One data set serves all epochs of a run, for making one takes half a second.
      batch_size: of all workers together.
      stride: of the network.
      replicas: of each worker.
      worker, workers: which one this is, 0 the first, of how many.
      cache: what `training_cache` gave; None decodes.
    """
    fitting = make_fitting(records.manifest, options, stride)
    class_weights = rarity(records.manifest.split(options.train_split).class_pixels)
    draw = WindowDraw(fitting.canvas, options.rare_class_crop, class_weights, seed)

    def places() -> Iterator[Places]:
        epoch, skip_batches = start()
        order = epoch_order(records.count(options.train_split), seed, epoch)
        yield worker_places(order, epoch, batch_size, skip_batches, replicas, worker, workers)

    def example(place: Places, *encoded: Encoded) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = load(place, *encoded)
        if fitting.rule == "crop":
            image, mask = cut_window(image, mask, draw, place.epochs, place.positions)
            image, mask = fill(image, fitting.canvas, 0), fill(mask, fitting.canvas, IGNORE_ID)
        if replicas * workers > 1:  # else no batch is filled up, and a branch would cost time for nothing
            mask = tf.cond(place.scored, lambda: mask, lambda: tf.fill(fitting.canvas, np.uint8(IGNORE_ID)))
        return image, mask

    chain = tf.data.Dataset.from_generator(places, output_signature=_PLACES).flat_map(
        tf.data.Dataset.from_tensor_slices
    )
    load: Callable[..., tuple[tf.Tensor, tf.Tensor]]
    if cache:
        load_cached = cache.load
        load = lambda place: load_cached(place.numbers)  # noqa: E731
    else:
        chain = _read(records.reader(options.train_split), chain, lambda place: place.numbers)
        load = _loader(records, options.train_split, fitting)
    return (
        chain.map(example, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(worker_share(batch_size, replicas, workers))
        .apply(lambda batches: split_batches(batches, replicas))
        .prefetch(2 * replicas)
        .with_options(_untuned())
    )


def evaluation_batches(
    records: Records,
    split: str,
    fitting: Fitting,
    *,
    batch_size: int,
    replicas: int = 1,
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """A split in the order of its records, for scoring at the masks' own size.

    Elements are one replica's share of a batch, replica 0 first: (images uint8 (b, h, w, 3) on the network's canvas,
    masks uint8 (b, H, W) as stored). All masks of a batch have one size. Records of several sizes are grouped by it;
    several workers, which must have equally many batches, take them one by one instead.

    Args:
      batch_size: of all workers together.
      replicas: of each worker.
      worker, workers: which one this is, 0 the first, of how many.
    """
    reader, sizes = records.reader(split), len(records.manifest.split(split).sizes)
    by_size = sizes > 1 and workers == 1
    if sizes > 1 and workers > 1:
        batch_size = replicas * workers
    places = worker_places(np.arange(len(reader)), 0, batch_size, 0, 1 if by_size else replicas, worker, workers)

    def example(place: Places, encoded: Encoded) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = decode_example(encoded)
        return fit(image, mask, fitting)[0], tf.where(place.scored, mask, IGNORE_ID)

    numbers = tf.data.Dataset.from_tensor_slices(places)
    examples = _read(reader, numbers, lambda place: place.numbers).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    if sizes > 1 and workers > 1:
        return examples.batch(1).prefetch(2 * replicas).with_options(_untuned())
    batches = examples.batch(worker_share(batch_size, replicas, workers))
    if by_size:
        batches = examples.group_by_window(
            key_func=lambda _, mask: (
                tf.cast(tf.shape(mask)[0], tf.int64) * 2**32 + tf.cast(tf.shape(mask)[1], tf.int64)
            ),
            reduce_func=lambda _, window: window.batch(batch_size),
            window_size=batch_size,
        )
    return (
        batches.apply(lambda batches: split_batches(batches, replicas)).prefetch(2 * replicas).with_options(_untuned())
    )


def split_batches(batches: tf.data.Dataset, replicas: int) -> tf.data.Dataset:
    """Cut each batch into one equal share for each replica, filled up with images that are not scored.

    A replica that gets nothing crashes the step; an image whose mask is all 255 changes no sum. It is a
    copy of the batch's first image, so that batch statistics are of real images only, if of one more than once.
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


def _untuned() -> tf.data.Options:
    """Leave the numbers of threads at what AUTOTUNE begins with, those of the processor.

    The thread that would tune them sleeps for longer and longer, up to a minute. In TensorFlow 2.21 the end of an
    iteration waits for it, and often does not wake it (tests/bench_input.py).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _read(
    reader: RecordReader, elements: tf.data.Dataset, number_of: Callable[[Any], tf.Tensor] = lambda number: number
) -> tf.data.Dataset:
    """Elements that lead to a record's number, to (element, the record's encoded image and mask), in their order.

    Some at a time, because each call into Python waits for the interpreter's lock.
    """

    def read(several: Any) -> tuple[Any, Encoded]:
        image, mask = tf.numpy_function(reader.encoded, [number_of(several)], [tf.string, tf.string], stateful=False)
        return several, {IMAGE: tf.ensure_shape(image, [None]), MASK: tf.ensure_shape(mask, [None])}

    return elements.batch(READ_AT_A_TIME).map(read, num_parallel_calls=READERS).unbatch()


def _loader(records: Records, split: str, fitting: Fitting) -> Callable[[Any, Encoded], tuple[tf.Tensor, tf.Tensor]]:
    """What makes an image and its mask of what `_read` gives, on the canvas; windows are cut from whole ones later."""
    canvas = fitting.canvas
    if fitting.rule == "crop":
        return lambda _, encoded: decode_example(encoded)
    if records.manifest.split(split).sizes.keys() == {f"{canvas[0]}x{canvas[1]}"}:  # nothing is left to decide

        def load(_: Any, encoded: Encoded) -> tuple[tf.Tensor, tf.Tensor]:
            image, mask = decode_example(encoded)
            return tf.ensure_shape(image, [*canvas, 3]), tf.ensure_shape(mask, canvas)

        return load
    return lambda _, encoded: fit(*decode_example(encoded), fitting)
