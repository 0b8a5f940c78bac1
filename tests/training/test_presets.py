from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from drbench.errors import InputError
from drbench.records import TrainSettings
from drbench.training.presets import OF_TASKS, PRESETS, check_settings, in_words, preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_knows_its_name_and_is_allowed(name: str) -> None:
    settings = preset(name)
    assert settings.preset == name
    check_settings(settings)


def test_settings_that_are_no_preset_do_not_claim_to_be_one() -> None:
    assert TrainSettings().preset == "custom"
    assert "custom" not in PRESETS
    assert all(replace(TrainSettings(), preset=name) != settings for name, settings in PRESETS.items())


def test_the_papers_recipe() -> None:
    # Ma et al., ShuffleNet V2: batch 1024, linear decay from 0.5, weight decay 4e-5, 300,000 steps on 1,281,167 images.
    paper = preset("paper")
    assert (paper.batch_size, paper.learning_rate, paper.weight_decay) == (1024, 0.5, 4e-5)
    assert (paper.schedule, paper.label_smoothing) == ("linear", 0.1)
    assert paper.epochs == pytest.approx(300_000 * 1024 / 1_281_167, rel=0.01)


def test_overrides_replace_single_fields() -> None:
    assert preset("standard", {"epochs": 3}) == replace(PRESETS["standard"], epochs=3)


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("optimizer", ("sgd", "adamw")),
        ("schedule", ("cosine", "linear", "constant")),
        ("augment", ("none", "standard")),
        ("device", ("auto", "cpu", "cuda", "mps")),
        ("precision", ("fp32", "bf16", "fp16")),
    ],
)
def test_every_choice_is_taken_and_others_are_not(field: str, choices: tuple[str, ...]) -> None:
    for choice in choices:
        check_settings(replace(TrainSettings(), **{field: choice}))
    for other in ("other", None, 1, [choices[0]]):
        with pytest.raises(InputError, match=rf"^{field}: got .*; expected '{choices[0]}'.* or '{choices[-1]}'"):
            check_settings(replace(TrainSettings(), **{field: other}))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", 0, "an integer above 0 and at most 1,000,000"),
        ("epochs", 1.5, "an integer above 0 and at most 1,000,000"),
        ("epochs", None, "an integer above 0 and at most 1,000,000"),
        ("batch_size", "many", "an integer above 0 and at most 16,777,216"),
        ("batch_size", True, "an integer above 0 and at most 16,777,216"),
        ("learning_rate", 0, "a number above 0 and at most 1,000,000"),
        ("learning_rate", float("nan"), "a number above 0 and at most 1,000,000"),
        ("learning_rate", float("inf"), "a number above 0 and at most 1,000,000"),
        ("momentum", 1.0, "a number at least 0 and below 1"),
        ("weight_decay", -1e-4, "a number at least 0 and at most 1,000,000"),
        ("nesterov", 1, "True or False"),
        ("warmup_epochs", -1, "a number at least 0 and at most 1,000,000"),
        ("label_smoothing", 1.0, "a number at least 0 and below 1"),
        ("ema_decay", 1.0, "a number above 0 and below 1, or None"),
        ("ema_decay", 0.0, "a number above 0 and below 1, or None"),
        ("grad_clip", 0.0, "a number above 0 and at most 1,000,000,000,000, or None"),
        ("threads", 0, "an integer above 0 and at most 65,536, or None"),
        ("loader_workers", -1, "an integer at least 0 and at most 10,000"),
    ],
)
def test_values_out_of_range_are_named(field: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        preset("quick", {field: value})
    assert str(caught.value) == f"{field}: got {value!r}; expected {expected}"


def test_misspelt_presets_and_fields() -> None:
    with pytest.raises(InputError, match="did you mean 'standard'"):
        preset("standart")
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        preset("quick", {"epoch": 3})
    with pytest.raises(InputError, match=r"^momentum: got 0; expected .*above 0 with nesterov"):
        preset("quick", {"momentum": 0.0})


def test_the_page_lists_every_setting_with_its_limits_and_presets() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/training.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): row[1:] for row in rows if len(row) == 6}
    hints = get_type_hints(TrainSettings)
    assert [*listed] == [field.name for field in fields(TrainSettings) if field.name != "preset"]
    for field in fields(TrainSettings)[1:]:
        quick, standard, paper, allowed, meaning = listed[field.name]
        assert [quick, standard, paper] == [
            str(getattr(PRESETS[p], field.name)) for p in ("quick", "standard", "paper")
        ]
        assert allowed == in_words(hints[field.name], field.metadata)
        assert meaning


def test_presets_of_verification_are_those_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    presets = OF_TASKS["verify"]
    assert set(presets) == set(PRESETS)
    for name, settings in presets.items():
        check_settings(settings)
        assert (settings.preset, preset(name, task="verify")) == (name, settings)
    for field in ("epochs", "batch_size", "learning_rate", "weight_decay"):
        row = " | ".join(str(getattr(presets[name], field)) for name in ("quick", "standard", "paper"))
        assert f"| `{field}` | {row} |" in page
