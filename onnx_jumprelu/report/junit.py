"""A verdict as JUnit XML: one test case per gate, and one that asks whether all attacks have run."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from onnx_jumprelu.report import formatting, phrases
from onnx_jumprelu.verdict.gates import Gate
from onnx_jumprelu.verdict.result import Verdict

SUITE = "onnx-jumprelu validate"  # `files.kinds` recognises an older report by the beginning of this name
CLASS = "onnx_jumprelu.validate"


def render(verdict: Verdict) -> str:
    """The XML, with the numbers as properties. A failed gate is a failure, an incomplete verdict an error."""
    counts = {
        "tests": str(1 + len(verdict.gates)),
        "failures": str(sum(not gate.ok for gate in verdict.gates)),
        "errors": str(int(not verdict.complete)),
        "skipped": "0",
        "time": f"{sum(row.seconds for row in verdict.rows):.3f}",
    }
    root = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **counts})
    _properties(suite, verdict)
    _completeness(suite, verdict)
    for gate in verdict.gates:
        _gate(suite, gate)
    _text(suite, "system-out", phrases.verdict_line(verdict))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join((DECLARATION, "\n"))


DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _properties(suite: ET.Element, verdict: Verdict) -> None:
    properties = ET.SubElement(suite, "properties")
    for name, value in _numbers(verdict).items():
        ET.SubElement(
            properties, "property", {"name": formatting.printable(name), "value": formatting.printable(value)}
        )


def _numbers(verdict: Verdict) -> dict[str, str]:
    """What was measured, by name."""
    numbers: dict[str, float | None] = {"eps": verdict.eps}
    for model in verdict.models:
        numbers[f"clean_accuracy.{model}"] = verdict.clean_accuracy(model).value
        numbers[f"worst_case.{model}"] = verdict.worst_case(model).value
        numbers[f"naive.{model}"] = verdict.naive(model)
    if verdict.gain is not None:
        numbers |= {"gain": verdict.gain.value, "gain.low": verdict.gain.low, "gain.high": verdict.gain.high}
    numbers["latency_ratio"] = verdict.latency_ratio
    found = {name: f"{value:.6g}" for name, value in numbers.items() if formatting.finite(value) is not None}
    facts = {
        "verdict": verdict.outcome,
        "gain_shown": str(verdict.gain_shown).lower(),
        "norm": verdict.norm,
        "n_examples": str(verdict.n_examples),
        **{f"model.{model}": name for model, name in verdict.targets.items()},
        **{f"note.{number}": note for number, note in enumerate(verdict.notes, 1)},
    }
    flags = {f"flag.{flag.name}.{flag.model}": flag.message for flag in verdict.flags}
    return {**facts, **found, **flags, **{f"about.{name}": value for name, value in verdict.about.items()}}


def _completeness(suite: ET.Element, verdict: Verdict) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": CLASS, "name": "complete", "time": "0"})
    if not verdict.complete:
        _problem(case, "error", "incomplete", phrases.missing(verdict))


def _gate(suite: ET.Element, gate: Gate) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": CLASS, "name": formatting.printable(gate.name), "time": "0"})
    if gate.ok:
        _text(case, "system-out", gate.detail)
    else:
        _problem(case, "failure", "gate", gate.detail)


def _problem(case: ET.Element, tag: str, kind: str, detail: str) -> None:
    element = ET.SubElement(case, tag, {"message": formatting.printable(detail), "type": kind})
    element.text = formatting.printable(detail)


def _text(parent: ET.Element, tag: str, text: str) -> None:
    ET.SubElement(parent, tag).text = formatting.printable(text)
