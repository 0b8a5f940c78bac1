"""Text that all formats share: the order of verdicts, figures as text, the meaning of exit codes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from drbench.check.verdicts import OUTCOMES, Checked, Verdict
from drbench.errors import DONE, FAILED, NOTHING, REGRESSION, UNRESOLVED

MEANINGS: Mapping[int, str] = {
    DONE: "nothing is worse",
    REGRESSION: "worse than the reference",
    NOTHING: "nothing could be compared",
    FAILED: "something failed to run",
    UNRESOLVED: "unresolved, and unresolved figures fail",
}
_PASSED = ("held", "improvement")
_NOUNS = ("regression", "improvement")

_UNITS: Mapping[str, Callable[[float], str]] = {
    "multiply-adds": lambda value: f"{value:,.0f}",
    "parameters": lambda value: f"{value:,.0f}",
    "elements": lambda value: f"{value:,.0f}",
    "s": lambda value: f"{1e3 * value:#.3g} ms",
    "bytes": lambda value: f"{value / 2**20:.1f} MiB" if value < 2**30 else f"{value / 2**30:.2f} GiB",
    "ratio": lambda value: f"{value:.3f}",
}
_COSTS = {"madds": "multiply-adds", "params": "parameters"}
COUNTS = ("multiply-adds", "parameters", "elements")


def worst_first(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Sorted by outcome, failing ones before those that only warn; otherwise in the order of the check."""
    return sorted(verdicts, key=lambda verdict: (OUTCOMES.index(verdict.outcome), not verdict.fails))


def counted(checked: Checked) -> str:
    """Such as "2 regressions, 16 held"."""
    numbers = Counter(verdict.outcome for verdict in checked.verdicts)
    counts = (
        f"{numbers[outcome]} {outcome}{'s' if outcome in _NOUNS and numbers[outcome] > 1 else ''}"
        for outcome in OUTCOMES
    )
    return ", ".join(text for text in counts if not text.startswith("0 ")) or "no figures"


def headline(checked: Checked) -> str:
    """The check in one line, with its exit code: "worse than the reference: 1 regression, 16 held (exit code 1)"."""
    return f"{MEANINGS[checked.exit_code]}: {counted(checked)} (exit code {checked.exit_code})"


def about(checked: Checked) -> str:
    """The suite, the run and the reference."""
    run = f", run {checked.run}" if checked.run else ""
    return f"suite {checked.suite}{run}, against {checked.reference}"


def passed(verdict: Verdict) -> bool:
    """Whether a figure held or improved. A verdict that only warns has not passed."""
    return verdict.outcome in _PASSED


def names(verdict: Verdict) -> tuple[str, str]:
    """The name of the figure and its place: ("multiply-adds", ""), ("latency ratio", "b=8")."""
    match verdict.metric:
        case "costs":
            return _COSTS.get(verdict.figure, verdict.figure) or "costs", ""
        case "latency":
            return "latency ratio" if verdict.unit == "ratio" else "latency", verdict.figure
        case "memory":
            return "peak memory", verdict.figure
    return verdict.declared.called if verdict.declared else verdict.metric, verdict.figure


def figure(verdict: Verdict) -> str:
    """The two `names` as one text."""
    return " ".join(filter(None, names(verdict)))


def value(number: float | None, verdict: Verdict) -> str:
    """A figure of a verdict in its unit; "" for None."""
    if number is None:
        return ""
    if not math.isfinite(number):
        return "?"
    if verdict.declared is not None:
        return verdict.declared.text(number)
    return _UNITS[verdict.unit](number) if verdict.unit in _UNITS else f"{number:g} {verdict.unit}".strip()


def change(verdict: Verdict) -> str:
    """The change: a count with its percentage, "+3.1% [+1.2 +5.0]", "-2.10 pt [-2.70 -1.50]"."""
    effect = verdict.effect
    if effect is None and verdict.before and verdict.now is not None:
        effect = verdict.now / verdict.before
        if is_difference(verdict):
            effect = verdict.now - verdict.before
    if effect is None:
        return ""
    if verdict.declared is not None:
        declared = verdict.declared
        ends = [declared.number(end, signed=True) for end in verdict.interval or ()]
        unit = "pt" if declared.is_fraction else declared.unit
        return f"{declared.number(effect, signed=True)} {unit}" + (f" [{' '.join(ends)}]" if ends else "")
    ends = [_share(end).rstrip("%") for end in verdict.interval or ()]
    text = _share(effect) + (f" [{' '.join(ends)}]" if ends else "")
    if verdict.unit in COUNTS and verdict.before is not None and verdict.now is not None:
        return f"{verdict.now - verdict.before:+,.0f} ({text})" if verdict.now != verdict.before else "0"
    return text


def figures(verdict: Verdict) -> str:
    """Before, now and the change in one line, without missing parts: "1.21 -> 1.25, +3.3% [-3.0 +10.0]"."""
    ends = (value(verdict.before, verdict), value(verdict.now, verdict))
    return ", ".join(part for part in (" -> ".join(end for end in ends if end), change(verdict)) if part)


def is_difference(verdict: Verdict) -> bool:
    """Whether `effect` is a difference (for a figure of a task), not a ratio."""
    return verdict.declared is not None


def explanation(verdict: Verdict) -> str:
    """The text of the verdict, with its layer and the allowed differences if the text does not name them."""
    text = verdict.text
    if verdict.layer and text.startswith(verdict.layer):
        text = f"layer {text}"
    elif verdict.layer and verdict.layer not in text:
        text = f"{text}; layer {verdict.layer}".removeprefix("; ")
    parts = [text] if text else []
    if verdict.outcome == "unresolved" and not verdict.fails:
        parts.append("warns only")
    if verdict.allowed:
        parts.append(f"allowed to differ: {', '.join(verdict.allowed)}")
    return "; ".join(parts)


def _share(ratio: float) -> str:
    """A ratio as percentage: 1.052 -> "+5.2%"; two significant digits below 0.1%."""
    percent = 100 * (ratio - 1)
    if not math.isfinite(percent):
        return "∞"
    return f"{percent:+.2g}%" if 0 < abs(percent) < 0.1 else f"{percent:+.1f}%"
