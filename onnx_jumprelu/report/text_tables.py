"""Results for the terminal. Names are never cut short."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onnx_jumprelu.attacks.base import MANY_ZERO_GRADIENTS
from onnx_jumprelu.errors import escaped
from onnx_jumprelu.report.formatting import count
from onnx_jumprelu.rewrite.batch import PatchedFile, RevertedFile
from onnx_jumprelu.rewrite.patch import Inspection, SiteJump
from onnx_jumprelu.rewrite.site import ActivationSite
from onnx_jumprelu.verdict.single_attack import AttackRun
from onnx_jumprelu.verification.verify import VerifyReport

WIDE = 10_000  # one line per row: what the terminal wraps can still be copied
INDENT = "  "
STYLES = {"ok": "green", "FAILED": "red"}


def inspection(model: Path, found: Inspection, *, color: bool = False) -> str:
    """The sites of a model, one row each, and notes."""
    sites = found.sites
    patchable = sum(site.patchable for site in sites)
    headline = escaped(f"{model}: {count(len(sites), 'activation site')}, {patchable} patchable")
    rows = [(site.name, site.scope, _form(site), site.dtype or "?", _shape(site), _status(site)) for site in sites]
    columns = ("site", "scope", "form", "dtype", "shape", "status")
    return joined(headline, table(columns, rows, color=color) if rows else "", *_notes(found.notes))


def _notes(notes: Iterable[str]) -> Iterator[str]:
    return (f"note: {escaped(note)}" for note in notes)


def _form(site: ActivationSite) -> str:
    return site.form if site.cap is None else f"{site.form}, cap {site.cap:g}"


def _status(site: ActivationSite) -> str:
    if site.reason is not None:
        return f"not patchable: {site.reason}"
    return "patchable" if site.parameters is None else f"JumpReLU, jump {site.parameters.shown()}"


def _shape(site: ActivationSite) -> str:
    if site.shape is None:
        return "?"
    return " x ".join("?" if size is None else str(size) for size in site.shape) or "scalar"


def patched_file(result: PatchedFile, *, color: bool = False, verified: bool = False) -> str:
    """What happened to one file, one row per site."""
    to = "nothing written (dry run)" if result.output is None else str(result.output)
    headline = escaped(f"{result.input} -> {to}: {_patched(result)}")
    rows = [(site.name, _jump(site)) for site in result.sites]
    rows += [(site.name, f"skipped: {site.reason}") for site in result.skipped]
    note = "It was patched before; the new jumps replace the old ones." if result.repatched else ""
    proof = "Verified before it was written." if verified else ""
    return joined(
        headline, table(("site", "result"), rows, color=color), note, *_notes(result.notes), proof, _left(result)
    )


def _left(result: PatchedFile) -> str:
    """How much of the model is still as it was, where that was not asked for."""
    left = sum(not site.by_choice for site in result.skipped)
    if not left:
        return ""
    total = len(result.sites) + len(result.skipped)
    return f"Partial: {left} of {count(total, 'activation site')} cannot be patched (see above). --strict refuses this."


def _jump(site: SiteJump) -> str:
    names = " and ".join(f"'{name}'" for name in site.inputs.values())
    override = f", overridden by {'input' if len(site.inputs) == 1 else 'inputs'} {names}" if names else ""
    return f"jump {site.parameters.shown()}{override}"


def patched_line(result: PatchedFile) -> str:
    """What happened to one file of many that went well, in one line, and a line per note."""
    to = "nothing written (dry run)" if result.output is None else str(result.output)
    return joined(escaped(f"{result.input} -> {to}: {_patched(result)}"), *_notes(result.notes))


def _patched(result: PatchedFile) -> str:
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    return f"{count(len(result.sites), 'site')} patched ({result.lowering}){skipped}"


def patched_summary(results: Sequence[PatchedFile]) -> str:
    """How many files of a batch went well."""
    failed = sum(result.error is not None for result in results)
    partial = sum(bool(_left(result)) for result in results)
    in_part = f"; {count(partial, 'model')} only in part (--strict refuses this)" if partial else ""
    return f"{count(len(results) - failed, 'model')} patched, {failed} failed{in_part}"


def reverted_file(result: RevertedFile) -> str:
    """Whether the original is back."""
    what = (
        "the very bytes of the file that was patched (SHA-256 agrees)"
        if result.identical
        else "the original nodes are back, but the bytes are not those of the file that was patched: it was changed "
        "since (then check that it still fits together), or encoded in an unusual way"
    )
    return escaped(f"{result.input} -> {result.output}: {what}")


def verification(report: VerifyReport, *, color: bool = False) -> str:
    """The checks, one row each, and the notes."""
    rows = [(check.word, check.name, check.detail) for check in report.checks]
    headline = {
        "verified": "verified: the rewrite is right",
        "wrong": "NOT verified",
        "not comparable": "NOT verified: not comparable; no check failed, but some could not be made",
    }[report.status]
    return joined(headline, table(("", "check", "found"), rows, color=color), *report.notes)


def attack(run: AttackRun, *, color: bool = False) -> str:
    """What an attack achieved, and what to think of it."""
    result, unit = run.result, "data space" if run.protocol == "standard" else "normalized space"
    budget = f"no budget ({unit})" if result.eps is None else f"eps {result.eps:g} ({unit})"
    headline = (
        f"{escaped(run.target.name)}: {result.attack}, {result.norm}, {budget}, gradient {run.target.surrogate}, "
        f"{count(len(result.labels), 'example')}"
    )
    fooled = int((result.success & result.correct).sum())
    rows = [
        ("clean accuracy", f"{result.clean_accuracy:.1%}"),
        ("robust accuracy", f"{result.robust_accuracy:.1%}"),
        ("fooled", str(fooled)),
        ("mean perturbation of the fooled", f"{result.mean_perturbation:.5g}" if fooled else "-"),
        ("largest perturbation", f"{result.max_perturbation:.5g}"),
        ("gradients that were 0", f"{result.zero_gradients} of {result.n_gradients}"),
        ("gradients that were NaN or infinite", f"{result.nan_gradients} of {result.n_gradients}"),
        ("model runs, in examples", str(result.n_queries)),
        ("time", f"{result.seconds:.2f} s"),
    ]
    return joined(headline, table(("", "found"), rows, color=color), *_doubts(run))


def _doubts(run: AttackRun) -> Iterator[str]:
    """Why a robust accuracy may be better than the truth."""
    result, asked = run.result, max(1, run.result.n_gradients)
    hidden = run.n_jumprelus and run.target.surrogate == "exact" and result.n_gradients
    others = "other gradients (--surrogate relu, smooth)" if hidden else "other losses (--attack apgd-dlr, apgd-t)"
    for number, what in ((result.zero_gradients, "0"), (result.nan_gradients, "NaN or infinite")):
        if number > MANY_ZERO_GRADIENTS * asked:
            yield (
                f"Warning: {number / asked:.0%} of the gradients were {what} and led nowhere: what was not fooled may "
                f"still be easy to fool; try {others}, and --attack square, which needs none."
            )
    if hidden:
        yield (
            f"The model has {count(run.n_jumprelus, 'JumpReLU')}, and exact gradients do not see below a jump: run "
            "this with --surrogate relu and with smooth too, and believe the lowest number."
        )
    if not run.n_jumprelus and run.target.surrogate != "exact":
        yield f"No JumpReLU was recognised in the model: gradient {run.target.surrogate} is the exact one here."
    yield "One attack gives an upper bound: the robust accuracy is at most this."


def table(columns: Iterable[str], rows: Iterable[Sequence[str]], *, color: bool) -> str:
    """Aligned columns, one line per row, however long; with color, a cell `ok` is green and a cell `FAILED` red."""
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column)
    for row in rows:
        grid.add_row(*(Text(escaped(cell), style=STYLES.get(cell, "")) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDE, force_terminal=color).print(grid)
    return "\n".join(INDENT + line.rstrip() for line in out.getvalue().splitlines())


def joined(*parts: str) -> str:
    """Parts below each other, empty ones left out."""
    return "\n".join(part for part in parts if part)
