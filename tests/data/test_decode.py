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
    if fate == REFUSED and name not in ("truncated.jpg", "truncated.png", "truncated.webp", "wrong-data.png")
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


def test_big_endian_sixteen_bits() -> None:
    image = Image.frombytes("I;16B", (3, 1), np.array([0, 25700, 65535], dtype=">u2").tobytes())
    assert np.asarray(to_rgb(image))[0, :, 1].tolist() == [0, 100, 255]


def test_floats_and_32_bit_integers_are_refused() -> None:
    for dtype, words in (("float32", "floats"), ("int32", "32-bit integers")):
        with pytest.raises(InputError, match=words):
            to_rgb(Image.fromarray(np.ones((4, 4), dtype)))


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
