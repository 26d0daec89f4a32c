"""`onnx-jumprelu attack MODEL --data D.npz --attack NAME --eps E`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from onnx_jumprelu.cli.common import (
    BoundsOption,
    FirstOption,
    InputNameOption,
    JsonOption,
    MeanOption,
    OutputNameOption,
    QuietOption,
    SeedOption,
    StdOption,
    ThreadsOption,
    check_json,
    in_color,
    numbers,
    show,
)
from onnx_jumprelu.names import NormName, ProtocolName, SurrogateName


def run(
    model: Annotated[Path, typer.Argument(help="The classifier.", metavar="MODEL")],
    data: Annotated[
        Path, typer.Option(help="Labelled data: an `.npz` file with `x` (N, ...) and integer `y` (N,).", metavar="FILE")
    ],
    attack: Annotated[
        str,
        typer.Option(
            help="`fgsm`, `pgd`, `pgd-noise`, `apgd-ce`, `apgd-dlr`, `apgd-t`, `fab`, `fab-t`, `square`, `deepfool`, "
            "`trust-region` or `autoattack`; with `--protocol paper` `ifgsm`, `deepfool-inf`, `deepfool-2` or `tr`.",
            metavar="NAME",
        ),
    ] = "pgd",
    eps: Annotated[
        float | None,
        typer.Option(
            help="Largest perturbation, in data space. `fab`, `fab-t`, `deepfool` and `trust-region` work without."
        ),
    ] = None,
    norm: Annotated[NormName | None, typer.Option(help="How perturbations are measured. [default: Linf]")] = None,
    surrogate: Annotated[
        SurrogateName,
        typer.Option(help="Derivative at JumpReLU sites: the true one, that of the ReLU it was, or a smooth step's."),
    ] = "exact",
    steps: Annotated[int | None, typer.Option(help="Steps per restart. [default: the attack's own]", min=1)] = None,
    restarts: Annotated[int | None, typer.Option(help="Restarts. [default: the attack's own]", min=1)] = None,
    queries: Annotated[
        int | None, typer.Option(help="Queries per example, for `square` and `autoattack`.", min=1)
    ] = None,
    protocol: Annotated[
        ProtocolName,
        typer.Option(help="`paper`: as JumpReLU's authors attacked: no budget, steps in normalized space."),
    ] = "standard",
    n_examples: FirstOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    bounds: BoundsOption = (0.0, 1.0),
    input_name: InputNameOption = None,
    output_name: OutputNameOption = None,
    providers: Annotated[
        str | None, typer.Option(help="onnxruntime's execution providers, with commas. [default: the CPU]")
    ] = None,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    output: Annotated[
        Path | None, typer.Option("--output-file", "-o", help="Write the examples after the attack to an `.npz` file.")
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Attack a classifier with gradients through its ONNX graph; says what it still gets right."""
    from onnx_jumprelu.attacks import attack_named, settings_of
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.cli.bars import attack_progress
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.files.atomic import check_output
    from onnx_jumprelu.paper.protocol import attack_as_authors, paper_attack_named
    from onnx_jumprelu.report import as_json, tables
    from onnx_jumprelu.runtime import CPU
    from onnx_jumprelu.verdict.single_attack import attack_data

    for option, value, setting in (
        ("--steps", steps, "n_iter"),
        ("--restarts", restarts, "n_restarts"),
        ("--queries", queries, "n_queries"),
    ):
        if value is not None and protocol == "standard" and setting not in settings_of(attack):
            raise typer.BadParameter(f"attack {attack} takes no {option}")
    given = {"n_iter": steps, "n_restarts": restarts, "n_queries": queries}
    if protocol == "paper":
        settings, run_attack = paper_attack_named(attack, eps=eps, norm=norm, **given), attack_as_authors
    else:
        settings, run_attack = attack_named(attack, eps=eps, norm=norm or "Linf", **given), attack_data
    check_json(json, model, data, *([output] if output else []))
    if output is not None:
        check_output(output, ".npz", (model, data))
    target = Target(
        model,
        bounds=bounds,
        mean=numbers(mean, "--mean"),
        std=numbers(std, "--std"),
        surrogate=surrogate,
        input_name=input_name,
        output_name=output_name,
        providers=CPU if providers is None else [name.strip() for name in providers.split(",")],
        threads=threads,
    )
    labelled = load_data(data).first(n_examples)
    with attack_progress("attacking", 1, quiet=quiet) as bars:
        done = run_attack(
            target,
            labelled,
            settings,
            seed=seed,
            on_progress=partial(bars.attack, f"{attack} on {model.name}"),
        )
    if output is not None:
        done.save(output)
    show(tables.attack(done, color=in_color()), as_json.attack(done), json, quiet=quiet)
