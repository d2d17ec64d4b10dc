"""The order of an epoch, and which part of it one worker reads.

The order is a function of (seed, epoch) alone: not of the number of workers or replicas, nor of where an
interrupted run goes on. Workers take their slices of each batch before anything is read, so that each
reads and decodes its own images only, and their slices side by side are the batch of a single process.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Places(NamedTuple):
    """Places in an epoch, in the order in which they are trained on."""

    epochs: np.ndarray
    """int32 (n,), 0 for the run's first epoch."""
    positions: np.ndarray
    """int32 (n,), 0 for the epoch's first image."""
    numbers: np.ndarray
    """int64 (n,), number of the record that stands there."""
    scored: np.ndarray
    """bool (n,); False for a copy that only fills up a batch."""


def epoch_order(records: int, seed: int, epoch: int) -> np.ndarray:
    """Record numbers 0..records−1 in the order of an epoch, int64 (records,)."""
    return np.random.default_rng((seed, epoch)).permutation(records)


def worker_places(
    order: np.ndarray,
    epoch: int,
    batch_size: int,
    skip_batches: int = 0,
    replicas: int = 1,
    worker: int = 0,
    workers: int = 1,
) -> Places:
    """What a worker reads of the epoch's batches from ``skip_batches`` on.

    A batch is filled up to a multiple of all replicas with copies of its first image that are not scored:
    a replica that gets nothing crashes the step, and batch statistics are of real images only.

    Args:
      order: record numbers in the order of the epoch.
      epoch: its number.
      batch_size: of all workers together.
      skip_batches: batches that are passed over.
      replicas: of each worker.
      worker: 0..workers−1.
      workers: how many there are.
    """
    positions, scored = [], []
    for first in range(skip_batches * batch_size, len(order), batch_size):
        count = min(batch_size, len(order) - first)
        share = worker_share(count, replicas, workers)
        places = np.arange(worker * share, (worker + 1) * share)
        positions.append(first + np.where(places < count, places, 0))
        scored.append(places < count)
    joined = np.concatenate(positions).astype(np.int32) if positions else np.zeros(0, np.int32)
    epochs = np.full(len(joined), epoch, np.int32)
    return Places(epochs, joined, order[joined], np.concatenate(scored) if scored else np.zeros(0, bool))


def worker_share(count: int, replicas: int, workers: int) -> int:
    """Images that each worker gets of a batch of ``count``, the filling included: a multiple of its replicas."""
    return -(-count // (replicas * workers)) * replicas
