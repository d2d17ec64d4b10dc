"""Decoded images kept for all epochs of a run: in memory, or in one file beside the records.

What is kept is what decoding and fitting give, uint8, one row for each record: image bytes, then mask bytes. It is
found by the record's number, so the order of an epoch, going on in its middle and the workers' shares are what they
are without a cache. Keeping encoded images instead would only do what the operating system's page cache does.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from configs.commands import UserError, progress_bar, say
from pipelines.dataset import Records
from pipelines.files import AtomicFile
from pipelines.fitting import Fitting, Size

CacheKind = Literal["none", "memory", "disk"]
FOLDER = "cache"
# Of the memory that is free: the network and its batches need some too.
MEMORY_SHARE = 0.8


class ImageCache:
    """All decoded images of a split by number."""

    def __init__(self, rows: np.ndarray, size: Size) -> None:
        """``rows`` is uint8 (records, 4 · height · width), in memory or mapped from a file."""
        self._rows, self._size = rows, size

    def load(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """TensorFlow graph: a record's image uint8 (h, w, 3) and mask uint8 (h, w)."""
        (height, width), pixels = self._size, math.prod(self._size)

        def read(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            row = self._rows[number]
            return row[: 3 * pixels].reshape(height, width, 3), row[3 * pixels :].reshape(height, width)

        image, mask = tf.numpy_function(read, [number], [tf.uint8, tf.uint8], stateful=False)
        return tf.ensure_shape(image, [height, width, 3]), tf.ensure_shape(mask, [height, width])


def open_cache(
    records: Records,
    split: str,
    kind: CacheKind,
    fitting: Fitting,
    images: tf.data.Dataset,
) -> ImageCache | None:
    """Say how large the cache is, and fill it or take the file of an earlier run.

    Args:
      records: an opened folder.
      split: the split that is kept.
      kind: where; ``none`` gives None.
      fitting: of training images; under ``crop`` the images are kept whole.
      images: images and masks as they are kept, in the records' order.

    Raises:
      UserError: it does not fit into free memory or on the disk, or images have several sizes.
    """
    if kind == "none":
        return None
    size, count = _image_size(records, split, fitting), records.count(split)
    shape = (count, 4 * math.prod(size))
    what = f"{count} decoded images of {size[0]}x{size[1]}, {_gigabytes(math.prod(shape))}"
    if kind == "memory":
        _check_room(what, math.prod(shape), MEMORY_SHARE * available_memory(), "memory", "disk")
        say(f"cache in memory: {what}")
        rows = np.empty(shape, np.uint8)
        for row, data in zip(rows, _rows(images, count), strict=True):
            row[:] = np.frombuffer(data, np.uint8)
        return ImageCache(rows, size)
    path = _file(records, split, size, fitting)
    if path.is_file() and path.stat().st_size == math.prod(shape):
        say(f"cache on disk: {what}, there already in {path}")
    else:
        _write(path, what, math.prod(shape), _rows(images, count))
    return ImageCache(np.memmap(path, np.uint8, mode="r", shape=shape), size)


def available_memory() -> int:
    """Bytes that this process may still take: what the machine has free, within its control group's limit."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, max(limit - used, 0))


def _image_size(records: Records, split: str, fitting: Fitting) -> Size:
    """(height, width) of what is kept. Raises `UserError` when it is not the same for all images."""
    if fitting.rule != "crop":
        return fitting.canvas
    sizes = list(records.manifest.split(split).sizes)
    if len(sizes) > 1:
        raise UserError(
            f"data.cache keeps whole images when data.fit is crop, and split {split} has them in {len(sizes)} sizes "
            f"({', '.join(sizes[:3])}); set data.cache=none or data.fit=letterbox"
        )
    height, width = sizes[0].split("x")
    return int(height), int(width)


def _rows(images: Iterable[tuple[tf.Tensor, tf.Tensor]], count: int) -> Iterator[bytes]:
    """Each image's bytes and its mask's, under a progress bar."""
    bar = progress_bar(count, "image", "filling the cache")
    for image, mask in images:
        yield image.numpy().tobytes() + mask.numpy().tobytes()
        bar.update()
    bar.close()


def _file(records: Records, split: str, size: Size, fitting: Fitting) -> Path:
    """The cache's file: its name changes with whatever decides its bytes."""
    decisive = [fitting, [shard.sha256 for shard in records.shards(split)], tf.__version__]
    digest = hashlib.sha256(repr(decisive).encode()).hexdigest()[:12]
    return records.folder / FOLDER / f"{split}-{size[0]}x{size[1]}-{digest}.uint8"


def _write(path: Path, what: str, size: int, rows: Iterator[bytes]) -> None:
    """Fill the file; it takes its name when it is whole."""
    try:
        path.parent.mkdir(exist_ok=True)
        _check_room(what, size, shutil.disk_usage(path.parent).free, "disk", "none")
        say(f"cache on disk: {what}, in {path}")
        with AtomicFile(path) as file:
            for row in rows:
                file.write(row)
    except OSError as error:
        raise UserError(f"data.cache=disk: {path} cannot be written ({error.strerror}); set data.cache=none") from None


def _check_room(what: str, size: int, free: float, where: str, instead: str) -> None:
    if size > free:
        raise UserError(
            f"data.cache={where}: {what}, but only {_gigabytes(free)} may be taken; set data.cache={instead}, or a "
            "smaller data.size"
        )


def _number(path: Path) -> int | None:
    """The number in a control group's file; None when there is no such file or limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
