from dataclasses import replace
from typing import Any

import pytest

from drbench.errors import InputError
from drbench.records import TrainSettings
from drbench.training.presets import CHOICES, PRESETS, check_settings, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_knows_its_name_and_is_allowed(name: str) -> None:
    settings = preset(name)
    assert settings.preset == name
    check_settings(settings)


def test_the_papers_recipe() -> None:
    # Ma et al., ShuffleNet V2: batch 1024, linear decay from 0.5, weight decay 4e-5, 300,000 steps on 1,281,167 images.
    paper = preset("paper")
    assert (paper.batch_size, paper.learning_rate, paper.weight_decay) == (1024, 0.5, 4e-5)
    assert (paper.schedule, paper.label_smoothing) == ("linear", 0.1)
    assert paper.epochs == pytest.approx(300_000 * 1024 / 1_281_167, rel=0.01)


def test_overrides_replace_single_fields() -> None:
    assert preset("standard", {"epochs": 3}) == replace(PRESETS["standard"], epochs=3)


@pytest.mark.parametrize("field", CHOICES)
def test_every_choice_is_taken_and_others_are_not(field: str) -> None:
    for choice in CHOICES[field]:
        check_settings(replace(TrainSettings(), **{field: choice}))
    with pytest.raises(InputError, match=CHOICES[field][0]):
        check_settings(replace(TrainSettings(), **{field: "other"}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", None),
        ("batch_size", "many"),
        ("batch_size", True),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("warmup_epochs", -1),
        ("label_smoothing", 1.0),
        ("ema_decay", 1.0),
        ("grad_clip", 0.0),
        ("threads", 0),
        ("loader_workers", -1),
    ],
)
def test_values_out_of_range_are_named(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{field} ") as caught:
        preset("quick", {field: value})
    assert "\n" not in str(caught.value)


def test_misspelt_presets_and_fields() -> None:
    with pytest.raises(InputError, match="did you mean 'standard'"):
        preset("standart")
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        preset("quick", {"epoch": 3})
    with pytest.raises(InputError, match="momentum above 0"):
        preset("quick", {"momentum": 0.0})
