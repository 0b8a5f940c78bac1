"""Image file -> 8-bit RGB, for every mode that Pillow reads.

What is done with each kind of image:

- 8 bits or less per channel (grey, palette, CMYK, 1-bit, ...): Pillow's conversion to RGB. Transparency is dropped, as
  torchvision and timm do: the colour that the file stores under a transparent pixel is kept.
- 16-bit (also 10- and 12-bit) grey: scaled from the file's range to 0..255. Pillow's own conversion clips at 255, so
  nearly every such image would be white.
- floats: 0 is black and 1 is white, as for tensors. Files with other values are refused: nothing tells what is white.
- 32-bit integers: refused for the same reason.
- several frames (APNG, multi-page TIFF, animated WebP): the first.
- the EXIF orientation is applied: the image is what a viewer shows.
"""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from drbench.errors import DataError, InputError

DECODING = 2
"""Version of the above. It is part of an image folder's digest: results of two versions are not of the same images."""

ORIENTATION = 0x0112
"""EXIF tag."""
TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""TIFF tags. A photometric interpretation of 0 means that 0 is white; Pillow turns such images only at 8 bits."""

# Pillow logs what it thinks of damaged files. Without a handler Python prints that to stderr, between our own lines.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(path: str) -> Image.Image:
    """Decode the image file `path` to RGB. DataError names the file and says what is wrong with it."""
    with _named(path):
        check_file(path)
        with Image.open(path) as image:
            return to_rgb(upright(image))


def check_header(path: str) -> None:
    """Raise DataError if a file's first bytes show that `decode` will fail: no image, too large, a refused mode."""
    with _named(path):
        check_file(path)
        with Image.open(path) as image:
            _white(image)


def check_file(path: str) -> int:
    """Size of the file in bytes. DataError unless it is a regular file that is not empty and can be read."""
    try:
        found = os.stat(path)
    except OSError as error:
        link = f"is a link to {os.readlink(path)}, which" if os.path.islink(path) else "is a file that"
        raise DataError(f"image {path} {link} cannot be opened: {error.strerror}. Repair or remove it") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"image {path} is not a regular file. Remove it")
    if found.st_size == 0:
        raise DataError(f"image {path} is empty (0 bytes). Repair or remove it")
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise DataError(f"image {path} cannot be read: permission denied")
    return found.st_size


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB as described above. InputError for 32-bit integers and floats beyond 0 and 1."""
    white = _white(image)
    if image.mode == "F":
        floats = np.asarray(image).astype(np.float64)
        if not (floats.min() >= 0 and floats.max() <= 1):  # also where one is NaN
            raise InputError(f"its values are floats from {floats.min():.4g} to {floats.max():.4g}; expected 0 to 1")
        image = Image.fromarray((255 * floats).round().astype(np.uint8))
    if white is not None:
        values = np.asarray(image).astype(np.int64).clip(0, white)
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:
            values = white - values
        image = Image.fromarray(((255 * values + white // 2) // white).astype(np.uint8))  # rounded to nearest
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. EXIF data that cannot be parsed is ignored: the pixels are not affected."""
    image.load()  # Pillow itself turns TIFF files here
    try:
        turn = TRANSPOSED.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises errors of many types for damaged EXIF data
        return image
    return image if turn is None else image.transpose(turn)


def _white(image: Image.Image) -> int | None:
    """The value that stands for white in an image of more than 8 bits; None for all others."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
        return (1 << min(int(bits[0]), 16)) - 1
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # 16 bits in these formats, whatever the mode says
        return 65535
    if image.mode == "I":
        raise InputError("its values are 32-bit integers of unknown range; expected 8 or 16 bits per channel")
    return None


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn Pillow's errors, and its warning about a very large image, into a DataError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's other warnings (damaged EXIF data) do not concern the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (DataError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise _undecodable(
            path, f"it has more than {most:.0f} million pixels. Make it smaller, or remove it"
        ) from error
    except UnidentifiedImageError as error:
        raise _undecodable(path, "Pillow does not know its format. Repair or remove it") from error
    except InputError as error:
        raise _undecodable(path, f"{error}. Convert or remove it") from error
    except Exception as error:  # damaged files raise errors of many types
        text = " ".join(str(error).split()) or type(error).__name__
        raise _undecodable(path, f"{text}. Repair or remove it") from error


def _undecodable(path: str, why: str) -> DataError:
    return DataError(f"image {path} cannot be decoded: {why}")
