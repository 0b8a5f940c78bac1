import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageOps

from drbench.data.decode import check_header, decode, to_rgb
from drbench.errors import DataError, InputError
from tests.hostile_images import GOOD, KINDS, REFUSED, flipped, png


def pixels(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(decode(str(path))).astype(int)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_is_decoded_or_named(name: str, tmp_path: Path) -> None:
    write, fate = KINDS[name]
    path = tmp_path / name
    write(Random(0), path)
    if fate == GOOD:
        check_header(str(path))
        assert decode(str(path)).mode == "RGB"
        return
    with pytest.raises(DataError, match=f"image .*{name} ") as caught:
        decode(str(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


IN_THE_HEADER = sorted(
    name
    for name, (_, fate) in KINDS.items()
    if fate == REFUSED
    and name not in ("float255.tif", "truncated.jpg", "truncated.png", "truncated.webp", "wrong-data.png")
)


@pytest.mark.parametrize("name", IN_THE_HEADER)
def test_what_a_header_shows_is_found_without_decoding(name: str, tmp_path: Path) -> None:
    KINDS[name][0](Random(0), tmp_path / name)
    with pytest.raises(DataError, match=name):
        check_header(str(tmp_path / name))


def test_files_with_flipped_bytes_are_decoded_or_named(tmp_path: Path) -> None:
    rng = Random(5)
    sources = [name for name, (_, fate) in KINDS.items() if fate == GOOD]
    fates = set()
    for number in range(150):
        name = sources[number % len(sources)]
        source, target = tmp_path / name, tmp_path / f"flipped-{name}"
        if number < len(sources):
            KINDS[name][0](rng, source)
        flipped(rng, source, target)
        try:
            fates.add(decode(str(target)).mode)
        except DataError as error:
            fates.add(target.name in str(error))
    assert fates == {"RGB", True}


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_to_eight(suffix: str, tmp_path: Path) -> None:
    values = (np.random.default_rng(0).random((40, 40)) * 65535).astype(np.uint16)
    values.flat[:3] = 0, 65535, 32768
    Image.fromarray(values).save(tmp_path / f"g.{suffix}")
    found = pixels(tmp_path / f"g.{suffix}")
    expected = np.round(values.astype(np.float64) / 257)
    assert (found == expected[..., None]).all()  # Pillow's convert("RGB") gives 255 for all above 255
    assert found.mean() == pytest.approx(127, abs=4)
    assert len(np.unique(found)) == 256


def test_twelve_bits_of_a_pgm_are_scaled_from_its_own_range(tmp_path: Path) -> None:
    values = np.array([[0, 1024, 4095]], dtype=">u2")
    (tmp_path / "g.pgm").write_bytes(b"P5\n3 1\n4095\n" + values.tobytes())
    assert pixels(tmp_path / "g.pgm")[0, :, 0].tolist() == [0, 64, 255]


def tiff(width: int, height: int, bits: int, photometric: int, data: bytes) -> bytes:
    """An uncompressed grey TIFF file ("TIFF, Revision 6.0", 1992), its tags in ascending order."""
    start = 8 + 2 + 12 * 9 + 4
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: start,
        277: 1,
        278: height,
        279: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_twelve_bits_of_a_tiff_are_scaled_from_twelve_bits(tmp_path: Path) -> None:
    values = np.array([[0, 4095, 2048, 1000]])
    a, b, c, d = values[0].tolist()
    packed = bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255, c >> 4, (c & 15) << 4 | d >> 8, d & 255])
    (tmp_path / "t.tif").write_bytes(tiff(4, 1, 12, 1, packed))
    assert pixels(tmp_path / "t.tif")[0, :, 0].tolist() == [0, 255, 128, 62]


@pytest.mark.parametrize(("bits", "data"), [(8, bytes([0, 100, 255])), (16, struct.pack("<3H", 0, 25700, 65535))])
def test_tiff_files_in_which_white_is_zero_are_inverted(bits: int, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.tif").write_bytes(tiff(3, 1, bits, 0, data))
    assert pixels(tmp_path / "t.tif")[0, :, 0].tolist() == [255, 155, 0]


def test_sixteen_bits_per_colour_lose_the_lower_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)  # filter 0 before every row
    (tmp_path / "c.png").write_bytes(png(7, 6, zlib.compress(rows), bits=16, colour=2))
    assert (pixels(tmp_path / "c.png") == values.astype(int) >> 8).all()


def test_big_endian_sixteen_bits() -> None:
    image = Image.frombytes("I;16B", (3, 1), np.array([0, 25700, 65535], dtype=">u2").tobytes())
    assert np.asarray(to_rgb(image))[0, :, 1].tolist() == [0, 100, 255]


@pytest.mark.parametrize("suffix", ["tif", "pfm"])
def test_floats_from_0_to_1_are_scaled(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    values.flat[:3] = 0, 1, 100 / 255
    Image.fromarray(values).save(tmp_path / f"f.{suffix}", format=None if suffix == "tif" else "PPM")
    found = pixels(tmp_path / f"f.{suffix}")
    assert (
        found == np.round(values.astype(np.float64) * 255)[..., None]
    ).all()  # Pillow's convert("RGB") gives 0 and 1
    assert found.flat[:9:3].tolist() == [0, 255, 100]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0.0, 255.0]], np.float32), "floats from 0 to 255; expected 0 to 1"),
        (np.array([[-0.1, 0.5]], np.float32), r"floats from -0\.1 to 0\.5"),
        (np.array([[0.5, np.nan]], np.float32), "floats from nan to nan"),
        (np.array([[0, 255]], np.int32), "32-bit integers of unknown range"),
    ],
    ids=str,
)
def test_values_of_unknown_range_are_refused(values: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=words):
        to_rgb(Image.fromarray(values))


