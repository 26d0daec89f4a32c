"""`onnx-jumprelu revert MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.options import OUTPUT, ExternalDataOption, InPlaceOption, command
from onnx_jumprelu.cli.output import ResultOptions, check_model_name


@command
def run(
    model: Annotated[Path, typer.Argument(help="A patched model.", metavar="MODEL")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the original to this file. [default: MODEL.reverted.onnx]",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    in_place: InPlaceOption = False,
    external_data: ExternalDataOption = "copy",
    *,
    result: ResultOptions,
) -> int:
    """Restore the original model from what `patch` recorded in the file."""
    from onnx_jumprelu.report import as_json, text_tables
    from onnx_jumprelu.rewrite.batch import FileOptions, revert_file
    from onnx_jumprelu.rewrite.paths import default_reverted

    if in_place and output is not None:
        raise typer.BadParameter("give one of -o and --in-place")
    check_model_name(output)
    result.check([model], others=[output or default_reverted(model)])
    files = FileOptions(in_place=in_place, external_data=external_data, force=result.force)
    reverted = revert_file(model, output, files=files)
    return result.show(text_tables.reverted_file(reverted), as_json.reverted_file(reverted), written=[reverted.output])
