"""`onnx-jumprelu inspect MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.common import JsonOption, QuietOption, check_json, in_color, show


def run(
    model: Annotated[Path, typer.Argument(help="The model.", metavar="MODEL")],
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """List every activation site, and why a look-alike is not patched."""
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.rewrite.files import find_in_file

    check_json(json, model)
    sites = find_in_file(model)
    show(tables.inspection(model, sites, color=in_color()), as_json.inspection(model, sites), json, quiet=quiet)
