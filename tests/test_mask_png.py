"""Mask PNGs: every reader gives the ids back, the bytes are zlib's own, pixels are counted exactly."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from beam_jobs.mask_png import class_pixels, encode_mask

ALL_IDS = (np.arange(48 * 64) % 256).astype(np.uint8).reshape(48, 64)


@pytest.mark.parametrize(
    "ids", [ALL_IDS, *(np.resize(np.array(few, np.uint8), (48, 64)) for few in ([0], [0, 255], [9]))]
)
def test_pillow_and_tensorflow_read_the_ids(ids, tensorflow_ready):
    data = encode_mask(ids)
    opened = Image.open(io.BytesIO(data))
    assert opened.mode == "L"
    np.testing.assert_array_equal(np.asarray(opened), ids)
    np.testing.assert_array_equal(tensorflow_ready.io.decode_png(data, channels=1)[..., 0], ids)
    np.testing.assert_array_equal(tensorflow_ready.io.decode_image(data, channels=1)[..., 0], ids)


masks = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 60)), elements=st.sampled_from([0, 1, 2, 9, 255]))


@settings(max_examples=100, deadline=None)
@given(masks)
def test_any_mask_comes_back_and_its_pixels_are_counted(ids):
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_mask(ids)))), ids)
    counts = class_pixels(ids)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, np.bincount(ids.ravel(), minlength=256))


def test_the_compressed_bytes_are_those_of_zlib_itself():
    # Run-length deflate looks nothing up in a hash table: zlib-ng's vector code and zlib's loop must agree.
    random = np.random.default_rng(3)
    ids = np.repeat(random.integers(0, 19, (480, 20)), random.integers(1, 90, 20), axis=1).astype(np.uint8)
    rows = np.zeros((ids.shape[0], ids.shape[1] + 1), np.uint8)
    rows[:, 1:] = ids
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 8, zlib.Z_RLE)
    expected = compressor.compress(rows.tobytes()) + compressor.flush()
    data = encode_mask(ids)
    start = data.index(b"IDAT") + 4
    assert data[start : start + len(expected)] == expected
