"""`onnx-jumprelu verify ORIGINAL PATCHED`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onnx_jumprelu.cli.common import JsonOption, QuietOption, check_json, in_color, numbers, progress, show

# Enough to see every site at work; activations of more would only fill the memory.
MOST_EXAMPLES = 16


def run(
    original: Annotated[Path, typer.Argument(help="The model before the patch.", metavar="ORIGINAL")],
    patched: Annotated[Path, typer.Argument(help="The model after it.", metavar="PATCHED")],
    data: Annotated[
        Path | None,
        typer.Option(
            help=f"Real inputs, the first {MOST_EXAMPLES}: an `.npz` file with `x`, or with an array for each input "
            "by its name. [default: random ones]"
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from the data, per channel: 0.5 or 0.48,0.45,0.40.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Then divided by, per channel.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random inputs.", min=0)] = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Prove the rewrite right: structure, site by site, and equality at jump 0."""
    from onnx_jumprelu.classifier.normalization import normalized
    from onnx_jumprelu.data.reading import load_data, load_inputs
    from onnx_jumprelu.files.models import load
    from onnx_jumprelu.graphs.scopes import required_inputs
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.verification.verify import N_CHECKS
    from onnx_jumprelu.verification.verify import verify as prove

    if data is None and (mean is not None or std is not None):
        raise typer.BadParameter("--mean and --std go with --data")
    check_json(json, original, patched, *([data] if data else []))
    x: Any = None
    if data is not None:
        named = load_inputs(data, [value.name for value in required_inputs(load(original, weights=False).model)])
        if named is not None and "x" not in named:
            if mean is not None or std is not None:
                raise typer.BadParameter("--mean and --std go with an array 'x'; these data go by the inputs' names")
            x = {name: array[:MOST_EXAMPLES] if array.ndim else array for name, array in named.items()}
        else:
            x = normalized(load_data(data).x[:MOST_EXAMPLES], numbers(mean, "--mean"), numbers(std, "--std"))
    with progress("verifying", N_CHECKS, quiet=quiet) as step:
        report = prove(original, patched, x, seed=seed, on_check=lambda _: step())
    show(tables.verification(report, color=in_color()), as_json.verification(report), json, quiet=quiet)
    if not report.ok:
        raise typer.Exit(1)
