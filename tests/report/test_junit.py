"""JUnit XML: what CI systems count."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from onnx_jumprelu.report import formatting, junit
from onnx_jumprelu.verdict.gates import Gate
from tests.report.verdicts import ALL, FAILING, GAIN, HOSTILE, HOSTILE_VERDICT, INCOMPLETE

CASE_CHILDREN = {"failure", "error", "skipped", "system-out"}


def suite_of(text: str) -> ET.Element:
    root = ET.fromstring(text)  # noqa: S314 - our own output
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def faults(suite: ET.Element) -> Iterator[str]:
    """Where a suite departs from the schema that CI systems agree on."""
    order = [child.tag for child in suite]
    cases = suite.findall("testcase")
    if order != ["properties", *["testcase"] * len(cases), "system-out"]:
        yield "order"
    for attribute, found in {
        "tests": len(cases),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
    }.items():
        if suite.get(attribute) != str(found):
            yield attribute
    for case in cases:
        if not (case.get("name") and case.get("classname") and case.get("time")):
            yield "case"
        if any(child.tag not in CASE_CHILDREN for child in case):
            yield "child"


@pytest.mark.parametrize("name", ALL)
def test_it_keeps_to_the_schema(name: str) -> None:
    assert list(faults(suite_of(junit.render(ALL[name])))) == []


def test_the_check_of_the_schema_can_fail() -> None:
    text = junit.render(FAILING)
    assert list(faults(suite_of(text.replace('failures="2"', 'failures="1"')))) == ["failures"]
    assert list(faults(suite_of(text.replace("testcase", "test")))) == ["order", "tests", "failures"]


def test_a_case_per_gate_and_a_failure_per_failed_one() -> None:
    suite = suite_of(junit.render(FAILING))
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == ["complete", "min-clean", "min-gain", "max-latency-ratio"]
    failed = {name: case.find("failure") for name, case in cases.items()}
    assert [name for name, failure in failed.items() if failure is not None] == ["min-gain", "max-latency-ratio"]
    failure = failed["min-gain"]
    assert failure is not None
    assert failure.get("message") == failure.text == FAILING.gates[1].detail
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")


def test_an_incomplete_verdict_is_an_error() -> None:
    suite = suite_of(junit.render(INCOMPLETE))
    error = suite.find("testcase[@name='complete']/error")
    assert error is not None
    assert "not everything that was planned has run" in (error.get("message") or "")
    assert suite.get("errors") == "1"


def test_without_gates_one_case_is_left() -> None:
    suite = suite_of(junit.render(replace(GAIN, gates=())))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "0", "0")


def test_the_numbers_are_properties() -> None:
    suite = suite_of(junit.render(GAIN))
    properties = {entry.get("name"): entry.get("value") for entry in suite.findall("properties/property")}
    assert properties["worst_case.original"] == "0.7"
    assert properties["worst_case.patched"] == "0.83"
    assert properties["gain"] == "0.13"
    assert properties["gain_shown"] == "true"
    assert properties["latency_ratio"] == "1.25"
    assert properties["about.seed"] == "0"
    hostile = suite_of(junit.render(HOSTILE_VERDICT)).findall("properties/property")
    assert "latency_ratio" not in {entry.get("name") for entry in hostile}  # it was NaN


def test_hostile_names_arrive_as_they_are_but_for_what_xml_cannot_hold() -> None:
    text = junit.render(HOSTILE_VERDICT)
    text.encode()
    failure = suite_of(text).find("testcase/failure")
    assert failure is not None
    assert failure.text == formatting.printable(HOSTILE)


def test_a_parser_of_junit_reads_it(tmp_path: Path) -> None:
    parsers = pytest.importorskip("junitparser")
    path = tmp_path / "junit.xml"
    path.write_text(junit.render(replace(FAILING, missing=("square",))), encoding="utf-8")
    found = parsers.JUnitXml.fromfile(str(path))
    assert (found.tests, found.failures, found.errors) == (4, 2, 1)
    (suite,) = found
    assert [[type(found).__name__ for found in case.result] for case in suite] == [
        ["Error"],
        [],
        ["Failure"],
        ["Failure"],
    ]


def test_a_passed_gate_says_by_how_much() -> None:
    passed = replace(
        GAIN, gates=(Gate("min-clean", ok=True, value=0.98, limit=0.97, detail="0.98, at least 0.97 wanted"),)
    )
    out = suite_of(junit.render(passed)).find("testcase[@name='min-clean']/system-out")
    assert out is not None
    assert out.text == "0.98, at least 0.97 wanted"
