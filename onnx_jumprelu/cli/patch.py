"""`onnx-jumprelu patch MODEL...`."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnx_jumprelu.cli.options import (
    EFFORT,
    NUMBER,
    OUTPUT,
    ExternalDataOption,
    InPlaceOption,
    NormalizationOptions,
    command,
    data_option,
)
from onnx_jumprelu.cli.output import FAILED, ResultOptions, check_model_name
from onnx_jumprelu.cli.streams import complain, in_color
from onnx_jumprelu.names import LoweringName

if TYPE_CHECKING:
    from onnx_jumprelu.rewrite.batch import FileOptions, PatchedFile
    from onnx_jumprelu.rewrite.options import PatchKeywords
    from onnx_jumprelu.rewrite.recipe import Recipe

ACTIVATION = "JumpReLU"


@command
def run(
    models: Annotated[list[str], typer.Argument(help="Models, globs, or folders of `.onnx` files.", metavar="MODEL")],
    jump: Annotated[
        float | None,
        NUMBER,
        typer.Option(
            help="One jump for all sites, in the units of the pre-activations.",
            metavar="NUMBER",
            rich_help_panel=ACTIVATION,
        ),
    ] = None,
    softness: Annotated[
        float | None,
        NUMBER,
        typer.Option(
            help="Round the jump off: the width of its edge, in the same units. Alone it smooths ReLU.",
            metavar="NUMBER",
            rich_help_panel=ACTIVATION,
        ),
    ] = None,
    softness_share: Annotated[
        float | None,
        NUMBER,
        typer.Option(
            help="A softness for each site: this share of the standard deviation of its pre-activations on --data.",
            metavar="NUMBER",
            rich_help_panel=ACTIVATION,
        ),
    ] = None,
    center: Annotated[
        bool,
        typer.Option(
            "--center",
            help="With --softness-share: keep the mean of each channel's output on --data.",
            rich_help_panel=ACTIVATION,
        ),
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file with the parameters of each site, as `tune` writes it.",
            metavar="FILE",
            rich_help_panel=ACTIVATION,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Patch only sites whose name matches; repeatable.", metavar="NAME|GLOB", rich_help_panel=ACTIVATION
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Do not patch sites whose name matches; repeatable.", metavar="NAME|GLOB", rich_help_panel=ACTIVATION
        ),
    ] = None,
    lowering: Annotated[
        LoweringName,
        typer.Option(
            help="How JumpReLU is written in ONNX nodes; `auto` is `where` (`cast-mul` below opset 9), and `softplus` "
            "or `exp-log` with a softness.",
            rich_help_panel=ACTIVATION,
        ),
    ] = "auto",
    keep_nan: Annotated[
        bool,
        typer.Option(
            "--keep-nan", help="NaN stays NaN, as in Relu; otherwise it becomes 0.", rich_help_panel=ACTIVATION
        ),
    ] = False,
    jump_input: Annotated[
        bool,
        typer.Option(
            "--jump-input",
            help="Make jump and softness graph inputs with default values.",
            rich_help_panel=ACTIVATION,
        ),
    ] = False,
    data: Annotated[
        Path | None,
        data_option("Inputs for `--softness-share`, and for `--verify` in place of random ones: an `.npz` file."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a model if some activation cannot be patched.", rich_help_panel=ACTIVATION
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Prove that the rewrite is right before anything is written.", rich_help_panel=EFFORT
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(help="How many models to patch in parallel.", min=1, metavar="N", rich_help_panel=EFFORT)
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write a single model to this file. [default: MODEL.jumprelu.onnx]",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(help="Write to this folder, created if it is missing.", metavar="DIR", rich_help_panel=OUTPUT),
    ] = None,
    in_place: InPlaceOption = False,
    external_data: ExternalDataOption = "copy",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything except writing.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    normalization: NormalizationOptions,
    result: ResultOptions,
) -> int:
    """Rewrite each ReLU into JumpReLU."""
    from onnx_jumprelu.rewrite.batch import FileOptions
    from onnx_jumprelu.rewrite.paths import default_outputs, expand
    from onnx_jumprelu.rewrite.recipe import Recipe
    from onnx_jumprelu.verification.verify import prove

    measured = softness_share is not None
    _check_parameters((jump, softness, softness_share), recipe, has_data=data is not None, center=center)
    targets = [name for name, given in (("-o", output), ("--out-dir", out_dir), ("--in-place", in_place)) if given]
    if len(targets) > 1:
        raise typer.BadParameter(f"give only one of {' and '.join(targets)}")
    check_model_name(output)
    if dry_run and verify:
        raise typer.BadParameter("--verify tests the written file, and --dry-run writes none; leave out one of them")
    _check_data(data, normalization, used=verify or measured)
    options: PatchKeywords = {
        "softness": softness,
        "recipe": None if recipe is None else Recipe.read(recipe),
        "include": include or (),
        "exclude": exclude or (),
        "lowering": lowering,
        "keep_nan": keep_nan,
        "jump_input": jump_input,
        "strict": strict,
    }
    files = FileOptions(
        in_place=in_place,
        external_data=external_data,
        dry_run=dry_run,
        make_folder=out_dir is not None,
        check=partial(prove, x=data, mean=normalization.mean, std=normalization.std) if verify else None,
        force=result.force,
    )
    paths = expand(models, in_place=in_place)
    outputs = [output] if output else default_outputs(paths, out_dir)
    result.check([*paths, recipe, data], others=outputs)
    if softness_share is not None and data is not None:
        options["recipe"] = _calibrated(paths, data, softness_share, jump, normalization, center=center)
        jump = None
    if len(paths) == 1 and (output is not None or [Path(name) for name in models] == paths):
        return _patch_one(paths[0], None if in_place else outputs[0], jump, options, files, result)
    if output is not None:
        raise typer.BadParameter(f"-o names one output, but there are {len(paths)} models; use --out-dir")
    return _patch_many(paths, out_dir, jump, options, files, jobs, result)


def _check_parameters(
    given: tuple[float | None, float | None, float | None], recipe: Path | None, *, has_data: bool, center: bool
) -> None:
    """Refuse numbers that do not go together: `given` are the jump, the softness, and the softness as a share."""
    _, softness, share = given
    if all(number is None for number in given) == (recipe is None):
        raise typer.BadParameter("give --jump NUMBER, --softness NUMBER or both, or else --recipe FILE")
    if share is not None and (softness is not None or not has_data):
        raise typer.BadParameter("--softness-share measures softness on --data FILE, in place of --softness")
    if center and share is None:
        raise typer.BadParameter("--center needs --softness-share; a recipe can hold centers too")


def _check_data(data: Path | None, normalization: NormalizationOptions, *, used: bool) -> None:
    if data is not None and not used:
        raise typer.BadParameter("--data holds inputs for --verify and --softness-share; give one of these too")
    if data is None and normalization != NormalizationOptions():
        raise typer.BadParameter("--mean and --std need inputs; give --data too")


def _calibrated(
    models: list[Path],
    data: Path,
    share: float,
    jump: float | None,
    normalization: NormalizationOptions,
    *,
    center: bool,
) -> Recipe:
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.splits import load_validation
    from onnx_jumprelu.tuning.calibration import calibrate

    if len(models) > 1:
        raise typer.BadParameter("--softness-share measures one model; patch the models one by one")
    target = Target(models[0], mean=normalization.mean, std=normalization.std)
    return calibrate(target, load_validation(data), share, jump=jump or 0.0, center=center)


def _patch_one(
    path: Path,
    output: Path | None,
    jump: float | None,
    options: PatchKeywords,
    files: FileOptions,
    result: ResultOptions,
) -> int:
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.report import as_json, text_tables
    from onnx_jumprelu.rewrite.batch import patch_file

    with progress("patching", 1, "model", quiet=result.quiet):
        patched = patch_file(path, output, jump, files=files, **options)
    verified = files.check is not None
    text = text_tables.patched_file(patched, color=in_color(), verified=verified)
    return result.show(text, as_json.patched_file(patched, verified=verified), written=_written(patched))


def _patch_many(
    paths: list[Path],
    out_dir: Path | None,
    jump: float | None,
    options: PatchKeywords,
    files: FileOptions,
    jobs: int,
    result: ResultOptions,
) -> int:
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.report import as_json, text_tables
    from onnx_jumprelu.rewrite.batch import patch_files

    with (
        progress("patching", len(paths), "model", quiet=result.quiet) as shown,
        _executor(min(jobs, len(paths))) as executor,
    ):
        done = patch_files(
            paths, out_dir, jump, executor=executor, files=files, on_done=lambda _: shown.step(), **options
        )
    failed = [each for each in done if each.error is not None]
    lines = [text_tables.patched_line(each) for each in done if each.error is None]
    code = result.show(
        "\n".join([*lines, text_tables.patched_summary(done)]),
        [as_json.patched_file(each, verified=files.check is not None) for each in done],
        written=[path for each in done for path in _written(each)],
    )
    for each in failed:
        complain(str(each.error))
    return FAILED if failed else code


def _written(result: PatchedFile) -> list[Path]:
    return [] if result.output is None else [result.output]


def _executor(jobs: int) -> AbstractContextManager[Executor | None]:
    """Processes, since most of the work holds Python's lock; none for one job."""
    from onnx_jumprelu.rewrite.parallel import Processes

    return nullcontext() if jobs == 1 else Processes(jobs)
