"""Tests of image files: what is kept byte for byte, what is encoded again, and what is bad input.

What `check_image` accepts and keeps, TensorFlow must decode: the two are tested against each other.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from beam_jobs.annotation import BadInput
from beam_jobs.images import channel_sums, check_image, decode_rgb, encode_image, fit_image

LIMIT = 100_000_000
PIXELS = np.random.default_rng(3).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def encoded(mode: str = "RGB", kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bits(channels: int) -> bytes:
    """A 16-bit PNG, 48 high and 64 wide, of one or three channels, whose high bytes are `PIXELS`' own."""
    values = (PIXELS[..., :channels].astype(">u2") << 8) + 77
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2").reshape(48, -1))
    return png_of(64, 48, 16, {1: 0, 3: 2}[channels], rows)


def png_of(width: int, height: int, bits: int, color_type: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bad(data: bytes, limit: int = LIMIT) -> BadInput:
    with pytest.raises(BadInput) as caught:
        check_image(data, limit)
    return caught.value


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"kind": "PNG"}, {"kind": "JPEG"}, {"kind": "JPEG", "progressive": True}])
def test_plain_jpegs_and_pngs_are_kept(mode, options):
    checked = check_image(encoded(mode, **options), LIMIT)
    assert (checked.height, checked.width, checked.keep) == (48, 64, True)


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("RGB", "BMP")]
)
def test_other_modes_and_formats_are_read_but_not_kept(mode, kind):
    data = encoded(mode, kind)
    checked = check_image(data, LIMIT)
    assert (checked.height, checked.width, checked.keep) == (48, 64, False)
    assert (decode_rgb(data).mode, decode_rgb(data).size) == ("RGB", (64, 48))


def test_lossless_webp_is_read_with_its_pixels():
    data = encoded(kind="WEBP", lossless=True)
    assert not check_image(data, LIMIT).keep
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), PIXELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_not_kept_and_scaled_to_eight(channels):
    data = sixteen_bits(channels)
    assert not check_image(data, LIMIT).keep
    difference = np.asarray(decode_rgb(data)).astype(int) - PIXELS[..., [0, 0, 0] if channels == 1 else [0, 1, 2]]
    # v · 256 + 77 over 257 is less than one level away from v.
    assert np.abs(difference).max() <= 1


def test_alpha_is_dropped_and_palettes_with_transparency_keep_their_colours():
    clear = Image.fromarray(np.dstack([PIXELS, np.zeros((48, 64), np.uint8)]))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    np.testing.assert_array_equal(np.asarray(decode_rgb(buffer.getvalue())), PIXELS)
    palette = Image.fromarray(PIXELS).quantize(16)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", transparency=3)
    np.testing.assert_array_equal(np.asarray(decode_rgb(buffer.getvalue())), np.asarray(palette.convert("RGB")))


def test_a_png_that_is_called_jpg_is_what_its_bytes_are():
    # Only bytes are looked at: the format comes from them and not from a name.
    assert check_image(encoded(), LIMIT).image_format == "png"


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", "image_empty", "the image file is empty"),
        (b"<html>not found</html>", "not_an_image", "not a JPEG, PNG, WEBP, BMP image that Pillow opens"),
        (b"\0" * 1000, "not_an_image", "not a JPEG, PNG, WEBP, BMP image that Pillow opens"),
        (encoded(kind="GIF"), "not_an_image", "not a JPEG, PNG, WEBP, BMP image that Pillow opens"),
    ],
    ids=["empty", "text", "zeros", "gif"],
)
def test_what_is_no_image_is_told_so(data, code, message):
    error = bad(data)
    assert (error.code, str(error)) == (code, message)


