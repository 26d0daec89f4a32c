"""`onnx-jumprelu patch MODEL...`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.common import (
    ExternalDataOption,
    InPlaceOption,
    JsonOption,
    QuietOption,
    check_json,
    in_color,
    progress,
    show,
)
from onnx_jumprelu.names import LoweringName

if TYPE_CHECKING:
    from onnx_jumprelu.rewrite.batch import FileOptions
    from onnx_jumprelu.rewrite.options import PatchKeywords


def run(
    models: Annotated[
        list[str], typer.Argument(help="Models, globs, or folders of `.onnx` files.", metavar="MODEL...")
    ],
    jump: Annotated[
        float | None, typer.Option("--jump", help="One jump for all sites, in units of the pre-activations.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A jump per site: a JSON file.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output of a single model. [default: MODEL.jumprelu.onnx]")
    ] = None,
    out_dir: Annotated[Path | None, typer.Option(help="Folder for the outputs, made where it is missing.")] = None,
    in_place: InPlaceOption = False,
    include: Annotated[
        list[str] | None, typer.Option(help="Patch only the sites of this name or glob; repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave the sites of this name or glob; repeatable.")] = None,
    lowering: Annotated[
        LoweringName, typer.Option(help="JumpReLU as ONNX nodes; `auto`: `where`, below opset 9 `cast-mul`.")
    ] = "auto",
    keep_nan: Annotated[
        bool, typer.Option("--keep-nan", help="NaN stays NaN, as in Relu, instead of becoming 0.")
    ] = False,
    jump_input: Annotated[
        bool, typer.Option("--jump-input", help="Make the jump a graph input with a default value.")
    ] = False,
    external_data: ExternalDataOption = "copy",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Prove the rewrite right before anything is written.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Models patched at the same time.", min=1)] = 1,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Rewrite each ReLU into JumpReLU."""
    from onnx_jumprelu.rewrite.batch import FileOptions
    from onnx_jumprelu.rewrite.paths import default_outputs, expand
    from onnx_jumprelu.rewrite.recipe import Recipe
    from onnx_jumprelu.verification.verify import prove

    if (jump is None) == (recipe is None):
        raise typer.BadParameter("give either --jump NUMBER or --recipe FILE")
    targets = [name for name, given in (("-o", output), ("--out-dir", out_dir), ("--in-place", in_place)) if given]
    if len(targets) > 1:
        raise typer.BadParameter(f"give one of {' and '.join(targets)}")
    if dry_run and verify:
        raise typer.BadParameter("--verify proves what is written; leave out --dry-run")
    options: PatchKeywords = {
        "recipe": None if recipe is None else Recipe.read(recipe),
        "include": include or (),
        "exclude": exclude or (),
        "lowering": lowering,
        "keep_nan": keep_nan,
        "jump_input": jump_input,
    }
    files = FileOptions(
        in_place=in_place,
        external_data=external_data,
        dry_run=dry_run,
        make_folder=out_dir is not None,
        check=prove if verify else None,
    )
    paths = expand(models, in_place=in_place)
    outputs = [output] if output else default_outputs(paths, out_dir)
    check_json(json, *paths, *outputs, *([recipe] if recipe else []))
    if len(paths) == 1 and (output is not None or [Path(name) for name in models] == paths):
        _patch_one(paths[0], None if in_place else outputs[0], jump, options, files, json, quiet=quiet)
        return
    if output is not None:
        raise typer.BadParameter(f"-o names one output, but there are {len(paths)} models; use --out-dir")
    _patch_many(paths, out_dir, jump, options, files, json, jobs, quiet=quiet)


def _patch_one(
    path: Path,
    output: Path | None,
    jump: float | None,
    options: PatchKeywords,
    files: FileOptions,
    json: str | None,
    *,
    quiet: bool,
) -> None:
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.rewrite.batch import patch_file

    with progress("patching", 1, quiet=quiet):
        result = patch_file(path, output, jump, files=files, **options)
    verified = files.check is not None
    text = tables.patched_file(result, color=in_color(), verified=verified)
    show(text, as_json.patched_file(result, verified=verified), json, quiet=quiet)


def _patch_many(
    paths: list[Path],
    out_dir: Path | None,
    jump: float | None,
    options: PatchKeywords,
    files: FileOptions,
    json: str | None,
    jobs: int,
    *,
    quiet: bool,
) -> None:
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.rewrite.batch import patch_files

    with progress("patching", len(paths), quiet=quiet) as step, _executor(min(jobs, len(paths))) as executor:
        results = patch_files(paths, out_dir, jump, executor=executor, files=files, on_done=lambda _: step(), **options)
    failed = [result for result in results if result.error is not None]
    lines = [tables.patched_line(result) for result in results if result.error is None]
    show(
        "\n".join([*lines, tables.patched_summary(results)]),
        [as_json.patched_file(result, verified=files.check is not None) for result in results],
        json,
        quiet=quiet,
    )
    for result in failed:
        typer.echo(f"onnx-jumprelu: {result.error}", err=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    """Processes, since most of the work holds Python's lock; none for one job."""
    if jobs == 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Fresh processes: a fork of one that runs threads (a progress bar's) may hang. Ctrl-C is for this process alone:
    # the others finish the file that they are at.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_ignore_interrupts) as executor:
        yield executor


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
