"""`onnx-jumprelu inspect MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.options import ExamplesOption, NormalizationOptions, command, data_option
from onnx_jumprelu.cli.output import ResultOptions
from onnx_jumprelu.cli.streams import in_color


@command
def run(
    model: Annotated[Path, typer.Argument(help="The model.", metavar="MODEL")],
    data: Annotated[
        Path | None,
        data_option(
            "Also show the quantiles of each site's positive pre-activations on these inputs: an `.npz` file with "
            "`x_val` and `y_val`, or else with `x` (N, ...)."
        ),
    ] = None,
    n_examples: ExamplesOption = None,
    *,
    normalization: NormalizationOptions,
    result: ResultOptions,
) -> int:
    """List every activation site, and why a look-alike cannot be patched."""
    from onnx_jumprelu.report import as_json, text_tables, tuning_json, tuning_table
    from onnx_jumprelu.rewrite.batch import inspect_file

    if data is None and (n_examples is not None or normalization != NormalizationOptions()):
        raise typer.BadParameter("--n-examples, --mean and --std need inputs; give --data too")
    result.check([model, data])
    sites = inspect_file(model)
    text, content = text_tables.inspection(model, sites, color=in_color()), as_json.inspection(model, sites)
    if data is not None:
        from onnx_jumprelu.classifier.target import Target
        from onnx_jumprelu.data.splits import load_validation
        from onnx_jumprelu.tuning.preactivations import measure_file

        target = Target(model, mean=normalization.mean, std=normalization.std)
        seen = measure_file(target, load_validation(data).first(n_examples))
        text = f"{text}\n\n{tuning_table.quantiles(seen, color=in_color())}"
        content["preactivations"] = tuning_json.quantiles(seen)
    return result.show(text, content)
