"""`onnx-jumprelu attack MODEL --data D.npz --attack NAME --eps E`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.options import (
    EFFORT,
    NUMBER,
    OUTPUT,
    THREAT,
    ExamplesOption,
    NormOption,
    SeedOption,
    TargetOptions,
    check_no_tensor,
    command,
    data_option,
    eps_option,
)
from onnx_jumprelu.cli.output import Made, OutputFile, ResultOptions
from onnx_jumprelu.cli.streams import in_color, warn
from onnx_jumprelu.names import ProtocolName, SurrogateName

ATTACKS = "fgsm, pgd, pgd-noise, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square, deepfool, trust-region, autoattack"
PAPER_ATTACKS = "ifgsm, deepfool-inf, deepfool-2, tr"


def _names(incomplete: str) -> list[str]:
    """Completions of `--attack`."""
    return [name for name in f"{ATTACKS}, {PAPER_ATTACKS}".split(", ") if name.startswith(incomplete)]


@command
def run(
    model: Annotated[Path, typer.Argument(help="The classifier.", metavar="MODEL")],
    data: Annotated[Path, data_option("Labelled data: an `.npz` file with `x` (N, ...) and integer `y` (N,).")],
    n_examples: ExamplesOption = None,
    *,
    target: TargetOptions,
    attack: Annotated[
        str,
        typer.Option(
            help=f"One of {ATTACKS}; with `--protocol paper` one of {PAPER_ATTACKS}.",
            metavar="NAME",
            autocompletion=_names,
            rich_help_panel=THREAT,
        ),
    ] = "pgd",
    eps: Annotated[
        float | None, NUMBER, eps_option(" Not needed by `fab`, `fab-t`, `deepfool` and `trust-region`.")
    ] = None,
    norm: NormOption = None,
    surrogate: Annotated[
        SurrogateName,
        typer.Option(
            help="Derivative at JumpReLU sites: the true one, that of the original ReLU, or that of a smooth step.",
            rich_help_panel=THREAT,
        ),
    ] = "exact",
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="`paper` attacks as JumpReLU's authors did: no budget, steps in normalized space.",
            rich_help_panel=THREAT,
        ),
    ] = "standard",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps per restart. [default: depends on the attack]", min=1, metavar="N", rich_help_panel=EFFORT
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(help="Restarts. [default: depends on the attack]", min=1, metavar="N", rich_help_panel=EFFORT),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            help="Queries per example, for `square` and `autoattack`.", min=1, metavar="N", rich_help_panel=EFFORT
        ),
    ] = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the attacked examples to this `.npz` file: `x`, `y`, `correct` (before), `success` (after).",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    old_output: Annotated[Path | None, typer.Option("--output-file", hidden=True)] = None,
    result: ResultOptions,
) -> int:
    """Attack a classifier and count what it still gets right."""
    from onnx_jumprelu.attacks import attack_named, settings_of
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.data.plausibility import concerns_about
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.paper.protocol import attack_as_authors, paper_attack_named
    from onnx_jumprelu.report import as_json, text_tables
    from onnx_jumprelu.verdict.single_attack import attack_data

    for option, value, setting in (
        ("--steps", steps, "n_iter"),
        ("--restarts", restarts, "n_restarts"),
        ("--queries", queries, "n_queries"),
    ):
        if value is not None and protocol == "standard" and setting not in settings_of(attack):
            raise typer.BadParameter(f"attack {attack} has no {option}")
    given = {"n_iter": steps, "n_restarts": restarts, "n_queries": queries}
    if protocol == "paper":
        settings, run_attack = paper_attack_named(attack, eps=eps, norm=norm, **given), attack_as_authors
    else:
        settings, run_attack = attack_named(attack, eps=eps, norm=norm or "Linf", **given), attack_data
    examples = OutputFile("--output", output or old_output, ".npz", printable=False)
    check_no_tensor(output, model)
    result.check([model, data], examples)
    attacked, labelled = target.target(model, surrogate), load_data(data)
    warn(concerns_about(attacked, labelled, eps=eps, norm=norm or "Linf", n_examples=n_examples))
    with progress("attacking", 1, "attack", quiet=result.quiet) as shown:
        done = run_attack(
            attacked,
            labelled.first(n_examples),
            settings,
            seed=seed,
            on_progress=partial(shown.attack, f"{attack} on {model.name}"),
        )
    saved = Made(examples, partial(done.save, force=result.force))
    return result.show(text_tables.attack(done, color=in_color()), as_json.attack(done), saved)