@pytest.mark.parametrize("options", [{"kind": "JPEG"}, {"kind": "JPEG", "progressive": True}, {"kind": "PNG"}])
@pytest.mark.parametrize("missing", [1, 2, 3, 8, 12, 13, 16, 20, 100, 1000, "half", "all but the header"])
def test_a_cut_image_is_bad_input_wherever_it_is_cut(options, missing):
    data = encoded(**options)
    bytes_missing = {"half": len(data) // 2, "all but the header": len(data) - 20}.get(missing, missing)
    error = bad(data[:-bytes_missing])
    assert error.code in ("image_cut_off", "not_an_image")


def test_a_cut_image_is_told_so():
    assert str(bad(encoded(kind="JPEG")[:-2])) == "the JPEG has no end marker"
    assert str(bad(encoded()[:-1000])) == "the PNG has no end chunk"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    "trailing", [b"\0", b"text", b"\0\xff\xda\0", b"\0" * 10_000], ids=["zero", "text", "like a marker", "many"]
)
def test_bytes_after_the_image_are_harmless(kind, trailing, tensorflow_ready):
    data = encoded(kind=kind) + trailing
    assert check_image(data, LIMIT).keep
    assert tensorflow_ready.io.decode_image(data, channels=3).shape == (48, 64, 3)


@pytest.mark.parametrize("options", [{"kind": "JPEG"}, {"kind": "JPEG", "progressive": True}, {"kind": "PNG"}])
def test_what_is_kept_tensorflow_decodes_whatever_bit_is_flipped(options, tensorflow_ready):
    data, random = encoded(**options), np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        try:
            kept = check_image(bytes(damaged), LIMIT).keep
        except BadInput:
            continue
        if kept:
            tensorflow_ready.io.decode_image(bytes(damaged), channels=3)


def test_too_many_pixels_are_refused_with_the_limit():
    error = bad(encoded(), 48 * 64 - 1)
    assert (error.code, str(error)) == ("image_too_large", "48x64 is above the limit of 3071 pixels")
    assert check_image(encoded(), 48 * 64).keep


def test_an_image_that_pillow_takes_for_a_bomb_is_told_its_size_too():
    # Pillow itself refuses above 179 million pixels; a reader must still learn that size is the reason.
    error = bad(png_of(20_000, 15_000, 8, 2, b""))
    assert (error.code, str(error)) == ("image_too_large", "15000x20000 is above the limit of 100000000 pixels")


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_smallest_images_are_read(size, kind):
    buffer = io.BytesIO()
    Image.new("RGB", size[::-1]).save(buffer, kind)
    checked = check_image(buffer.getvalue(), LIMIT)
    assert (checked.height, checked.width) == size


def test_an_exif_turn_is_told_and_done_only_when_asked_for():
    # Orientation 6: to be shown, the stored 48x64 is turned clockwise to 64x48. Whether polygons mean the one or
    # the other is the format's matter: Cityscapes and IDD the stored pixels, LabelMe the turned ones.
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(kind="JPEG", exif=exif, quality=95, subsampling=0)
    checked = check_image(data, LIMIT)
    assert (checked.height, checked.width, checked.keep, checked.orientation) == (48, 64, True, 6)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), stored)
    np.testing.assert_array_equal(np.asarray(decode_rgb(data, turn=True)), np.rot90(stored, -1))


def test_resizing_fills_right_and_bottom_with_black():
    white = Image.new("RGB", (64, 48), (255, 255, 255))
    fitted = np.asarray(fit_image(white, (24, 32), (32, 40)))
    assert fitted.shape == (32, 40, 3)
    assert (fitted[:24, :32] == 255).all()
    assert not fitted[24:].any()
    assert not fitted[:, 32:].any()
    assert fit_image(white, (24, 32), (24, 32)).size == (32, 24)


@pytest.mark.parametrize(("lossy", "kind"), [(True, "jpeg"), (False, "png")])
def test_encoding_again_names_the_format_and_keeps_lossless_pixels(lossy, kind):
    data, name = encode_image(Image.fromarray(PIXELS), lossy, 95)
    assert name == kind == Image.open(io.BytesIO(data)).format.lower()
    if not lossy:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), PIXELS)


def test_channel_sums_are_exact():
    sums, squares = channel_sums(Image.fromarray(PIXELS))
    wide: Callable = lambda power: (PIXELS.astype(np.int64) ** power).sum(axis=(0, 1))  # noqa: E731
    np.testing.assert_array_equal(sums, wide(1))
    np.testing.assert_array_equal(squares, wide(2))
