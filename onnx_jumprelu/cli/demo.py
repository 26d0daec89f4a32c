"""`onnx-jumprelu demo`: the whole story on a shipped sample model."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.common import JsonOption, QuietOption, check_json, in_color, progress, show
from onnx_jumprelu.cli.verify import MOST_EXAMPLES

MODEL, DATA = "digits_cnn.onnx", "digits.npz"


def run(
    out_dir: Annotated[Path, typer.Option(help="Folder for the sample model and what is made of it.")] = Path(
        "onnx-jumprelu-demo"
    ),
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Inspect, patch and verify a sample model, and compare its accuracy before and after."""
    from onnx_jumprelu.atomic import copy_file
    from onnx_jumprelu.evaluation.accuracy import clean_accuracy
    from onnx_jumprelu.evaluation.data import load_data
    from onnx_jumprelu.model_io import load
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.rewrite.files import find_in_file, patch_file
    from onnx_jumprelu.rewrite.paths import default_output, make_folder
    from onnx_jumprelu.samples import sample_folder
    from onnx_jumprelu.verification.verify import verify

    samples = sample_folder()
    check_json(json, *(out_dir / name for name in (MODEL, DATA)), default_output(out_dir / MODEL))
    make_folder(out_dir)
    for name in (MODEL, DATA):
        copy_file(samples / name, out_dir / name)
    jump = float(json_text.loads((samples / "jumps.json").read_text(encoding="utf-8"))[MODEL])
    model, patched = out_dir / MODEL, default_output(out_dir / MODEL)

    with progress("running the demo", 4, quiet=quiet) as step:
        sites = find_in_file(model)
        result = patch_file(model, patched, jump)
        step()
        data = load_data(out_dir / DATA)
        report = verify(model, patched, data.x[:MOST_EXAMPLES])
        step()
        labels = data.required_labels()
        before = clean_accuracy(load(model).model, data.x, labels)
        step()
        after = clean_accuracy(load(patched).model, data.x, labels)
        step()

    color = in_color()
    steps = [
        ("1. Where are the activations?", f"inspect {model}", tables.inspection(model, sites, color=color)),
        (
            f"2. Rewrite them. Jump {jump:g}: the largest tried that cost at most 1 point of validation accuracy.",
            f"patch {model} --jump {jump:g}",
            tables.patched_file(result, color=color),
        ),
        (
            "3. Is the rewrite right?",
            f"verify {model} {patched} --data {out_dir / DATA}",
            tables.verification(report, color=color),
        ),
    ]
    told = "\n\n".join(f"{title}\n$ onnx-jumprelu {command}\n{text}" for title, command, text in steps)
    cost = (
        f"4. What does it cost?\nClean accuracy on {len(data.x)} test images: {before:.2%} before, {after:.2%} after "
        f"({100 * (after - before):+.2f} points).\nThat is the price; clean accuracy says nothing about robustness."
    )
    content = {
        "inspect": as_json.inspection(model, sites),
        "patch": as_json.patched_file(result),
        "verify": as_json.verification(report),
        "clean_accuracy": {"original": before, "patched": after},
    }
    show(f"{told}\n\n{cost}", content, json, quiet=quiet)
    if not report.ok:
        raise typer.Exit(1)
