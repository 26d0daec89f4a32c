"""`onnx-jumprelu demo`: the whole story on a shipped sample model."""

from __future__ import annotations

import importlib.util
import json as json_text
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.common import (
    JsonOption,
    QuietOption,
    check_json,
    in_color,
    progress,
    show,
)
from onnx_jumprelu.cli.validate import jumps_in
from onnx_jumprelu.cli.verify import MOST_EXAMPLES

if TYPE_CHECKING:
    from onnx_jumprelu.tuning.result import Tuning
    from onnx_jumprelu.verdict.result import Verdict

MODEL, DATA, TUNING, REPORT = "digits_cnn.onnx", "digits.npz", "tuning.json", "verdict.html"
EPS, MAX_DROP, N_TRIALS, N_EXAMPLES = 0.1, 0.01, 30, 100
TUNE_OPTIONS = f"--eps {EPS:g} --max-drop {MAX_DROP:g} --trials {N_TRIALS}"
VALIDATE_OPTIONS = f"--eps {EPS:g} --attacks quick --n-examples {N_EXAMPLES}"


def run(
    out_dir: Annotated[Path, typer.Option(help="Folder for the sample model and what is made of it.")] = Path(
        "onnx-jumprelu-demo"
    ),
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Inspect, tune, patch, verify and validate a sample model: the whole story, in a minute or two."""
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.cli.bars import attack_progress
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.files.atomic import check_output, copy_file, write_text
    from onnx_jumprelu.files.samples import sample_folder
    from onnx_jumprelu.report import as_json, tables, tuning_json, tuning_table, verdict_table
    from onnx_jumprelu.rewrite.batch import find_in_file, patch_file
    from onnx_jumprelu.rewrite.paths import default_output, make_folder
    from onnx_jumprelu.tuning.run import TuneSettings, tune
    from onnx_jumprelu.verdict.examples import N_SHOWN
    from onnx_jumprelu.verdict.experiment import Experiment, pair
    from onnx_jumprelu.verdict.run import judge, n_attacks
    from onnx_jumprelu.verification.verify import verify

    samples, color = sample_folder(), in_color()
    page = out_dir / REPORT if _can_draw() else None
    check_json(json, *(out_dir / name for name in (MODEL, DATA, TUNING, REPORT)), default_output(out_dir / MODEL))
    make_folder(out_dir)
    tuning_file = out_dir / TUNING
    check_output(tuning_file, "JSON")
    if page is not None:
        check_output(page, "HTML")
    for name in (MODEL, DATA):
        copy_file(samples / name, out_dir / name)
    model, data_file = out_dir / MODEL, out_dir / DATA
    patched = default_output(model)

    settings = {"eps": EPS, "max_drop": MAX_DROP, "n_trials": N_TRIALS}
    with progress("tuning", TuneSettings(**settings).n_steps, quiet=quiet) as step:  # type: ignore[arg-type]
        sites = find_in_file(model)
        tuned = tune(model, data_file, on_done=step, **settings)  # type: ignore[arg-type]
    write_text(tuning_file, json_text.dumps(tuning_json.tuning(tuned), indent=2) + "\n", "JSON")
    jump = float(json_text.loads((samples / "jumps.json").read_text(encoding="utf-8"))[MODEL])
    given, why = _jumps(tuned, jump, out_dir)
    result = patch_file(model, patched, **given)  # type: ignore[arg-type]
    data = load_data(data_file)
    proof, original = verify(model, patched, data.x[:MOST_EXAMPLES]), Target(model)
    experiment = Experiment(
        pair(original, replace(original, model=patched)),
        data.first(N_EXAMPLES),
        eps=EPS,
        attacks="quick",
        n_shown=0 if page is None else N_SHOWN,
    )
    with attack_progress("validating", n_attacks(experiment), quiet=quiet) as bars:
        verdict = judge(experiment, on_done=bars.step, on_progress=bars.running)
    shown = "" if page is None else f" --html {page} --tuning {tuning_file}"
    command = f"validate {model} {patched} --data {data_file} {VALIDATE_OPTIONS}{shown}"
    if page is not None:
        _write_page(page, patched, verdict, tuned, f"onnx-jumprelu {command}")

    option = f"--recipe {out_dir / 'recipe.json'}" if "recipe" in given else f"--jump {jump:g}"
    steps = [
        ("1. Where are the activations?", f"inspect {model}", tables.inspection(model, sites, color=color)),
        (
            "2. Which jumps? Searched on the validation split, judged on examples that the search never attacked.",
            f"tune {model} --data {data_file} {TUNE_OPTIONS} --json {tuning_file}",
            tuning_table.tuning(tuned, color=color),
        ),
        (f"3. Rewrite them. {why}", f"patch {model} {option}", tables.patched_file(result, color=color)),
        (
            "4. Is the rewrite right?",
            f"verify {model} {patched} --data {data_file}",
            tables.verification(proof, color=color),
        ),
        (
            f"5. What is it worth? On the first {N_EXAMPLES} test images, which nothing has seen so far.",
            command,
            verdict_table.verdict(verdict, color=color),
        ),
    ]
    told = "\n\n".join(f"{title}\n$ onnx-jumprelu {command}\n{text}" for title, command, text in steps)
    lies = f"The report: {page}" if page else "With the extra 'report' there would be an HTML report too."
    content = {
        "inspect": as_json.inspection(model, sites),
        "tune": tuning_json.tuning(tuned),
        "patch": as_json.patched_file(result),
        "verify": as_json.verification(proof),
        "validate": as_json.verdict(verdict),
    }
    show(f"{told}\n\n{lies}", content, json, quiet=quiet)
    if not proof.ok:
        raise typer.Exit(1)


def _can_draw() -> bool:
    """Whether the extra `report` is installed."""
    return all(importlib.util.find_spec(package) for package in ("jinja2", "matplotlib"))


def _write_page(page: Path, patched: Path, verdict: Verdict, tuned: Tuning, command: str) -> None:
    """The HTML report, with what tuning tried, as `command` would write it."""
    from onnx_jumprelu.report.files import write_reports
    from onnx_jumprelu.tuning.record import recorded

    whole = replace(verdict, about={**verdict.about, "command": command})
    jumps = jumps_in(patched)
    write_reports(whole, html=page, examples=verdict.examples, tuning=recorded(tuned), jumps=jumps)


def _jumps(tuned: Tuning, jump: float, out_dir: Path) -> tuple[dict[str, object], str]:
    """What to patch with, and why."""
    from onnx_jumprelu.files.atomic import write_text

    if not all(parameters.is_relu for parameters in tuned.parameters.values()):
        write_text(out_dir / "recipe.json", tuned.recipe.to_json(), "JSON")
        return {"recipe": tuned.recipe}, "With the recipe that was found."
    return {"jump": jump}, (
        f"Nothing gained anything, so the honest answer is to leave this model alone. To see what a verdict says of a "
        f"patch all the same: jump {jump:g}, the largest that cost at most 1 point of validation accuracy."
    )
