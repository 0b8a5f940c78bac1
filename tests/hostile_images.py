"""Image files of every kind that a folder of images may hold by accident or on purpose, seeded.

`images(rng, folder)` writes them and says of each what drbench has to do with it; the tests of the data sets and the
fuzzer use it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

GOOD, REFUSED = "good", "refused"
"""What becomes of a file: it is decoded to 8-bit RGB, or a DataError names it."""


def images(rng: Random, folder: Path) -> dict[Path, str]:
    """Write one file of every kind to `folder`; path -> GOOD or REFUSED. Equal `rng` states write equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[Path, str] = {}
    for name, (write, fate) in KINDS.items():
        path = folder / name
        write(rng, path)
        written[path] = fate
    return written


def flipped(rng: Random, source: Path, target: Path, flips: int = 8) -> None:
    """A copy of an image file with some bytes changed: it may be good, or refused, and nothing else."""
    data = bytearray(source.read_bytes())
    for _ in range(flips):
        data[rng.randrange(len(data))] = rng.randrange(256)
    target.write_bytes(data)


def _pixels(rng: Random, *channels: int) -> np.ndarray:  # type: ignore[type-arg]
    shape = (rng.randrange(20, 40), rng.randrange(20, 40), *channels)
    return np.random.default_rng(rng.randrange(2**32)).random(shape)


def _of_mode(mode: str, **keywords: object) -> Callable[[Random, Path], None]:
    def write(rng: Random, path: Path) -> None:
        Image.fromarray((255 * _pixels(rng, 3)).astype(np.uint8)).convert(mode).save(path, **keywords)  # type: ignore[arg-type]

    return write


def _of_dtype(dtype: str, scale: float) -> Callable[[Random, Path], None]:
    return lambda rng, path: Image.fromarray((scale * _pixels(rng)).astype(dtype)).save(path)


def _turned(rng: Random, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(2, 9)
    Image.fromarray((255 * _pixels(rng, 3)).astype(np.uint8)).save(path, exif=exif)


def _frames(rng: Random, path: Path) -> None:
    first, *others = (Image.new("RGB", (24, 24), tuple(rng.randbytes(3))) for _ in range(3))
    first.save(path, save_all=True, append_images=others)


def _transparent(rng: Random, path: Path) -> None:
    image = Image.fromarray((255 * _pixels(rng)).astype(np.uint8)).convert("P")
    image.save(path, transparency=bytes(rng.randrange(256) for _ in range(256)))


def _bytes(content: Callable[[Random], bytes]) -> Callable[[Random, Path], None]:
    def write(rng: Random, path: Path) -> None:
        path.write_bytes(content(rng))

    return write


def _truncated(rng: Random, path: Path) -> None:
    _of_mode("RGB")(rng, path)
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(4 * len(data) // 5, 9 * len(data) // 10)])  # the header stays whole


def png(width: int, height: int, data: bytes, *, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG (grey; `colour` 2: RGB) that claims this size, with `data` as its compressed pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _damaged_exif(rng: Random, path: Path) -> None:
    damaged = b"Exif\0\0II*\0" + bytes(rng.randrange(256) for _ in range(40))
    Image.fromarray((255 * _pixels(rng, 3)).astype(np.uint8)).save(path, exif=damaged)


KINDS: dict[str, tuple[Callable[[Random, Path], None], str]] = {
    "rgb.png": (_of_mode("RGB"), GOOD),
    "rgb.jpg": (_of_mode("RGB"), GOOD),
    "rgb.webp": (_of_mode("RGB"), GOOD),
    "rgb.bmp": (_of_mode("RGB"), GOOD),
    "rgb.ppm": (_of_mode("RGB"), GOOD),
    "grey.png": (_of_mode("L"), GOOD),
    "grey-alpha.png": (_of_mode("LA"), GOOD),
    "rgba.png": (_of_mode("RGBA"), GOOD),
    "palette.png": (_of_mode("P"), GOOD),
    "palette-transparent.png": (_transparent, GOOD),
    "one-bit.png": (_of_mode("1"), GOOD),
    "one-bit.tif": (_of_mode("1"), GOOD),
    "cmyk.jpg": (_of_mode("CMYK"), GOOD),
    "cmyk.tif": (_of_mode("CMYK"), GOOD),
    "ycbcr.tif": (_of_mode("YCbCr"), GOOD),
    "grey16.png": (_of_dtype("uint16", 65535), GOOD),
    "grey16.tif": (_of_dtype("uint16", 65535), GOOD),
    "grey16.pgm": (_of_dtype("uint16", 65535), GOOD),
    "float.tif": (_of_dtype("float32", 1.0), GOOD),
    "turned.jpg": (_turned, GOOD),
    "damaged-exif.jpg": (_damaged_exif, GOOD),
    "frames.png": (_frames, GOOD),
    "frames.tif": (_frames, GOOD),
    "frames.webp": (_frames, GOOD),
    "jpeg-called.png": (_of_mode("RGB", format="JPEG"), GOOD),
    "int32.tif": (_of_dtype("int32", 2**31 - 1), REFUSED),
    "float255.tif": (_of_dtype("float32", 255.0), REFUSED),
    "truncated.png": (_truncated, REFUSED),
    "truncated.jpg": (_truncated, REFUSED),
    "truncated.webp": (_truncated, REFUSED),
    "empty.png": (_bytes(lambda rng: b""), REFUSED),
    "text.jpg": (_bytes(lambda rng: b"<html>404 Not Found</html>"), REFUSED),
    "noise.png": (_bytes(lambda rng: b"\x89PNG\r\n\x1a\n" + rng.randbytes(200)), REFUSED),
    "header-only.jpg": (_bytes(lambda rng: b"\xff\xd8\xff\xe0" + rng.randbytes(4)), REFUSED),
    "bomb.png": (_bytes(lambda rng: png(14_000, 14_000, zlib.compress(bytes(14_001 * 10)))), REFUSED),
    "large.png": (_bytes(lambda rng: png(10_000, 10_000, zlib.compress(bytes(10_001 * 10)))), REFUSED),
    "no-pixels.png": (_bytes(lambda rng: png(0, 0, b"")), REFUSED),
    "wrong-data.png": (_bytes(lambda rng: png(20, 20, rng.randbytes(30))), REFUSED),
    "dead-link.png": (lambda rng, path: os.symlink("nowhere.png", path), REFUSED),
    "own-link.png": (lambda rng, path: os.symlink(path.name, path), REFUSED),
    "folder.png": (lambda rng, path: path.mkdir(), REFUSED),
    "fifo.png": (lambda rng, path: os.mkfifo(path), REFUSED),
}
