import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from drbench.data import open_data
from drbench.data.small import FASHION_FILES
from drbench.errors import InputError
from drbench.records import DataSettings


def test_cifar10_equals_what_torchvision_reads(cifar10_root: Path) -> None:
    splits = open_data(DataSettings("cifar10", root=str(cifar10_root)))
    held = splits.val_indices
    assert (len(splits.train), len(splits.val), len(splits.test)) == (45000, 5000, 10000)  # type: ignore[arg-type]
    assert len(splits.classes) == 10
    assert splits.classes[0] == "airplane"
    assert splits.input_shape == (3, 32, 32)
    assert not splits.synthetic
    reference = datasets.CIFAR10(str(cifar10_root), train=True)
    for place in (0, 1, 4999):
        image, label = splits.val[place]  # type: ignore[index]
        theirs, their_label = reference[held[place]]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(theirs))
        assert label == their_label
    assert torch.bincount(splits.val.labels).tolist() == [500] * 10  # type: ignore[union-attr]
    image, label = splits.test[9999]
    theirs, their_label = datasets.CIFAR10(str(cifar10_root), train=False)[9999]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(theirs))
    assert label == their_label


def test_a_truncated_batch_is_named(cifar10_root: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar10_root / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    damaged = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"data_batch_3 has 1000 bytes.*--download") as caught:
        open_data(DataSettings("cifar10", root=str(tmp_path)))
    assert "\n" not in str(caught.value)
    damaged.unlink()
    with pytest.raises(InputError, match=r"there is no .*data_batch_3"):
        open_data(DataSettings("cifar10", root=str(tmp_path)))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist"])
def test_missing_data_says_where_it_should_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{name}.*{tmp_path}.*--download"):
        open_data(DataSettings(name, root=str(tmp_path)))
    with pytest.raises(InputError, match="--data-root DIR"):
        open_data(DataSettings(name))


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    data = {part: rng.integers(0, 256, (count, 3072), dtype=np.uint8) for part, count in (("train", 300), ("test", 50))}
    for part, pixels in data.items():
        labels = {"fine_labels": [i % 100 for i in range(len(pixels))], "coarse_labels": [0] * len(pixels)}
        (folder / part).write_bytes(pickle.dumps({"data": pixels, **labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class{i}" for i in range(100)]}))
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda self: True)  # these are not the published files
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda path, md5=None: True)
    splits = open_data(DataSettings("cifar100", root=str(tmp_path), val_fraction=0.34))
    assert splits.classes[99] == "class99"
    assert (len(splits.train), len(splits.val)) == (200, 100)  # type: ignore[arg-type]
    image, label = splits.test[49]
    assert torch.equal(image, torch.from_numpy(data["test"][49]).view(3, 32, 32))
    assert label == 49


def idx(path: Path, array: np.ndarray) -> None:  # type: ignore[type-arg]
    """Y. LeCun's IDX format: magic number with the rank, the sizes, the bytes."""
    path.write_bytes(struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes())


def write_fashion(root: Path) -> np.ndarray:  # type: ignore[type-arg]
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in FASHION_FILES:
        count = 60 if name.startswith("train") else 20
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        idx(folder / name, images if "images" in name else np.arange(count, dtype=np.uint8) % 10)
        if name == "t10k-images-idx3-ubyte":
            test = images
    return test


def test_fashion_mnist_is_padded_to_32_and_repeated(tmp_path: Path) -> None:
    images = write_fashion(tmp_path)
    splits = open_data(DataSettings("fashion-mnist", root=str(tmp_path), val_fraction=0.5))
    assert splits.input_shape == (3, 32, 32)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 30, 20)  # type: ignore[arg-type]
    image, label = splits.test[7]
    for channel in image:
        assert np.array_equal(channel[2:30, 2:30].numpy(), images[7])
    assert int(image.sum()) == 3 * int(images[7].sum())  # nothing in the margin
    assert label == 7


def test_a_truncated_fashion_mnist_is_named(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    damaged = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(InputError, match="train-images-idx3-ubyte has 5000 bytes"):
        open_data(DataSettings("fashion-mnist", root=str(tmp_path)))


def test_what_idx_headers_claim_is_checked(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    folder = tmp_path / "FashionMNIST" / "raw"
    idx(folder / "t10k-images-idx3-ubyte", np.zeros((19, 28, 28), np.uint8))
    with pytest.raises(InputError, match=r"'fashion-mnist' in .*: test has 19 images and 20 labels"):
        open_data(DataSettings("fashion-mnist", root=str(tmp_path)))
    idx(folder / "t10k-images-idx3-ubyte", np.zeros((20, 28, 28), np.uint8))
    idx(folder / "t10k-labels-idx1-ubyte", np.full(20, 11, np.uint8))
    with pytest.raises(InputError, match="'fashion-mnist': test has labels from 11 to 11; expected 0 to 9"):
        open_data(DataSettings("fashion-mnist", root=str(tmp_path)))


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


BATCHES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [("cifar10", "cifar-10-batches-py", BATCHES), ("cifar100", "cifar-100-python", ("train", "test", "meta"))],
)
def test_a_pickle_that_is_not_the_published_one_is_never_loaded(
    name: str, folder: str, files: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    payload = pickle.dumps(Touch(tmp_path / "ran"))
    pickle.loads(payload)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    for file in files:
        (tmp_path / folder / file).write_bytes(payload)
    with pytest.raises(InputError, match=rf"'{name}' is damaged: .*{files[0]} .*checksum"):
        open_data(DataSettings(name, root=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_only_the_meta_file_of_cifar10_is_not_the_published_one(cifar10_root: Path, tmp_path: Path) -> None:
    shutil.copytree(cifar10_root / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    meta = tmp_path / "cifar-10-batches-py" / "batches.meta"
    meta.chmod(0o644)
    meta.write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"batches\.meta .*checksum"):
        open_data(DataSettings("cifar10", root=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_a_root_that_is_no_folder_and_files_that_are_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--data-root: got .*Not a directory"):
        open_data(DataSettings("cifar10", root=str(tmp_path / "file")))
    with pytest.raises(InputError, match=r"is not in .*--download"):
        open_data(DataSettings("cifar10", root=str(tmp_path / "no")))
    for file in BATCHES:
        (tmp_path / "cifar-10-batches-py" / file).mkdir(parents=True)
    with pytest.raises(InputError, match=r"there is no .*data_batch_1"):
        open_data(DataSettings("cifar10", root=str(tmp_path)))