def test_modes_of_eight_bits_and_less(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    grey, rgb, alpha = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 8), (9, 8, 3), (9, 8)))
    Image.fromarray(np.stack([grey, alpha], 2), "LA").save(tmp_path / "la.png")
    assert (pixels(tmp_path / "la.png") == grey[..., None]).all()
    Image.fromarray(np.concatenate([rgb, alpha[..., None]], 2)).save(tmp_path / "rgba.png")
    assert (pixels(tmp_path / "rgba.png") == rgb).all()  # the stored colour, whatever its transparency
    Image.fromarray(grey > 127).save(tmp_path / "one.png")
    assert (pixels(tmp_path / "one.png") == np.where(grey > 127, 255, 0)[..., None]).all()
    palette = Image.fromarray(grey, "P")
    palette.putpalette(colours := rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    palette.save(tmp_path / "p.png", transparency=alpha.tobytes().ljust(256, b"\0")[:256])
    assert (pixels(tmp_path / "p.png") == np.frombuffer(colours, np.uint8).reshape(256, 3)[grey]).all()
    inks = rng.integers(0, 256, (9, 8, 4), dtype=np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.tif")
    light = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    assert abs(pixels(tmp_path / "cmyk.tif") - light).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_of_several_frames_the_first_is_taken(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"f.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    assert pixels(tmp_path / f"f.{suffix}")[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_the_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(8, 32).repeat(4, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"turned.{suffix}", exif=exif)
    with Image.open(tmp_path / f"turned.{suffix}") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert (pixels(tmp_path / f"turned.{suffix}") == expected).all()


def test_orientation_six_is_a_quarter_turn_clockwise(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # white on the left; a viewer shows it on top
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "six.png", exif=exif)
    found = pixels(tmp_path / "six.png")
    assert found.shape == (40, 20, 3)
    assert (found[:20] == 255).all()
    assert (found[20:] == 0).all()


def test_a_bomb_is_named_with_its_limit(tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(png(14_000, 14_000, b""))
    with pytest.raises(DataError, match=r"big\.png cannot be decoded: it has more than 89 million pixels"):
        decode(str(tmp_path / "big.png"))
