"""The verdict in words, in the terminal and as Markdown."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from onnx_jumprelu.report import formatting, junit, markdown, notebook, phrases, verdict_rows, verdict_text
from onnx_jumprelu.verdict.findings import Flag
from onnx_jumprelu.verdict.gates import Gate
from onnx_jumprelu.verdict.result import Verdict
from tests.report import verdicts
from tests.report.verdicts import (
    ALL,
    DOUBTFUL,
    FAILING,
    GAIN,
    HOSTILE,
    HOSTILE_VERDICT,
    INCOMPLETE,
    LOSS,
    NO_GAIN,
    ONE,
    ONE_BARE,
    SMALLER,
)

RENDERERS: dict[str, Callable[[Verdict], str]] = {
    "table": verdict_text.verdict,
    "markdown": markdown.render,
    "junit": junit.render,
}


@pytest.fixture(params=RENDERERS)
def render(request: pytest.FixtureRequest) -> Callable[[Verdict], str]:
    return RENDERERS[request.param]


@pytest.mark.parametrize("name", ALL)
def test_the_title_is_the_outcome_and_no_other(name: str, render: Callable[[Verdict], str]) -> None:
    text = render(ALL[name])
    outcomes = {
        **dict.fromkeys(("gain", "smaller", "failing", "hostile"), "gain"),
        **dict.fromkeys(("no gain", "incomplete", "bare", "doubtful"), "undecided"),
        **dict.fromkeys(("one model", "one bare model"), "measured"),
        "loss": "loss",
    }
    assert [title in text for title in phrases.TITLES.values()] == [
        outcome == outcomes[name] for outcome in phrases.TITLES
    ]


def test_the_headline_gives_the_numbers_the_interval_and_the_reason() -> None:
    gain = GAIN.gain
    assert gain is not None
    said = phrases.headline(GAIN).sentence
    assert (
        f"on 83.0% of 200 examples, and the original on 70.0%: a difference of {100 * gain.value:+.1f} points" in said
    )
    assert f"(95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})" in said
    assert said.endswith("The interval lies above 0.")
    assert phrases.headline(NO_GAIN).sentence.endswith(
        "The interval includes 0, so the difference may be chance; more examples narrow it."
    )
    assert phrases.headline(LOSS).sentence.endswith(
        "The interval lies below 0: the patched model is easier to attack than the original."
    )
    assert phrases.headline(INCOMPLETE).sentence.endswith("so nothing can be concluded yet.")


@pytest.mark.parametrize("render", [verdict_text.verdict, markdown.render])
def test_smaller_budgets_count_and_are_not_listed(render: Callable[[Verdict], str]) -> None:
    text = " ".join(render(SMALLER).replace("\\", "").split())
    assert "on 82.5% of 200 examples, and the original on 69.5%" in text
    assert "Examples that an attack fooled within a smaller eps of the curve count too." in text
    assert "69.5%" in next(line for line in render(SMALLER).splitlines() if "uses the model's own" in line)
    assert "fab-t" not in text
    assert "smaller eps" not in render(GAIN)


def test_the_cost() -> None:
    assert phrases.cost(GAIN) == "Cost: clean accuracy 98.0% instead of 99.0%; 1.25 times the latency."
    same = replace(GAIN, correct={"original": verdicts.first(198), "patched": verdicts.first(198)})
    assert phrases.cost(same) == "Cost: no clean accuracy lost (99.0% on both models); 1.25 times the latency."
    assert phrases.cost(NO_GAIN) == "Cost: clean accuracy 98.0% instead of 99.0%."


def test_an_incomplete_verdict_claims_nothing_however_large_the_gain() -> None:
    assert INCOMPLETE.gain is not None
    assert INCOMPLETE.gain.low > 0.05
    assert verdict_text.verdict(INCOMPLETE).startswith("Undecided: ")
    assert (
        "INCOMPLETE: not everything that was planned has run; 6 results so far; missing: square."
        in verdict_text.verdict(INCOMPLETE)
    )
    assert "INCOMPLETE" not in verdict_text.verdict(GAIN)
    named = replace(INCOMPLETE, missing=("square", "flags"))
    assert "missing: square, flags" in verdict_text.verdict(named)


def test_a_few_flags_missing_from_an_unfinished_run_are_no_clean_bill() -> None:
    assert phrases.flags(GAIN) == "No flag was raised."
    assert "not all checks have run" in phrases.flags(INCOMPLETE)


@pytest.mark.parametrize("name", ["gain", "no gain", "loss", "failing"])
def test_the_numbers_are_those_of_the_verdict(name: str, render: Callable[[Verdict], str]) -> None:
    verdict, text = ALL[name], render(ALL[name])
    for model in ("original", "patched"):
        assert formatting.percent(float(verdict.standing(model).mean())) in text.replace("\\", "")


def lines_with(text: str, *parts: str) -> list[str]:
    return [line for line in text.splitlines() if all(part in line for part in parts)]


def test_the_table_has_a_row_per_attack_with_both_models_side_by_side() -> None:
    text = verdict_text.verdict(GAIN)
    assert lines_with(text, "  pgd  ", "white-box", "72.0%", "85.0%", "0.0% / 25.0%", "3.0 s")
    assert lines_with(text, "apgd-ce (smooth)", "adaptive", "70.0%", "83.0%")
    assert lines_with(text, "pgd from the original", "gray-box", "-", "86.0%", "1.5 s")
    assert lines_with(text, "clean accuracy", "99.0% (96.4% to 99.7%)", "98.0% (95.0% to 99.2%)")
    assert lines_with(text, "PGD with exact gradients alone", "72.0%", "85.0%")
    assert lines_with(text, "latency", "1.25 x")
    assert lines_with(text, "0.2 ", "0.0%", "0.5%")


def test_no_row_is_lost_when_an_attack_ran_twice() -> None:
    twice = [*GAIN.rows, verdicts.row("pgd", "white-box", "patched", 11)]
    found = verdict_rows.attacks(twice)
    assert len([row for row in found if row.name == "pgd"]) == 2
    sides = [side for row in found for side in row.rows.values()]
    assert len(sides) == len(twice)


def test_replayed_attacks_come_last() -> None:
    kinds = [row.kind for row in verdict_rows.attacks(GAIN.rows)]
    assert kinds == ["white-box", "adaptive", "black-box", "gray-box", "transfer"]


def test_an_attack_that_adapted_to_one_model_only_says_so() -> None:
    rows = [
        verdicts.row("apgd-ce (relu)", "white-box", "original", 100),
        verdicts.row("apgd-ce (relu)", "adaptive", "patched", 120),
    ]
    assert [row.kinds for row in verdict_rows.attacks(rows)] == ["white-box / adaptive"]
    assert [row.kinds for row in verdict_rows.attacks(rows[1:])] == ["adaptive"]


def test_kinds_of_a_curve_stand_in_the_order_of_every_report() -> None:
    kinds = {"gray-box": 0.5, "new kind": 0.5, "adaptive": 0.5, "white-box": 0.5}
    curve = [replace(verdicts.CURVE[0], kinds={"patched": kinds})]
    assert verdict_rows.kinds_on(curve, "patched") == ["white-box", "adaptive", "gray-box", "new kind"]
    assert verdict_rows.kinds_on(curve, "original") == []


def test_each_kind_of_attack_is_counted_example_by_example() -> None:
    rows = [verdicts.row("a", "white-box", "patched", 150), verdicts.row("b", "white-box", "patched", 150)]
    rows[1].success[:50] = True  # b fools those that a spares, and the other way round
    rows.append(verdicts.row("c", "adaptive", "patched", 120))
    assert [(row.kind, *row.values) for row in verdict_rows.by_kind(replace(GAIN, rows=tuple(rows)))] == [
        ("white-box", "-", "50.0%"),
        ("adaptive", "-", "60.0%"),
    ]


def test_the_naive_claim_stands_beside_the_truth(render: Callable[[Verdict], str]) -> None:
    if render is junit.render:
        assert 'name="naive.patched" value="0.77"' in render(NO_GAIN)
    else:
        said = "would have reported 77.0% for the patched model; the worst case is 70.5%"
        assert said in render(NO_GAIN)
    without = replace(NO_GAIN, rows=tuple(row for row in NO_GAIN.rows if row.attack != "pgd"))
    assert "reported" not in render(without)
    assert "naive.patched" not in render(without)


@pytest.mark.parametrize("name", ["failing", "no gain"])
def test_every_flag_and_gate_is_told(name: str, render: Callable[[Verdict], str]) -> None:
    verdict, text = ALL[name], render(ALL[name])
    for gate in verdict.gates:
        assert gate.name in text
        assert gate.detail in text
    for flag in verdict.flags:
        assert flag.name in text
        assert flag.message in text


def test_names_cannot_steer_the_terminal() -> None:
    steering = replace(
        GAIN, gates=(Gate("\x1b[2Jmin-clean", ok=False, value=None, limit=0.5, detail="\x1b]0;title\x07 0.1 short"),)
    )
    assert "\x1b" not in verdict_text.verdict(steering)
    assert "\x07" not in verdict_text.verdict(steering)
    assert lines_with(verdict_text.verdict(steering), "FAILED", "min-clean", "0.1 short")


def test_gates_that_fail_are_named_first() -> None:
    text = verdict_text.verdict(FAILING)
    assert "2 of 3 gates FAILED: min-gain, max-latency-ratio." in text
    assert lines_with(text, "FAILED", "min-gain", "0.0700 short")
    assert lines_with(text, "ok", "min-clean")
    assert "FAILED" not in verdict_text.verdict(GAIN)
    assert "1 gate, all passed." in verdict_text.verdict(GAIN)
    assert "\x1b[31mFAILED" in verdict_text.verdict(FAILING, color=True)


def test_markdown_has_no_markup_but_its_own() -> None:
    text = markdown.render(HOSTILE_VERDICT)
    code = "`` <script>alert('x')</script>\\|`a`_b_*c* [d](http://e.example)&amp;\"$\\alpha$"
    assert code in text
    outside = text.replace(code, "")
    assert "<script" not in outside
    assert (
        "&lt;script&gt;alert('x')&lt;/script&gt;\\|\\`a\\`\\_b\\_\\*c\\* \\[d\\](http://e.example)&amp;amp;" in outside
    )
    assert "\x00" not in text
    text.encode()  # no half of a surrogate pair is left


def test_markdown_tables_keep_their_columns() -> None:
    for verdict in ALL.values():
        blocks = [block for block in markdown.render(verdict).split("\n\n") if block.startswith("| ")]
        assert blocks
        for block in blocks:
            counts = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(counts) == 1, block


def test_the_check_of_columns_can_fail() -> None:
    broken = replace(GAIN, gates=(Gate("a", ok=True, value=1.0, limit=0.5, detail="x"),))
    block = markdown.render(broken).replace("| x |", "| x | y |")
    assert len({line.count("|") for line in block.splitlines() if line.startswith("| ")}) > 1


def test_markdown_folds_what_is_long_and_starts_with_the_answer() -> None:
    text = markdown.render(GAIN)
    assert text.startswith("### Gain shown\n")
    assert text.count("<details>") == text.count("</details>") == 3
    assert text.index("**Gates.**") < text.index("<details>")


def test_the_reports_are_the_same_each_time(render: Callable[[Verdict], str]) -> None:
    assert render(HOSTILE_VERDICT) == render(replace(HOSTILE_VERDICT))
    assert render(GAIN) != render(replace(GAIN, correct={**GAIN.correct, "patched": np.zeros(200, bool)}))


def test_printable_keeps_letters_of_all_scripts() -> None:
    assert formatting.printable("größe 模型 🙂\n\t") == "größe 模型 🙂\n\t"
    assert formatting.printable("a\x00b\x1bc\udc80d\uffff") == "a\ufffdb\ufffdc\ufffdd\ufffd"
    assert formatting.printable(HOSTILE) != HOSTILE


@pytest.mark.parametrize("told_by", [verdict_text.verdict, markdown.render])
def test_a_curve_that_ends_early_says_so(told_by: Callable[[Verdict], str]) -> None:
    last = GAIN.curve[-1]
    ended = replace(last, worst_case={**last.worst_case, "original": 0.0})
    told = f"At eps {last.eps:g} attacks fool the original on every example, so larger eps were not tried."
    assert told in told_by(replace(GAIN, curve=(*GAIN.curve[:-1], ended)))
    going_on = replace(last, worst_case={**last.worst_case, "original": 0.1})
    assert told not in told_by(replace(GAIN, curve=(*GAIN.curve[:-1], going_on)))


def test_doubts_say_why_an_interval_above_0_shows_no_gain(render: Callable[[Verdict], str]) -> None:
    text = render(DOUBTFUL).replace("\\", "")
    assert (
        "The interval lies above 0, but this does not show a gain: no black-box attack ran; flag random-outputs" in text
    )


def test_an_untrustworthy_original_shows_no_loss() -> None:
    flag = Flag("random-outputs", "original", "the outputs are random", undermines=True)
    said = phrases.headline(replace(LOSS, flags=(flag,)))
    assert said.title == "Undecided"
    assert said.sentence.endswith("but this does not show a loss: flag random-outputs is raised.")


def test_the_models_and_the_threat_come_first(render: Callable[[Verdict], str]) -> None:
    text = render(replace(GAIN, targets={"original": "a.onnx", "patched": "b.onnx"})).replace("\\", "")
    for part in ("a.onnx", "b.onnx", "Linf", "0.1", "200"):
        assert part in text[:1500]


def test_notes_are_shown(render: Callable[[Verdict], str]) -> None:
    assert "both models are the same" in render(replace(GAIN, notes=("both models are the same",)))


def test_a_verdict_on_one_model_names_no_second_one(render: Callable[[Verdict], str]) -> None:
    text = render(ONE).replace("\\", "")
    assert "70.0%" in text or 'value="0.7"' in text
    assert not re.search(r"\b(patched|gain|original)\b", text)


def test_the_words_for_one_model() -> None:
    assert phrases.headline(ONE).sentence == "no attack fools the model on 70.0% of 200 examples."
    assert phrases.cost(ONE) == "Clean accuracy: 99.0%."
    assert phrases.subjects(ONE) == "a.onnx"


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.0, "+0.0"), (-0.0951, "-9.5"), (0.0003, "+0.03"), (-0.00002, "-0.002")]
)
def test_a_difference_never_loses_its_sign(difference: float, shown: str) -> None:
    assert formatting.points(difference) == shown


def test_doubts_about_one_model_are_said(render: Callable[[Verdict], str]) -> None:
    text = render(replace(ONE, rows=ONE.rows[:1])).replace("\\", "")
    assert "This may be too high: no black-box attack ran." in text
    assert "too high" not in render(ONE)


def test_a_notebook_says_that_attacks_are_missing() -> None:
    assert "INCOMPLETE" in notebook.verdict_notebook(ONE_BARE)
    assert "INCOMPLETE" not in notebook.verdict_notebook(ONE)


def test_a_flag_says_which_model_of_a_pair_and_whether_it_bars_a_conclusion() -> None:
    doubtful = Flag("near-chance", "patched", "the data are wrong", undermines=True)
    assert phrases.flag_title(doubtful) == "near-chance (patched)"
    assert phrases.flag_meaning(doubtful) == "undermines the worst case: the data are wrong"
    alone = Flag("zero-gradients", "model", "nothing to follow")
    assert (phrases.flag_title(alone), phrases.flag_meaning(alone)) == ("zero-gradients", "nothing to follow")
