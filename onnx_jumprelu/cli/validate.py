"""`onnx-jumprelu validate MODEL [PATCHED] --data D.npz --eps E`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnx_jumprelu.cli.options import (
    EFFORT,
    GATES,
    NUMBER,
    NUMBERS,
    REPORTS,
    THREAT,
    ExamplesOption,
    NormOption,
    OptionGroup,
    SeedOption,
    TargetOptions,
    command,
    data_option,
    eps_option,
)
from onnx_jumprelu.cli.output import (
    DONE,
    FAILED,
    INTERRUPTED,
    Made,
    OutputFile,
    ResultOptions,
    after_writing,
)
from onnx_jumprelu.cli.streams import in_color, say, warn, warn_of

if TYPE_CHECKING:
    from onnx_jumprelu.classifier.target import Target
    from onnx_jumprelu.data.reading import Data
    from onnx_jumprelu.tuning.result import SearchRecord
    from onnx_jumprelu.verdict.gates import Policy
    from onnx_jumprelu.verdict.result import Verdict

PAPER = "paper"


def _gate(help_text: str) -> Any:  # noqa: ANN401 - as typer.Option
    return typer.Option(help=help_text, metavar="NUMBER", rich_help_panel=GATES)


@dataclass(frozen=True)
class GateOptions(OptionGroup):
    """What must hold for exit code 0."""

    min_clean: Annotated[float | None, NUMBER, _gate("Lowest clean accuracy, as a share: 0.97.")] = None
    max_drop: Annotated[
        float | None, NUMBER, _gate("How much clean accuracy the patch may cost: 0.01 is one point.")
    ] = None
    min_robust: Annotated[float | None, NUMBER, _gate("Lowest worst case, as a share.")] = None
    min_gain: Annotated[float | None, NUMBER, _gate("Lowest gain, as a share; a gain above 0 must also be shown.")] = (
        None
    )
    max_latency_ratio: Annotated[
        float | None, NUMBER, _gate("Highest latency of the patched model, as a multiple of the original's.")
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Read gates from a TOML file with a table `[gates]`; command-line options override it.",
            metavar="FILE",
            rich_help_panel=GATES,
        ),
    ] = None

    def gates(self) -> Policy:
        """The gates of the file and of the options."""
        from onnx_jumprelu.verdict.gates import Policy, read_policy

        given = Policy(self.min_clean, self.max_drop, self.min_robust, self.min_gain, self.max_latency_ratio)
        return given if self.policy is None else read_policy(self.policy).overridden(given)


def _report(help_text: str, metavar: str) -> Any:  # noqa: ANN401 - as typer.Option
    return typer.Option(help=help_text, metavar=metavar, rich_help_panel=REPORTS)


@dataclass(frozen=True)
class ReportOptions(OptionGroup):
    """Where the verdict is reported."""

    junit: Annotated[str | None, _report("Write the gates as JUnit XML, for CI systems; `-` prints it.", "FILE|-")] = (
        None
    )
    markdown: Annotated[str | None, _report("Write a summary for a pull request; `-` prints it.", "FILE|-")] = None
    html: Annotated[
        Path | None, _report("Write the whole report as one HTML file (needs the extra `report`).", "FILE")
    ] = None
    tuning: Annotated[
        Path | None,
        _report(
            "What `tune --json` wrote: the HTML report then also shows the trade-off, and accuracy against jump.",
            "FILE",
        ),
    ] = None
    per_example: Annotated[
        bool,
        typer.Option(
            "--per-example",
            help="With `--json`: also the outcome of each attack on each example.",
            rich_help_panel=REPORTS,
        ),
    ] = False

    @property
    def files(self) -> tuple[OutputFile, OutputFile, OutputFile]:
        """The reports."""
        return (
            OutputFile("--junit", self.junit, "XML"),
            OutputFile("--markdown", self.markdown, "Markdown"),
            OutputFile("--html", self.html, "HTML"),
        )

    def check(self, result: ResultOptions, inputs: Sequence[Path | None], state: OutputFile) -> None:
        """Refuse reports that cannot be written; see `ResultOptions.check`."""
        from onnx_jumprelu.report import dependencies

        if self.tuning is not None and self.html is None:
            raise typer.BadParameter("--tuning is shown only in the HTML report; give --html FILE too")
        if self.per_example and result.json is None:
            raise typer.BadParameter("--per-example adds to the JSON result; give --json FILE too")
        if self.html is not None:
            dependencies.require()  # before the work, not after it
        result.check([*inputs, self.tuning], state, *self.files)

    def show(
        self, result: ResultOptions, verdict: Verdict, tried: SearchRecord | None, subject: Path, kept: Path
    ) -> int:
        """Write the reports and print the verdict; see `ResultOptions.show`. `kept` holds finished attacks."""
        from onnx_jumprelu.report import html
        from onnx_jumprelu.rewrite.batch import parameters_in_file

        page = "" if self.html is None else html.render(verdict, verdict.examples, tried, parameters_in_file(subject))
        texts = (verdict.to_junit(), verdict.to_markdown(), page)
        content = verdict.to_dict(per_example=self.per_example)
        advice = "the same command with --resume writes the rest"
        written = [kept] if kept.exists() else []
        return result.show(
            verdict.to_text(color=in_color()), content, *map(Made, self.files, texts), written=written, advice=advice
        )


def _attack_sets(incomplete: str) -> list[str]:
    """Completions of `--attacks`."""
    return [name for name in ("standard", "quick", "paper") if name.startswith(incomplete)]


@command
def run(
    model: Annotated[Path, typer.Argument(help="The model to measure, or the original of a pair.", metavar="MODEL")],
    patched: Annotated[
        Path | None,
        typer.Argument(
            help="The patched model; without it, MODEL alone is measured.", metavar="PATCHED", show_default=False
        ),
    ] = None,
    *,
    data: Annotated[
        Path, data_option("Labelled data that tuning never saw: an `.npz` file with `x` (N, ...) and integer `y` (N,).")
    ],
    n_examples: ExamplesOption = None,
    target: TargetOptions,
    eps: Annotated[float, NUMBER, eps_option()],
    norm: NormOption = None,
    eps_grid: Annotated[
        tuple[float, ...] | None,
        NUMBERS,
        typer.Option(
            help="Also measure robust accuracy at these eps, up to where MODEL has none left: 0.05,0.1,0.2 or "
            "2/255,4/255.",
            metavar="NUMBERS",
            rich_help_panel=THREAT,
        ),
    ] = None,
    attacks: Annotated[
        str,
        typer.Option(
            help="`standard`, `quick`, or a list such as `pgd,apgd-ce:relu,square`. `paper` prints the authors' table "
            "for jumps 0, 0.5, 1 and 1.5 in MODEL instead of a verdict.",
            metavar="SET|LIST",
            autocompletion=_attack_sets,
            rich_help_panel=EFFORT,
        ),
    ] = "standard",
    seed: SeedOption = 0,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Keep finished attacks in this file until the verdict is complete. [default: the last model's name "
            "with `.partial.json`]",
            metavar="FILE",
            rich_help_panel=EFFORT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue with the attacks that an interrupted run finished.", rich_help_panel=EFFORT
        ),
    ] = False,
    gate: GateOptions,
    report: ReportOptions,
    old_output_name: Annotated[str | None, typer.Option("--output", hidden=True)] = None,
    result: ResultOptions,
) -> int:
    """Attack a model in every way and say how robust it is, or whether a patch made it more robust."""
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.data.plausibility import concerns_about
    from onnx_jumprelu.data.reading import load_data
    from onnx_jumprelu.report.formatting import count
    from onnx_jumprelu.report.phrases import TITLES
    from onnx_jumprelu.tuning.record_file import read_search_record
    from onnx_jumprelu.verdict.checkpoint import Checkpoint
    from onnx_jumprelu.verdict.examples import N_SHOWN
    from onnx_jumprelu.verdict.experiment import Experiment, one, pair
    from onnx_jumprelu.verdict.gates import Policy
    from onnx_jumprelu.verdict.run import judge, n_attacks

    if old_output_name is not None:
        raise typer.BadParameter("--output is now called --output-name: the output that holds the logits")
    gates = gate.gates()
    # A gate that is not checked must not seem to have passed.
    if attacks == PAPER and (gates != Policy() or report != ReportOptions() or eps_grid or state or resume):
        raise typer.BadParameter("--attacks paper prints a table: it takes no gates, reports, --eps-grid or --resume")
    if patched is None:
        gates.check_one_model()
    place = state or (patched or model).with_suffix(".partial.json")
    kept = OutputFile("--state", place, "checkpoint", printable=False)
    report.check(result, [model, patched, data, gate.policy], kept)
    tried = None if report.tuning is None else read_search_record(report.tuning, model)
    before, labelled = target.target(model), load_data(data)
    warn(concerns_about(before, labelled, eps=eps, norm=norm or "Linf", n_examples=n_examples))
    used = labelled.first(n_examples)
    if attacks == PAPER:
        return _as_in_the_paper(before, used, seed, result)
    experiment = Experiment(
        one(before) if patched is None else pair(before, replace(before, model=patched)),
        used,
        eps=eps,
        norm=norm or "Linf",
        attacks=attacks,
        eps_grid=eps_grid or (),
        seed=seed,
        n_shown=0 if report.html is None else N_SHOWN,
    )
    checkpoint, total = Checkpoint(kept.path, resume=resume, force=result.force), n_attacks(experiment)

    def kept_so_far() -> str:
        again = "continue with the same command and --resume"
        return f"{count(len(checkpoint), 'attack')} kept in {kept.path} ({again})" if len(checkpoint) else ""

    start = f"{count(total, 'attack')} on {count(len(used.x), 'example')}"
    with (
        after_writing(kept_so_far),
        progress("validating", total, "attack", quiet=result.quiet, long=True, start=start) as shown,
    ):
        verdict = judge(
            experiment,
            checkpoint=checkpoint,
            on_note=warn_of,
            on_start=shown.takes,
            on_done=shown.step,
            on_progress=shown.running,
        )
    said = {**verdict.about, "command": shlex.join(["onnx-jumprelu", *sys.argv[1:]])}
    verdict = replace(verdict.with_gates(gates), about=said)
    code = report.show(result, verdict, tried, patched or model, place)
    if not verdict.complete:
        say(
            f"interrupted: {len(checkpoint)} attacks are kept in {kept.path}; continue with the same command and "
            "--resume"
        )
        return INTERRUPTED
    if code == DONE:  # otherwise --resume can write the rest
        checkpoint.remove()
    failed = [f"{each.name}: {each.detail}" for each in verdict.gates if not each.ok]
    if failed:
        say(f"{TITLES[verdict.outcome]}; gates failed: {'; '.join(failed)}")
    return FAILED if failed else code


def _as_in_the_paper(original: Target, data: Data, seed: int, result: ResultOptions) -> int:
    from onnx_jumprelu.cli.progress import progress
    from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
    from onnx_jumprelu.paper.table import JUMPS, paper_table
    from onnx_jumprelu.report import paper

    total = len(JUMPS) * len(PAPER_ATTACKS)
    with progress("repeating the paper", total, "step", quiet=result.quiet, long=True) as shown:
        rows = paper_table(original, data, seed=seed, on_done=shown.step)
    what = f"{original.name}, the first {len(data.x)} examples of {data.name}"
    return result.show(paper.text(rows, what, color=in_color()), paper.content(rows))
