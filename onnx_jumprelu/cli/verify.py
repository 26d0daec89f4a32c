"""`onnx-jumprelu verify ORIGINAL PATCHED`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnx_jumprelu.cli.options import NormalizationOptions, SeedOption, command, data_option
from onnx_jumprelu.cli.output import ResultOptions, in_color

if TYPE_CHECKING:
    from onnx_jumprelu.arrays import Array

# Enough to see every site at work; activations of more would only fill the memory.
MOST_EXAMPLES = 16


@command
def run(
    original: Annotated[Path, typer.Argument(help="The model before the patch.", metavar="ORIGINAL")],
    patched: Annotated[Path, typer.Argument(help="The model after the patch.", metavar="PATCHED")],
    data: Annotated[
        Path | None,
        data_option(
            f"Real inputs, of which the first {MOST_EXAMPLES} are used: an `.npz` file with `x`, or with one array "
            "per input, by its name. [default: random inputs]"
        ),
    ] = None,
    *,
    normalization: NormalizationOptions,
    seed: SeedOption = 0,
    result: ResultOptions,
) -> None:
    """Prove that the rewrite is right: the structure, each site, and equality at jump 0."""
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.verification.verify import N_CHECKS
    from onnx_jumprelu.verification.verify import verify as prove

    if data is None and normalization != NormalizationOptions():
        raise typer.BadParameter("--mean and --std need inputs; give --data too")
    result.check([original, patched, data])
    x = None if data is None else _inputs(original, data, normalization)
    with progress("verifying", N_CHECKS, "check", quiet=result.quiet) as shown:
        report = prove(original, patched, x, seed=seed, on_check=lambda _: shown.step())
    result.show(tables.verification(report, color=in_color()), as_json.verification(report))
    if not report.ok:
        raise typer.Exit(1)


def _inputs(model: Path, data: Path, normalization: NormalizationOptions) -> Any:  # noqa: ANN401 - as `verify` takes it
    """One array for the model's input, or an array for each input by its name."""
    from onnx_jumprelu.classifier.normalization import normalized
    from onnx_jumprelu.data.reading import load_data, load_inputs
    from onnx_jumprelu.files.models import load
    from onnx_jumprelu.graphs.scopes import required_inputs

    named: dict[str, Array] | None = load_inputs(
        data, [value.name for value in required_inputs(load(model, weights=False).model)]
    )
    if named is None or "x" in named:
        return normalized(load_data(data).x[:MOST_EXAMPLES], normalization.mean, normalization.std)
    if normalization != NormalizationOptions():
        raise typer.BadParameter(f"--mean and --std apply to an array 'x'; {data} has an array per input instead")
    return {name: array[:MOST_EXAMPLES] if array.ndim else array for name, array in named.items()}
