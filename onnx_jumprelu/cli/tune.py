"""`onnx-jumprelu tune MODEL --data VAL.npz --max-drop 0.01`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.common import (
    BoundsOption,
    FirstOption,
    InputNameOption,
    JsonOption,
    MeanOption,
    OutputNameOption,
    QuietOption,
    SeedOption,
    StdOption,
    ThreadsOption,
    check_json,
    in_color,
    numbers,
    progress,
    show,
)
from onnx_jumprelu.names import NormName

if TYPE_CHECKING:
    from onnx_jumprelu.files.atomic import TextKind
    from onnx_jumprelu.tuning.run import TuneKeywords


class FamilyChoice(str, Enum):
    """A family of candidates; typer repeats no Literal."""

    uniform = "uniform"
    quantile = "quantile"
    sites = "sites"


def run(
    model: Annotated[Path, typer.Argument(help="The classifier, not patched yet.", metavar="MODEL")],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled validation data, never the test data: an `.npz` file with `x_val` and `y_val`, or else with "
            "`x` (N, ...) and integer `y` (N,).",
            metavar="FILE",
        ),
    ],
    max_drop: Annotated[
        float, typer.Option(help="Most clean accuracy that the jumps may cost: 0.01 is one point.", min=0, max=1)
    ] = 0.01,
    eps: Annotated[
        float | None,
        typer.Option(
            help="Largest perturbation, in data space. [default: the median of the smallest ones that DeepFool finds]"
        ),
    ] = None,
    norm: Annotated[NormName, typer.Option(help="How perturbations are measured.")] = "Linf",
    family: Annotated[
        list[FamilyChoice] | None,
        typer.Option(
            help="Which candidates: one jump for all sites, one quantile of each site's own pre-activations, or a "
            "search site by site; repeatable. [default: all]"
        ),
    ] = None,
    n_examples: FirstOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    bounds: BoundsOption = (0.0, 1.0),
    input_name: InputNameOption = None,
    output_name: OutputNameOption = None,
    threads: ThreadsOption = None,
    per_channel: Annotated[
        bool,
        typer.Option(
            "--per-channel",
            help="Try a jump in each channel too, each at a quantile of the channel's own pre-activations.",
        ),
    ] = False,
    trials: Annotated[int | None, typer.Option(help="Most candidates to try. [default: 90]", min=1)] = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output-file", "-o", help="Write the recipe there. [default: MODEL.recipe.json]"),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write every candidate to a CSV file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the trade-off as an SVG file (needs the extra `report`).")
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Pick the jump of each site on validation data; writes a recipe for `patch --recipe`."""
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.splits import load_validation
    from onnx_jumprelu.files.atomic import write_text
    from onnx_jumprelu.report import tuning_csv, tuning_json, tuning_table
    from onnx_jumprelu.tuning.run import TuneSettings, tune

    given: TuneKeywords = {"max_drop": max_drop, "eps": eps, "norm": norm, "per_channel": per_channel, "seed": seed}
    if family:
        given["families"] = [each.value for each in family]
    if trials is not None:
        given["n_trials"] = trials
    n_steps = TuneSettings(**given).n_steps  # and a wrong setting is found before any file is read
    recipe = output or model.with_suffix(".recipe.json")
    _check_targets([model, data], recipe, csv, picture, json)
    target = Target(
        model,
        bounds=bounds,
        mean=numbers(mean, "--mean"),
        std=numbers(std, "--std"),
        input_name=input_name,
        output_name=output_name,
        threads=threads,
    )
    validation = load_validation(data).first(n_examples)
    with progress("tuning", n_steps, quiet=quiet) as step:
        found = tune(target, validation, on_done=step, **given)
    if csv is not None:
        write_text(csv, tuning_csv.table(found), "CSV")
    if picture is not None:
        from onnx_jumprelu.report import tuning_picture

        write_text(picture, tuning_picture.picture(found), "SVG")
    write_text(recipe, found.recipe.to_json(), "JSON")
    told = tuning_table.tuning(found, str(recipe), color=in_color())
    show(told, tuning_json.tuning(found, str(recipe)), json, quiet=quiet)


def _check_targets(inputs: list[Path], recipe: Path, csv: Path | None, picture: Path | None, json: str | None) -> None:
    """Refuse, before any work, results that cannot be written, or that would replace something else."""
    from onnx_jumprelu.files.atomic import check_output
    from onnx_jumprelu.report import extra

    others = [path for path in (recipe, csv, picture) if path is not None]
    check_json(json, *inputs, *others)
    outputs: tuple[tuple[Path | None, TextKind], ...] = ((recipe, "JSON"), (csv, "CSV"), (picture, "SVG"))
    for path, kind in outputs:
        if path is not None:
            check_output(path, kind, [*inputs, *(other for other in others if other is not path)])
    if picture is not None:
        extra.require()
