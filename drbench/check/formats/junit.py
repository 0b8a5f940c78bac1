"""A check as JUnit XML: one test suite per metric, one test case per figure of a variant."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from drbench.check.formats import wording
from drbench.check.verdicts import Checked, Verdict
from drbench.errors import NOTHING
from drbench.text import printable

_ELEMENTS = {"failed": "error", "regression": "failure", "vanished": "failure", "unresolved": "failure"}


def as_junit(checked: Checked, width: int, color: bool) -> str:
    """Figures that count for the exit code are failures or errors; other unresolved or refused ones are skipped."""
    root = ElementTree.Element("testsuites", {"name": printable(f"drbench {checked.suite}")})
    metrics = dict.fromkeys(verdict.metric for verdict in checked.verdicts)
    for metric in metrics:
        own = [verdict for verdict in checked.verdicts if verdict.metric == metric]
        suite = ElementTree.SubElement(root, "testsuite", {"name": printable(metric)})
        for verdict in own:
            _case(suite, checked, verdict)
        _count(suite, [suite])
    if checked.exit_code == NOTHING:  # all cases are skipped, which readers of this format treat as a pass
        suite = ElementTree.SubElement(root, "testsuite", {"name": "check"})
        case = ElementTree.SubElement(suite, "testcase", {"name": "something was compared", "classname": "check"})
        text = printable(wording.headline(checked))
        ElementTree.SubElement(case, "error", {"type": "nothing", "message": text}).text = text
        _count(suite, [suite])
    _count(root, list(root))
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(suite: ElementTree.Element, checked: Checked, verdict: Verdict) -> None:
    name = f"{verdict.variant} {wording.figure(verdict)}"
    attributes = {"name": printable(name), "classname": printable(f"{checked.suite}.{verdict.metric}")}
    case = ElementTree.SubElement(suite, "testcase", attributes)
    text = "\n".join(printable(part) for part in (wording.explanation(verdict), wording.figures(verdict)) if part)
    if wording.passed(verdict):
        ElementTree.SubElement(case, "system-out").text = text
        return
    element = _ELEMENTS.get(verdict.outcome, "skipped") if verdict.fails else "skipped"
    message = printable(f"{verdict.outcome}: {wording.explanation(verdict)}".removesuffix(": "))
    outcome = ElementTree.SubElement(case, element, {"message": message})
    if element != "skipped":
        outcome.set("type", verdict.outcome)
        outcome.text = text


def _count(element: ElementTree.Element, suites: Sequence[ElementTree.Element]) -> None:
    """Set the attributes with the numbers of cases, failures, errors and skipped cases."""
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
