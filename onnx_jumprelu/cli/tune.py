"""`onnx-jumprelu tune MODEL --data VAL.npz --max-drop 0.01`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.options import (
    EFFORT,
    NUMBER,
    OUTPUT,
    REPORTS,
    THREAT,
    ExamplesOption,
    NormOption,
    SeedOption,
    TargetOptions,
    check_no_tensor,
    command,
    data_option,
    eps_option,
)
from onnx_jumprelu.cli.output import Made, OutputFile, ResultOptions
from onnx_jumprelu.cli.streams import in_color, warn

if TYPE_CHECKING:
    from onnx_jumprelu.tuning.run import TuneKeywords


class FamilyChoice(str, Enum):
    """A family of candidates; typer cannot repeat a Literal."""

    uniform = "uniform"
    quantile = "quantile"
    sites = "sites"


@command
def run(
    model: Annotated[Path, typer.Argument(help="The classifier, not patched yet.", metavar="MODEL")],
    data: Annotated[
        Path,
        data_option(
            "Labelled validation data, never the test data: an `.npz` file with `x_val` and `y_val`, or else with `x` "
            "(N, ...) and integer `y` (N,)."
        ),
    ],
    n_examples: ExamplesOption = None,
    *,
    target: TargetOptions,
    eps: Annotated[
        float | None,
        NUMBER,
        eps_option(" [default: the median of the smallest perturbations that DeepFool finds]"),
    ] = None,
    norm: NormOption = None,
    max_drop: Annotated[
        float,
        NUMBER,
        typer.Option(
            help="How much clean accuracy the jumps may cost: 0.01 is one point.",
            metavar="NUMBER",
            rich_help_panel=THREAT,
        ),
    ] = 0.01,
    family: Annotated[
        list[FamilyChoice] | None,
        typer.Option(
            help="Candidates to try: one jump for all sites, one quantile of each site's own pre-activations, or a "
            "search site by site; repeatable. [default: all three]",
            metavar="uniform|quantile|sites",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    per_channel: Annotated[
        bool,
        typer.Option(
            "--per-channel",
            help="Also try a jump per channel, each at a quantile of the channel's own pre-activations.",
            rich_help_panel=EFFORT,
        ),
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(help="Most candidates to try. [default: 90]", min=1, metavar="N", rich_help_panel=EFFORT),
    ] = None,
    seed: SeedOption = 0,
    csv: Annotated[
        str | None,
        typer.Option(help="Write every candidate as CSV; `-` prints it.", metavar="FILE|-", rich_help_panel=REPORTS),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw the trade-off as an SVG file (needs the extra `report`).",
            metavar="FILE",
            rich_help_panel=REPORTS,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the recipe to this file. [default: MODEL.recipe.json]",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    old_output: Annotated[Path | None, typer.Option("--output-file", hidden=True)] = None,
    result: ResultOptions,
) -> int:
    """Pick the jump of each site on validation data and write a recipe for `patch --recipe`."""
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.data.plausibility import concerns_about
    from onnx_jumprelu.data.splits import load_validation
    from onnx_jumprelu.report import dependencies
    from onnx_jumprelu.tuning.run import TuneSettings, tune

    given: TuneKeywords = {
        "max_drop": max_drop,
        "eps": eps,
        "norm": norm or "Linf",
        "per_channel": per_channel,
        "seed": seed,
    }
    if family:
        given["families"] = [each.value for each in family]
    if trials is not None:
        given["n_trials"] = trials
    n_steps = TuneSettings(**given).n_steps  # a wrong setting is found before any file is read
    check_no_tensor(output, model)
    recipe = OutputFile("--output", output or old_output or model.with_suffix(".recipe.json"), "JSON")
    table, drawing = OutputFile("--csv", csv, "CSV"), OutputFile("--picture", picture, "SVG")
    result.check([model, data], recipe, table, drawing)
    if picture is not None:
        dependencies.require()
    tuned, validation = target.target(model), load_validation(data)
    warn(concerns_about(tuned, validation, eps=eps, norm=norm or "Linf", n_examples=n_examples))
    start = f"at most {n_steps} steps"
    with progress("tuning", n_steps, "step", quiet=result.quiet, long=True, start=start) as shown:
        found = tune(tuned, validation.first(n_examples), on_done=shown.step, **given)
    written = str(recipe.place)
    return result.show(
        found.to_text(written, color=in_color()),
        found.to_dict(written),
        Made(recipe, found.recipe.to_json()),
        Made(table, found.to_csv()),
        Made(drawing, "" if picture is None else found.to_svg()),
    )
