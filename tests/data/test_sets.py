import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drbench import data
from drbench.data import DATASETS, NAMES, info, open_data
from drbench.data.seeds import derive
from drbench.errors import InputError
from drbench.records import DataSettings

OWN = '''
import torch
from torch.utils.data import Dataset, TensorDataset

class Tinted(Dataset):
    """PIL-free, drawing at random in its items."""
    classes = ["dark", "bright"]
    def __init__(self, count, size=12):
        self.targets = [i % 2 for i in range(count)]
        self.size = size
    def __len__(self):
        return len(self.targets)
    def __getitem__(self, index):
        return torch.rand(3, self.size, self.size) * 0.3 + 0.5 * self.targets[index], self.targets[index]

def tinted(count=40, size=12):
    return Tinted(count, size), Tinted(10, size)

def rooted(root, download=False):
    images = torch.full((20, 3, 8, 8), float(len(root)) / 100)
    return TensorDataset(images, torch.arange(20) % 4), TensorDataset(images, torch.arange(20) % 4)

def nothing():
    return 3

def nameless():
    class Bare(Dataset):
        def __len__(self): return 4
        def __getitem__(self, i): return torch.zeros(3, 4, 4), 0
    return Bare(), Bare()

def flat():
    return TensorDataset(torch.zeros(4, 12), torch.zeros(4)), TensorDataset(torch.zeros(4, 12), torch.zeros(4))

from dataclasses import replace
from drbench.data import open_data
from drbench.data.splits import Images
from drbench.records import DataSettings

def whole(**changed):
    return replace(open_data(DataSettings("shapes", args={"train": 30, "test": 10})), **changed)

# what goes wrong, by name
from torch.utils.data import IterableDataset, Subset

def pair(images=None, labels=None, n=64):
    images = torch.rand(n, 3, 8, 8) if images is None else images
    return TensorDataset(images, torch.arange(n) % 4 if labels is None else labels)

class Raising(TensorDataset):
    def __getitem__(self, index):
        if index == 40:
            raise ValueError("bad item 40")
        return super().__getitem__(index)

class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3, 8, 8), 0

class Mixed(TensorDataset):
    targets = [0, 1] * 32
    def __getitem__(self, index):
        return torch.rand(3, 8, 8 + index % 2), index % 2

def spoilt(index, value):
    images = torch.rand(64, 3, 8, 8)
    images[index] = value
    return pair(images)

class Named(TensorDataset):
    classes = "ab"

def boom():
    raise RuntimeError("no\\nluck")

def leave():
    raise SystemExit(3)

class Mute(Exception):
    def __str__(self):
        raise ValueError

def mute():
    raise Mute

class Leaving(TensorDataset):
    def __getitem__(self, index):
        raise SystemExit(4)

class Property(TensorDataset):
    @property
    def targets(self):
        raise KeyError("labels.csv")
    @property
    def classes(self):
        raise OSError("classes.txt")

class Endless(TensorDataset):
    def __len__(self):
        return 10**15

def ids():
    return pair(labels=torch.arange(64) + 10**12), pair()

def wide():
    images = torch.rand(64, 3, 8, 12) * 1.2 - 0.1  # as noise and interpolation leave them
    return pair(images), pair(images)

WRONG = {
    "onehot": lambda: (pair(labels=torch.eye(4)[torch.arange(64) % 4]), pair()),
    "raising": lambda: (Raising(*pair().tensors), pair()),
    "raising_test": lambda: (pair(), Raising(*pair().tensors)),
    "more_in_test": lambda: (pair(), pair(labels=torch.arange(64) % 6)),
    "negative": lambda: (pair(labels=torch.arange(64) % 4 - 1), pair()),
    "negative_test": lambda: (pair(), pair(labels=torch.arange(64) % 4 - 1)),
    "range255": lambda: (pair(255 * torch.rand(64, 3, 8, 8)), pair()),
    "range255_test": lambda: (pair(), pair(255 * torch.rand(64, 3, 8, 8))),
    "normalised": lambda: (pair(4 * torch.rand(64, 3, 8, 8) - 2), pair()),
    "regression": lambda: (pair(labels=torch.rand(64)), pair()),
    "hwc": lambda: (pair(torch.rand(64, 16, 8, 3)), pair()),
    "nan": lambda: (spoilt(7, float("nan")), pair()),
    "mixed": lambda: (Mixed(*pair().tensors), pair()),
    "stream": lambda: (Stream(), Stream()),
    "generator": lambda: ((x for x in ()), pair()),
    "dictionary": lambda: {"train": pair(), "test": pair()},
    "three": lambda: (pair(), pair(), pair()),
    "one": lambda: pair(),
    "none": lambda: None,
    "empty": lambda: (pair(), Subset(pair(), [])),
    "named": lambda: (Named(*pair().tensors), pair()),
    "tensors": lambda: (torch.rand(64, 3, 8, 8), torch.rand(64, 3, 8, 8)),
    "three_tensors": lambda: (TensorDataset(*pair().tensors, torch.arange(64)), pair()),
    "boom": boom,
    "mute": mute,
    "leaving": lambda: (Leaving(*pair().tensors), pair()),
    "property": lambda: (Property(*pair().tensors), pair()),
    "endless": lambda: (pair(), Endless(*pair().tensors)),
    "leave": leave,
    "ids": ids,
    "std": lambda: whole(preprocessing={"input_size": [32, 32], "resize": None, "mean": [0] * 3, "std": [0] * 3}),
    "fields": lambda: whole(classes=5),
    "no_classes": lambda: whole(classes=()),
    "float_labels": lambda: whole(test=Images(torch.zeros(4, 3, 32, 32), torch.rand(4))),
    "nan_splits": lambda: whole(test=Images(torch.full((4, 3, 32, 32), float("nan")), torch.arange(4))),
}
globals().update(WRONG)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_sets_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_table_without_torch_and_the_registry_agree() -> None:
    assert tuple(DATASETS) == NAMES


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys; from drbench.data import info; from drbench.records import DataSettings; "
        "print(info(DataSettings('cifar100')).num_classes, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["100", "False"]


@pytest.mark.parametrize("args", [{}, {"size": 40}, {"size": 40, "input_size": 48}])
def test_info_agrees_with_the_opened_data_set(args: dict[str, int]) -> None:
    settings = DataSettings("shapes", args={"train": 30, "test": 10, **args})
    known, splits = info(settings), open_data(settings)
    assert known.num_classes == len(splits.classes)
    assert known.input_shape == splits.input_shape
    assert known.synthetic == splits.synthetic


@pytest.mark.parametrize("function", [info, open_data])
def test_a_misspelt_name(function: object) -> None:
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        function(DataSettings("cifar-10"))  # type: ignore[operator]


@pytest.mark.parametrize("value", ["abc", -5, 0, True, 1e3, [3], 10**8, 10**30])
@pytest.mark.parametrize("name", ["shapes", "cifar10", "imagefolder", "math:sqrt"])
def test_sizes_that_are_none(name: str, value: object) -> None:
    for function in (info, open_data):
        with pytest.raises(InputError, match=r"data input_size: got .*; expected a whole number of pixels"):
            function(DataSettings(name, args={"input_size": value}))  # type: ignore[operator]


def test_a_misspelt_argument() -> None:
    with pytest.raises(InputError, match=r"'trian'; expected .*train"):
        open_data(DataSettings("shapes", args={"trian": 3}))
    with pytest.raises(InputError, match=r"got argument 'val_fraction'; expected"):
        open_data(DataSettings("shapes", args={"val_fraction": 3}))
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


def test_a_data_set_of_the_users_own(own: str) -> None:
    settings = DataSettings(f"{own}:tinted", val_fraction=0.2, args={"count": 60})
    splits = open_data(settings)
    assert splits.classes == ("dark", "bright")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (48, 12, 10)  # type: ignore[arg-type]
    assert splits.input_shape == info(settings).input_shape == (3, 12, 12)
    assert splits.digest == open_data(settings).digest  # although every look at an item draws anew
    resized = open_data(settings, input_size=20)
    assert resized.input_shape == tuple(resized.test[0][0].shape) == (3, 20, 20)
    assert not splits.synthetic


def test_root_is_handed_on_and_classes_are_counted(own: str) -> None:
    splits = open_data(DataSettings(f"{own}:rooted", root="abc"))
    assert splits.classes == ("0", "1", "2", "3")
    assert torch.allclose(splits.train[0][0], torch.tensor(0.03))


def test_whole_splits_are_taken_as_they_are(own: str) -> None:
    splits = open_data(DataSettings(f"{own}:whole"))
    assert splits.synthetic
    assert len(splits.classes) == 10


@pytest.mark.parametrize(
    ("function", "words"),
    [("nothing", "returned int"), ("nameless", "`classes`"), ("flat", r"shape \(12,\)"), ("absent", "has no 'absent'")],
)
def test_what_a_callable_got_wrong_is_said(own: str, function: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_data(DataSettings(f"{own}:{function}"))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("onehot", r", train item 0: label has shape \(4,\); .*label\.argmax\(\)"),
        ("raising", r", train item 40: ValueError: bad item 40 \(own_sets_\d+\.py, line \d+\)"),
        ("raising_test", r", test item 40: ValueError: bad item 40"),
        ("more_in_test", r", test item 4: label is 4; expected 0 to 3, for the training set has 4 classes"),
        ("negative", r", train item 0: label is -1"),
        ("negative_test", r", test item 0: label is -1"),
        ("range255", r", train: images hold floats from 0 to 255; expected \[0, 1\]\. Divide by 255"),
        ("range255_test", r", test: images hold floats from 0 to 255"),
        ("normalised", r", train: images hold floats from -2 to 2; .*Leave out the normalisation"),
        ("regression", r", train item 0: label is 0\.\d+; expected a class index"),
        ("hwc", r", train item 0: image .* looks like \(H, W, C\); expected \(C, H, W\)"),
        ("nan", r", train item 7: image holds NaN"),
        ("mixed", r", train item 1: image has shape \(3, 8, 9\), the first has \(3, 8, 8\); .*input_size"),
        ("stream", r": train is a Stream without items by index"),
        ("generator", r": train is a generator without items by index"),
        ("dictionary", r" returned dict: expected \(train, test\)"),
        ("three", r" returned tuple of 3: expected \(train, test\)"),
        ("one", r" returned TensorDataset: expected"),
        ("none", r" returned NoneType: expected"),
        ("empty", r": test has no images"),
        ("named", r": `classes` is a str; expected a list"),
        ("tensors", r", train item 0: got a Tensor; expected a pair"),
        ("three_tensors", r", train item 0: got a tuple of 3; expected a pair"),
        ("boom", r" raised RuntimeError: no luck \(own_sets_\d+\.py, line \d+\)"),
        ("leave", r" raised SystemExit: 3"),
        ("mute", r" raised Mute \(own_sets_\d+\.py, line \d+\)"),
        ("leaving", r", train item 0: SystemExit: 4"),
        ("property", r": `classes` raised OSError: classes\.txt"),
        ("endless", r": test has 1000000000000000 images; expected 1 to 100000000"),
        ("ids", r", train item 0: label is 1000000000000"),
        ("std", r": preprocessing std: got \[0, 0, 0\]; expected 3 numbers above 0"),
        ("fields", r" returned Splits with a field of a wrong type"),
        ("no_classes", r": got 0 classes"),
        ("float_labels", r": test holds .*torch\.float32 labels"),
        ("nan_splits", r": test images hold NaN"),
    ],
)
def test_what_is_wrong_in_a_data_set_is_said_with_its_name(own: str, function: str, words: str) -> None:
    name = "shapes" if function in ("std", "no_classes", "float_labels", "nan_splits") else f"{own}:{function}"
    with pytest.raises(InputError, match=f"^data set '{name}'{words}") as caught:
        open_data(DataSettings(f"{own}:{function}"))
    assert "\n" not in str(caught.value)


def test_images_that_are_no_squares_keep_their_shape(own: str) -> None:
    assert open_data(DataSettings(f"{own}:wide")).input_shape == (3, 8, 12)


def test_a_wrong_argument_of_a_callable(own: str) -> None:
    with pytest.raises(InputError, match="cuont"):
        open_data(DataSettings(f"{own}:tinted", args={"cuont": 3}))


def test_seeds_are_pinned_and_apart() -> None:
    # From the definition: SHA-256 of "order/0/1", first 8 bytes, without the sign bit.
    assert derive("order", 0, 1) == int(hashlib.sha256(b"order/0/1").hexdigest()[:16], 16) >> 1
    seeds = {derive(what, i, j) for what in ("order", "layers") for i in range(12) for j in range(12)}
    assert len(seeds) == 2 * 144
    assert derive("x", 1, 11) != derive("x", 11, 1)
