"""`onnx-jumprelu inspect MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.common import JsonOption, QuietOption, check_json, in_color, numbers, show

if TYPE_CHECKING:
    from onnx_jumprelu.tuning.preactivations import PreActivations


def run(
    model: Annotated[Path, typer.Argument(help="The model.", metavar="MODEL")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Show the quantiles of each site's positive pre-activations on these inputs: an `.npz` file with "
            "`x_val` and `y_val`, or else with `x` (N, ...).",
            metavar="FILE",
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from the data before the model, per channel: 0.5 or 0.48,0.45,0.40.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Then divided by, per channel.")] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """List every activation site, and why a look-alike is not patched."""
    from onnx_jumprelu.report import as_json, tables, tuning_json, tuning_table
    from onnx_jumprelu.rewrite.batch import find_in_file

    if data is None and (mean or std):
        raise typer.BadParameter("--mean and --std stand between data and model; give --data too")
    check_json(json, model, *([data] if data else []))
    sites = find_in_file(model)
    text, content = tables.inspection(model, sites, color=in_color()), as_json.inspection(model, sites)
    if data is not None:
        seen = _measured(model, data, numbers(mean, "--mean"), numbers(std, "--std"))
        text = f"{text}\n\n{tuning_table.quantiles(seen, color=in_color())}"
        content["preactivations"] = tuning_json.quantiles(seen)
    show(text, content, json, quiet=quiet)


def _measured(model: Path, data: Path, mean: list[float] | None, std: list[float] | None) -> list[PreActivations]:
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.splits import load_validation
    from onnx_jumprelu.tuning.preactivations import measure_file

    return measure_file(Target(model, mean=mean, std=std), load_validation(data))
