"""What the tests of the augmentation share: small batches, and draws that are not left to chance."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

HEIGHT, WIDTH = 48, 64


def noise_batch(seed: int = 0, size: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks in which every pixel differs from its neighbours."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (size, HEIGHT, WIDTH, 3)).astype(np.uint8)
    return images, random.integers(0, 11, (size, HEIGHT, WIDTH)).astype(np.uint8)


def blocks(size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Images that are their masks: blocks of 12×12 pixels of one id, painted as the level 20 · id + 20."""
    coarse = np.random.default_rng(2).integers(0, 11, (size, HEIGHT // 12 + 1, WIDTH // 12 + 1))
    ids = np.kron(coarse, np.ones((12, 12), int))[:, :HEIGHT, :WIDTH].astype(np.uint8)
    return np.repeat(ids[..., None] * 20 + 20, 3, axis=-1).astype(np.uint8), ids


def fixed_draws(**values: Any) -> Any:
    """`GeometryDraws` of one image that do nothing but what is given."""
    import tensorflow as tf

    from pipelines.geometry import GeometryDraws

    draws = {name: tf.zeros([1]) for name in GeometryDraws._fields} | {"scale": tf.ones([1])}
    draws |= {"flip": tf.constant([False]), "flip_vertical": tf.constant([False]), "place": tf.zeros([1, 2])}
    return GeometryDraws(**(draws | {name: tf.constant([value], tf.float32) for name, value in values.items()}))


def digest(*arrays: Any) -> str:
    """A hash of the exact bytes of arrays or tensors."""
    joined = hashlib.sha256()
    for array in arrays:
        joined.update(np.ascontiguousarray(array).tobytes())
    return joined.hexdigest()
