"""`onnx-jumprelu revert MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.common import ExternalDataOption, InPlaceOption, JsonOption, QuietOption, check_json, show


def run(
    model: Annotated[Path, typer.Argument(help="A patched model.", metavar="MODEL")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output. [default: MODEL.reverted.onnx]")
    ] = None,
    in_place: InPlaceOption = False,
    external_data: ExternalDataOption = "copy",
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Give the original back, from what `patch` recorded in the file."""
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.rewrite.batch import FileOptions, revert_file
    from onnx_jumprelu.rewrite.paths import default_reverted

    check_json(json, model, output or default_reverted(model))
    result = revert_file(model, output, files=FileOptions(in_place=in_place, external_data=external_data))
    show(tables.reverted_file(result), as_json.reverted_file(result), json, quiet=quiet)
