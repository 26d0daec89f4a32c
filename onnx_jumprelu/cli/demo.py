"""`onnx-jumprelu demo`: the whole story on a shipped sample model."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.options import OUTPUT, command
from onnx_jumprelu.cli.output import FAILED, Made, OutputFile, ResultOptions, after_writing
from onnx_jumprelu.cli.streams import in_color

if TYPE_CHECKING:
    from onnx_jumprelu.tuning.result import Tuning
    from onnx_jumprelu.verdict.result import Verdict

MODEL, DATA = "digits_cnn.onnx", "digits.npz"
TUNING, RECIPE, REPORT = "tuning.json", "recipe.json", "verdict.html"
EPS, MAX_DROP, N_TRIALS, N_EXAMPLES = 0.1, 0.01, 30, 100
TUNE_OPTIONS = f"--eps {EPS:g} --max-drop {MAX_DROP:g} --trials {N_TRIALS}"
VALIDATE_OPTIONS = f"--eps {EPS:g} --attacks quick --n-examples {N_EXAMPLES}"


@command
def run(
    out_dir: Annotated[
        Path,
        typer.Option(
            help="Folder for the sample model and everything made from it.", metavar="DIR", rich_help_panel=OUTPUT
        ),
    ] = Path("onnx-jumprelu-demo"),
    *,
    result: ResultOptions,
) -> int:
    """Inspect, tune, patch, verify and validate a sample model: the whole story, in a minute or two."""
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.files.atomic import copy_file
    from onnx_jumprelu.files.json_records import stamped
    from onnx_jumprelu.files.samples import sample_folder
    from onnx_jumprelu.report import as_json, text_tables, verdict_text
    from onnx_jumprelu.rewrite.batch import inspect_file, patch_file
    from onnx_jumprelu.rewrite.paths import default_output, made_folder
    from onnx_jumprelu.tuning.run import TuneSettings, tune
    from onnx_jumprelu.verdict.examples import N_SHOWN
    from onnx_jumprelu.verdict.experiment import Experiment, pair
    from onnx_jumprelu.verdict.run import judge, n_attacks
    from onnx_jumprelu.verification.verify import verify

    samples, jump = sample_folder(), _sample_jump()
    model, data_file = out_dir / MODEL, out_dir / DATA
    patched = default_output(model)
    results = tuning_file, recipe, page = _results(out_dir)
    result.check([], others=[model, data_file, patched, *(each.path for each in results if each.path is not None)])
    copied: list[str] = []
    with after_writing(lambda: f"a part of {out_dir} was written" if copied else ""), made_folder(out_dir):
        ResultOptions(force=result.force).check([], *results)
        for name in (MODEL, DATA):
            copy_file(samples / name, out_dir / name)
            copied.append(name)

        settings = {"eps": EPS, "max_drop": MAX_DROP, "n_trials": N_TRIALS}
        n_steps = TuneSettings(**settings).n_steps  # type: ignore[arg-type]
        with progress("tuning", n_steps, "step", quiet=result.quiet) as shown:
            sites = inspect_file(model)
            tuned = tune(model, data_file, on_done=shown.step, **settings)  # type: ignore[arg-type]
        _save(tuning_file, json.dumps(tuned.to_dict(), indent=2) + "\n", force=result.force)
        given, why = _jumps(tuned, jump)
        _save(recipe, tuned.recipe.to_json() if "recipe" in given else None, force=result.force)
        done = patch_file(model, patched, **given)  # type: ignore[arg-type]
        data, original = load_data(data_file), Target(model)
        proof = verify(model, patched, data)
        experiment = Experiment(
            pair(original, replace(original, model=patched)),
            data.first(N_EXAMPLES),
            eps=EPS,
            attacks="quick",
            n_shown=0 if page.path is None else N_SHOWN,
        )
        with progress("validating", n_attacks(experiment), "attack", quiet=result.quiet) as shown:
            verdict = judge(experiment, on_done=shown.step, on_progress=shown.running)
        more = "" if page.path is None else f" --html {page.path} --tuning {tuning_file.path}"
        command_line = f"validate {model} {patched} --data {data_file} {VALIDATE_OPTIONS}{more}"
        document = None if page.path is None else _page(patched, verdict, tuned, f"onnx-jumprelu {command_line}")
        _save(page, document, force=result.force)

    color = in_color()
    option = f"--recipe {recipe.path}" if "recipe" in given else f"--jump {jump:g}"
    steps = [
        ("1. Where are the activations?", f"inspect {model}", text_tables.inspection(model, sites, color=color)),
        (
            "2. Which jumps? Searched on the validation split, judged on examples that the search never attacked.",
            f"tune {model} --data {data_file} {TUNE_OPTIONS} --json {tuning_file.path}",
            tuned.to_text(color=color),
        ),
        (f"3. Rewrite them. {why}", f"patch {model} {option}", text_tables.patched_file(done, color=color)),
        (
            "4. Is the rewrite right?",
            f"verify {model} {patched} --data {data_file}",
            text_tables.verification(proof, color=color),
        ),
        (
            f"5. What is it worth? On the first {N_EXAMPLES} test images, which nothing has seen so far.",
            command_line,
            verdict_text.verdict(verdict, color=color),
        ),
    ]
    story = "\n\n".join(f"{title}\n$ onnx-jumprelu {line}\n{text}" for title, line, text in steps)
    ending = f"The report: {page.path}" if page.path else "Install the extra 'report' to get an HTML report too."
    code = result.show(
        f"{story}\n\n{ending}",
        stamped(
            "demo",
            {
                "inspect": as_json.inspection(model, sites),
                "tune": tuned.to_dict(),
                "patch": as_json.patched_file(done),
                "verify": as_json.verification(proof),
                "validate": as_json.verdict(verdict),
            },
        ),
        written=[out_dir],
    )
    return code if proof.ok else FAILED


def _can_draw() -> bool:
    """Whether the extra `report` is installed."""
    return all(importlib.util.find_spec(package) for package in ("jinja2", "matplotlib"))


def _results(out_dir: Path) -> tuple[OutputFile, OutputFile, OutputFile]:
    """What tuning found, the recipe, and the report, which needs the extra `report`."""
    return (
        OutputFile("--out-dir", out_dir / TUNING, "JSON"),
        OutputFile("--out-dir", out_dir / RECIPE, "JSON"),
        OutputFile("--out-dir", out_dir / REPORT if _can_draw() else None, "HTML"),
    )


def _save(file: OutputFile, text: str | None, *, force: bool) -> None:
    if file.path is not None and text is not None:
        Made(file, text).write(file.path, force=force)


def _page(patched: Path, verdict: Verdict, tuned: Tuning, command_line: str) -> str:
    """The HTML report, with what tuning tried, as `command_line` would write it."""
    from onnx_jumprelu.report import html
    from onnx_jumprelu.rewrite.batch import parameters_in_file

    whole = replace(verdict, about={**verdict.about, "command": command_line})
    return html.render(whole, verdict.examples, tuned, parameters_in_file(patched))


def _sample_jump() -> float:
    from onnx_jumprelu.files.samples import sample_folder

    return float(json.loads((sample_folder() / "jumps.json").read_text(encoding="utf-8"))[MODEL])


def _jumps(tuned: Tuning, jump: float) -> tuple[dict[str, object], str]:
    """What to patch with, and why."""
    if not all(parameters.is_relu for parameters in tuned.parameters.values()):
        return {"recipe": tuned.recipe}, "With the recipe that was found."
    return {"jump": jump}, (
        "No jump gained anything, so the best choice is not to patch this model. To show what a verdict looks like, it "
        f"is patched with jump {jump:g}, the largest that cost at most 1 point of validation accuracy."
    )
