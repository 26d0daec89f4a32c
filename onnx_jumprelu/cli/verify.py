"""`onnx-jumprelu verify ORIGINAL PATCHED`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.options import NormalizationOptions, SeedOption, command, data_option
from onnx_jumprelu.cli.output import FAILED, ResultOptions
from onnx_jumprelu.cli.streams import in_color
from onnx_jumprelu.names import VERIFIED_EXAMPLES


@command
def run(
    original: Annotated[Path, typer.Argument(help="The model before the patch.", metavar="ORIGINAL")],
    patched: Annotated[Path, typer.Argument(help="The model after the patch.", metavar="PATCHED")],
    data: Annotated[
        Path | None,
        data_option(
            f"Real inputs, of which the first {VERIFIED_EXAMPLES} are used: an `.npz` file with `x`, or with one array "
            "per input, by its name. [default: random inputs]"
        ),
    ] = None,
    *,
    normalization: NormalizationOptions,
    seed: SeedOption = 0,
    result: ResultOptions,
) -> int:
    """Prove that the rewrite is right: the structure, each site, and equality at jump 0."""
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.report import as_json, text_tables
    from onnx_jumprelu.verification.verify import N_CHECKS
    from onnx_jumprelu.verification.verify import verify as prove

    if data is None and normalization != NormalizationOptions():
        raise typer.BadParameter("--mean and --std need inputs; give --data too")
    result.check([original, patched, data])
    with progress("verifying", N_CHECKS, "check", quiet=result.quiet) as shown:
        report = prove(
            original,
            patched,
            data,
            mean=normalization.mean,
            std=normalization.std,
            seed=seed,
            on_check=lambda _: shown.step(),
        )
    code = result.show(text_tables.verification(report, color=in_color()), as_json.verification(report))
    return code if report.ok else FAILED
