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

from drbench.data import open_data
from drbench.records import DataSettings

def whole():
    return open_data(DataSettings("shapes", args={"train": 30, "test": 10}))
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


def test_a_misspelt_argument() -> None:
    with pytest.raises(InputError, match=r"'trian': allowed are .*train"):
        open_data(DataSettings("shapes", args={"trian": 3}))
    with pytest.raises(InputError, match=r"'val_fraction': allowed"):
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


def test_a_wrong_argument_of_a_callable(own: str) -> None:
    with pytest.raises(InputError, match="cuont"):
        open_data(DataSettings(f"{own}:tinted", args={"cuont": 3}))


def test_seeds_are_pinned_and_apart() -> None:
    # From the definition: SHA-256 of "order/0/1", first 8 bytes, without the sign bit.
    assert derive("order", 0, 1) == int(hashlib.sha256(b"order/0/1").hexdigest()[:16], 16) >> 1
    seeds = {derive(what, i, j) for what in ("order", "layers") for i in range(12) for j in range(12)}
    assert len(seeds) == 2 * 144
    assert derive("x", 1, 11) != derive("x", 11, 1)
