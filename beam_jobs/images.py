"""Image files: checked to their end, and turned into bytes that every TensorFlow reader decodes alike.

A JPEG or PNG of 8 bits in one or three channels is kept byte for byte. Everything else is converted
and encoded again: lossless stays lossless, JPEG stays JPEG.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from beam_jobs.annotation import BadInput

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_DRAFT = 8  # JPEGs decode at 1/8 from their first coefficients alone: far faster, and still read to the end
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # Pillow only warns of large images, or calls them bombs; max_pixels decides here
_PNG_SIGNATURE = 8
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what turns the stored pixels so that they are seen upright."""


class Checked(NamedTuple):
    """An image whose file was read to its end; ``keep`` says that its bytes can be stored as they are.

    ``image_format`` is Pillow's name in lower case, ``oddity`` what makes ``keep`` false, in words.
    """

    height: int
    width: int
    image_format: str
    oddity: str
    orientation: int
    bytes_after_end: int

    @property
    def keep(self) -> bool:
        """Whether the file is a JPEG or PNG of 8 bits in one or three channels."""
        return not self.oddity


def check_image(data: bytes, max_pixels: int) -> Checked:
    """Open an image file and read it to its end, as cheaply as its format allows.

    Raises:
      BadInput: empty, cut off, not an image, above the limit of pixels.
    """
    if not data:
        raise BadInput("image_empty", "the image file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        raise BadInput("not_an_image", f"not a {', '.join(_FORMATS)} image that Pillow opens") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged headers
        raise BadInput("not_an_image", f"damaged header ({error})") from None
    width, height = image.size
    if width * height > max_pixels:
        raise BadInput("image_too_large", f"{height}x{width} is above the limit of {max_pixels} pixels")
    # A phone's JPEG with a preview or a depth map after it is MPO to Pillow; every reader takes its first picture.
    kind = "JPEG" if image.format == "MPO" else image.format or ""
    oddity = _oddity(image, kind, data)
    if kind == "PNG":
        _check_png_end(data)
    after_end = _bytes_after_jpeg_end(data) if kind == "JPEG" else 0
    if kind == "JPEG":
        image.decodermaxblock = len(data)  # in one piece, not 64 kB at a time
        image.draft(image.mode, (max(width // _DRAFT, 1), max(height // _DRAFT, 1)))
    try:
        image.load()
    except Exception as error:
        raise BadInput("image_cut_off", f"the image does not decode to its end ({error})") from None
    return Checked(height, width, kind.lower(), oddity, _orientation(image), after_end)


def _oddity(image: Image.Image, kind: str, data: bytes) -> str:
    """Why the file's bytes cannot be stored as they are, or an empty text."""
    if kind not in ("JPEG", "PNG"):
        return f"{kind} image"
    if kind == "PNG" and data[24] == 16:  # the header's bit depth; RGB opens with its low bytes dropped
        return "image of 16 bits"
    return "" if image.mode in ("RGB", "L") and (kind == "JPEG" or data[24] == 8) else f"image of mode {image.mode}"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (as stored) to 8; 1 where there is none or it is damaged."""
    if "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not spoil the image
        return 1
    return value if value in range(1, 9) else 1


def _bytes_after_jpeg_end(data: bytes) -> int:
    """How many bytes follow a JPEG's end marker: the first one after the first scan's header.

    Inside a scan FF is always followed by 00 or a restart marker, so FF D9 there is the end. Thumbnails
    lie before the scan, in segments whose lengths lead past them.

    Raises:
      BadInput: there is none; the file was cut.
    """
    if data.endswith(b"\xff\xd9"):  # nearly all; looking for it would touch every byte
        return 0
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # a fill byte
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    end = data.find(b"\xff\xd9", place)
    if end < 0:
        raise BadInput("image_cut_off", "the JPEG has no end marker")
    return len(data) - end - 2


def _check_png_end(data: bytes) -> None:
    """Raise `BadInput` unless the chunks lead to a whole IEND: TensorFlow refuses what Pillow lets pass."""
    place = _PNG_SIGNATURE
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IEND":
            return
        place += 12 + length
    raise BadInput("image_cut_off", "the PNG has no end chunk")


def decode_rgb(data: bytes, turn: bool = False) -> Image.Image:
    """The whole image in mode RGB: 16 bits scaled to 8, palettes resolved, alpha dropped, turned if asked to."""
    image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if turn:
        image.load()
        # Not ImageOps.exif_transpose: it writes the EXIF block again and raises a TypeError where that is damaged.
        turned = _TURNS.get(_orientation(image))
        image = image.transpose(turned) if turned is not None else image
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(levels / 257.0).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def fit_image(image: Image.Image, content: tuple[int, int], canvas: tuple[int, int]) -> Image.Image:
    """Resize to ``content`` (height, width), antialiased, and fill right and bottom of ``canvas`` with black."""
    resized = image.resize(content[::-1], Image.Resampling.BICUBIC)
    if content == canvas:
        return resized
    filled = Image.new("RGB", canvas[::-1])
    filled.paste(resized)
    return filled


def encode_image(image: Image.Image, lossy: bool, quality: int) -> tuple[bytes, str]:
    """(bytes, "jpeg" or "png") of an RGB image."""
    buffer = io.BytesIO()
    if lossy:
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue(), "jpeg"
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "png"


def channel_sums(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """int64 (3,) sums and (3,) sums of squares of R, G, B over all pixels of an RGB image; exact."""
    counts = np.array(image.histogram(), np.int64).reshape(3, 256)
    levels = np.arange(256, dtype=np.int64)
    return counts @ levels, counts @ levels**2
