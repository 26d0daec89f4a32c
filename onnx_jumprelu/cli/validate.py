"""`onnx-jumprelu validate ORIGINAL PATCHED --data D.npz --eps E`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    progress,
    show,
)
from onnx_jumprelu.names import NormName

if TYPE_CHECKING:
    from onnx_jumprelu.activation.parameters import Parameters
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.reading import Data
    from onnx_jumprelu.files.atomic import TextKind

INTERRUPTED = 130  # as a shell says of Ctrl-C


def run(
    original: Annotated[Path, typer.Argument(help="The model before the patch.", metavar="ORIGINAL")],
    patched: Annotated[Path, typer.Argument(help="The model after it.", metavar="PATCHED")],
    data: Annotated[
        Path,
        typer.Option(help="Labelled data that tuning never saw: an `.npz` file with `x` and `y`.", metavar="FILE"),
    ],
    eps: Annotated[float, typer.Option(help="Largest perturbation, in data space.")],
    norm: Annotated[NormName, typer.Option(help="How perturbations are measured.")] = "Linf",
    attacks: Annotated[
        str,
        typer.Option(
            help="`standard`, `quick`, `paper` (the authors' table for jumps 0, 0.5, 1 and 1.5 in the original), or a "
            "list such as `pgd,apgd-ce:relu,square`.",
            metavar="SET|LIST",
        ),
    ] = "standard",
    n_examples: FirstOption = None,
    eps_grid: Annotated[
        str | None,
        typer.Option(help="Robust accuracy at these eps too, up to where the original has none left: 0.05,0.1,0.2."),
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    bounds: BoundsOption = (0.0, 1.0),
    input_name: InputNameOption = None,
    output_name: OutputNameOption = None,
    threads: ThreadsOption = None,
    seed: SeedOption = 0,
    min_clean: Annotated[
        float | None, typer.Option(help="Gate: lowest clean accuracy of the patched model, as a share: 0.97.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Gate: most clean accuracy that the patch may cost: 0.01.")
    ] = None,
    min_robust: Annotated[
        float | None, typer.Option(help="Gate: lowest worst case of the patched model, as a share.")
    ] = None,
    min_gain: Annotated[
        float | None, typer.Option(help="Gate: lowest gain, as a share; one above 0 must be shown too.")
    ] = None,
    max_latency_ratio: Annotated[
        float | None, typer.Option(help="Gate: highest latency of the patched model over the original's.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Gates from a TOML file with a table `[gates]`; options go before it.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the gates as JUnit XML, for CI systems.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a pull request.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the whole report as one HTML file (needs the extra `report`).")
    ] = None,
    tuning: Annotated[
        Path | None,
        typer.Option(
            help="What `tune --json` wrote: the HTML report then shows the trade-off and accuracy against jump too.",
            metavar="FILE",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Where finished attacks are kept until the verdict is complete. [default: PATCHED.partial.json]"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the attacks that an earlier run finished.")
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Attack both models in every way, and say what the patch costs, what it gives, and whether to trust that."""
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.cli.bars import attack_progress
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.files.atomic import check_output
    from onnx_jumprelu.report import as_json, extra, verdict_table
    from onnx_jumprelu.report.files import write_reports
    from onnx_jumprelu.tuning.record_file import read_record
    from onnx_jumprelu.verdict.checkpoint import Checkpoint
    from onnx_jumprelu.verdict.examples import N_SHOWN
    from onnx_jumprelu.verdict.experiment import Experiment, pair
    from onnx_jumprelu.verdict.gates import Policy, read_policy
    from onnx_jumprelu.verdict.run import judge, n_attacks

    given = Policy(min_clean, max_drop, min_robust, min_gain, max_latency_ratio)
    gates = given if policy is None else read_policy(policy).overridden(given)
    # A gate that is not looked at must not seem to have passed.
    if attacks == "paper" and (gates != Policy() or any([junit, markdown, html, tuning, eps_grid, state, resume])):
        raise typer.BadParameter("--attacks paper prints a table: it takes no gates, reports, grid or --resume")
    if tuning is not None and html is None:
        raise typer.BadParameter("--tuning is shown in the HTML report alone: give --html FILE too")
    kept = state or patched.with_suffix(".partial.json")
    if html is not None:
        extra.require()  # before the work, not after it
    inputs = [original, patched, data, *(path for path in (policy, tuning) if path)]
    kinds: tuple[tuple[Path | None, TextKind], ...] = (
        (kept, "JSON"),
        (junit, "XML"),
        (markdown, "Markdown"),
        (html, "HTML"),
    )
    targets = [(path, kind) for path, kind in kinds if path is not None]
    check_json(json, *inputs, *(path for path, _ in targets))
    for path, kind in targets:
        check_output(path, kind, [*inputs, *(other for other, _ in targets if other is not path)])
    tried = None if tuning is None else read_record(tuning, original)
    settings = Target(
        original,
        bounds=bounds,
        mean=numbers(mean, "--mean"),
        std=numbers(std, "--std"),
        input_name=input_name,
        output_name=output_name,
        threads=threads,
    )
    if attacks == "paper":
        _as_in_the_paper(settings, load_data(data).first(n_examples), seed, json, quiet=quiet)
        return
    experiment = Experiment(
        pair(settings, replace(settings, model=patched)),
        load_data(data).first(n_examples),
        eps=eps,
        norm=norm,
        attacks=attacks,
        eps_grid=numbers(eps_grid, "--eps-grid") or (),
        seed=seed,
        n_shown=0 if html is None else N_SHOWN,
    )
    checkpoint = Checkpoint(kept, resume=resume)
    with attack_progress("validating", n_attacks(experiment), quiet=quiet) as bars:
        verdict = judge(experiment, checkpoint=checkpoint, on_done=bars.step, on_progress=bars.running)
    command = shlex.join(["onnx-jumprelu", *sys.argv[1:]])
    verdict = replace(verdict.with_gates(gates), about={**verdict.about, "command": command})
    jumps = jumps_in(patched)
    write_reports(
        verdict, junit=junit, markdown=markdown, html=html, examples=verdict.examples, tuning=tried, jumps=jumps
    )
    show(verdict_table.verdict(verdict, color=in_color()), as_json.verdict(verdict), json, quiet=quiet)
    if not verdict.complete:
        typer.echo(
            f"interrupted: {len(checkpoint)} attacks are kept in {kept}; the same command with --resume goes on",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)
    checkpoint.remove()
    if not all(gate.ok for gate in verdict.gates):
        failed = "; ".join(f"{gate.name}: {gate.detail}" for gate in verdict.gates if not gate.ok)
        typer.echo(f"gates failed: {failed}", err=True)
        raise typer.Exit(1)


def jumps_in(patched: Path) -> dict[str, Parameters] | None:
    """The parameters of each site that has some or could have; None for a model without any."""
    from onnx_jumprelu.activation.parameters import Parameters
    from onnx_jumprelu.rewrite.batch import find_in_file

    sites = find_in_file(patched)
    if all(site.parameters is None for site in sites):
        return None
    relu = Parameters()
    return {site.name: site.parameters or relu for site in sites if site.parameters is not None or site.patchable}


def _as_in_the_paper(original: Target, data: Data, seed: int, json: str | None, *, quiet: bool) -> None:
    from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
    from onnx_jumprelu.paper.table import JUMPS, paper_table
    from onnx_jumprelu.report import paper

    with progress("repeating the paper", len(JUMPS) * len(PAPER_ATTACKS), quiet=quiet) as step:
        rows = paper_table(original, data, seed=seed, on_done=step)
    what = f"{original.name}, the first {len(data.x)} examples of {data.name}"
    show(paper.text(rows, what, color=in_color()), paper.content(rows), json, quiet=quiet)
