"""The outcome of many attacks on one model, or on an original and a patched model, as plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onnx_jumprelu.arguments import shown
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.content import ByContent
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.atomic import write_text
from onnx_jumprelu.names import ModelName, NormName, Outcome
from onnx_jumprelu.rendering import rendered
from onnx_jumprelu.statistics import Share, paired_difference, share
from onnx_jumprelu.verdict.findings import EXACT, SMOOTH, CurvePoint, Example, Flag, Row
from onnx_jumprelu.verdict.gates import Gate, Policy, checked_gates

MODELS: tuple[ModelName, ModelName] = ("original", "patched")
NAIVE = "pgd"  # the attack of an evaluation that nobody thought about: PGD with exact gradients


@dataclass(frozen=True, eq=False)
class Verdict(ByContent):
    """The outcome of all attacks on the same examples.

    Attributes:
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        correct: Whether each model is right without an attack, of shape (N,). Its keys are the models: `original` and
            `patched`, or `model` alone.
        rows: One per attack and model, in the order in which they ran. Attacks of the curve with a smaller eps are
            among them, since an example that they fool is fooled within `eps` too.
        flags: Reasons to doubt the numbers.
        gates: Conditions that were set.
        latency_ratio: Latency of the patched model divided by that of the original, None where it was not measured.
        curve: Robust accuracy against eps.
        about: What is needed to repeat it: versions, hashes, seed, command.
        missing: What did not run: labels of attacks, or later stages such as `flags`.
        targets: The name of each model, such as its file.
        jump_sites: How many JumpReLU sites each model has whose gradient a surrogate can replace.
        notes: What the user should know about the models, such as that both are the same.
        examples: Inputs before and after an attack, to look at.
    """

    eps: float
    norm: NormName
    correct: Mapping[ModelName, Bools]
    rows: tuple[Row, ...]
    flags: tuple[Flag, ...] = ()
    gates: tuple[Gate, ...] = ()
    latency_ratio: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    about: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    missing: tuple[str, ...] = ()
    targets: Mapping[ModelName, str] = field(default_factory=lambda: MappingProxyType({}))
    jump_sites: Mapping[ModelName, int] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        """Keep copies that nothing can change."""
        for name in ("rows", "flags", "gates", "curve", "missing", "notes", "examples"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("correct", "about", "targets", "jump_sites"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __repr__(self) -> str:
        worst = ", ".join(f"{model} {self.worst_case(model).value:.4f}" for model in self.models)
        return f"Verdict({self.outcome!r}, worst_case: {worst}, eps={self.eps:g}, n_examples={self.n_examples})"

    @property
    def models(self) -> tuple[ModelName, ...]:
        """`original` and `patched`, or `model` alone."""
        return tuple(self.correct)

    @property
    def subject(self) -> ModelName:
        """The model that gates are about: the patched one of a pair, or the only one."""
        return self.models[-1]

    @property
    def n_examples(self) -> int:
        """Number of examples."""
        return len(self.correct[self.subject])

    @property
    def complete(self) -> bool:
        """Whether everything that was planned has run."""
        return not self.missing

    @property
    def own_rows(self) -> tuple[Row, ...]:
        """The rows of the attacks with the verdict's eps, without those of the curve."""
        return tuple(row for row in self.rows if row.eps == self.eps)

    def clean_accuracy(self, model: ModelName) -> Share:
        """Share of examples that a model gets right without an attack."""
        return share(self._correct_of(model))

    def _correct_of(self, model: ModelName) -> Bools:
        if model not in self.correct:
            raise OptionError(f"the verdict has no model '{model}'; it has {', '.join(self.models)}")
        return self.correct[model]

    def standing(self, model: ModelName, kinds: Collection[str] | None = None) -> Bools:
        """Whether no attack (of these kinds) fooled the model, of shape (N,)."""
        standing: Bools = self._correct_of(model).copy()
        for row in self.rows:
            if row.model == model and (kinds is None or row.kind in kinds):
                standing &= ~row.success
        return standing

    def worst_case(self, model: ModelName) -> Share:
        """Share of examples on which no attack fooled a model."""
        return share(self.standing(model))

    @property
    def gain(self) -> Share | None:
        """Worst case of the patched model minus that of the original, over the same examples; None for one model."""
        if len(self.models) == 1:
            return None
        return paired_difference(self.standing("patched"), self.standing("original"))

    @property
    def outcome(self) -> Outcome:
        """`gain` or `loss` where one is shown, else `undecided`; `measured` for one model.

        The gain's interval must lie on one side of 0 and every planned attack must have run. A worst case is an upper
        bound: a gain is shown only if there are no doubts about the patched model's, a loss only if gradients worked on
        the original (with `smooth` ones among them where it has jumps) and no flag undermines its number.
        """
        gain = self.gain
        if gain is None:
            return "measured"
        if not self.complete:
            return "undecided"
        if gain.low > 0 and not self.doubts("patched"):
            return "gain"
        return "loss" if gain.high < 0 and not self.hidden("original") else "undecided"

    @property
    def gain_shown(self) -> bool:
        """Whether the outcome is `gain`."""
        return self.outcome == "gain"

    def doubts(self, model: ModelName) -> tuple[str, ...]:
        """Reasons why the model's worst case may be too high, so that it cannot show a gain."""
        black_box = any(row.kind == "black-box" for row in self._full_rows(model))
        unadapted = self._unadapted(model)
        return (*unadapted, *(() if black_box else ("no black-box attack ran",)), *self.broken(model))

    def broken(self, model: ModelName) -> tuple[str, ...]:
        """Signs that attacks with gradients could not work on a model."""
        flags = tuple(f"flag {flag.name} is raised" for flag in self.flags if flag.model == model and flag.undermines)
        if any(row.worked for row in self._full_rows(model)):
            return flags
        return ("at least half of the gradients were 0 in every attack", *flags)

    def hidden(self, model: ModelName) -> tuple[str, ...]:
        """`broken`, and the sign that nothing saw past the model's jumps. Such an original of a pair shows no loss."""
        return (*self._unadapted(model), *self.broken(model))

    def _full_rows(self, model: ModelName) -> tuple[Row, ...]:
        """The rows of a model whose attacks had the whole budget: a small eps of the curve proves nothing at `eps`."""
        return tuple(row for row in self.own_rows if row.model == model)

    def _unadapted(self, model: ModelName) -> tuple[str, ...]:
        adapted = (row.kind == "adaptive" and row.surrogate == SMOOTH for row in self._full_rows(model))
        return ("no attack with smooth gradients worked",) if self.jump_sites.get(model) and not any(adapted) else ()

    def naive(self, model: ModelName) -> float | None:
        """What PGD with exact gradients alone would have claimed, None where it did not run."""
        own = [row for row in self.own_rows if row.model == row.source == model]
        return next((row.robust_accuracy for row in own if (row.attack, row.surrogate) == (NAIVE, EXACT)), None)

    def check(self, policy: Policy) -> tuple[Gate, ...]:
        """Compare the verdict with a policy.

        Raises:
            OptionError: a condition compares two models, and the verdict is on one.
        """
        if not isinstance(policy, Policy):
            raise OptionError(f"give a Policy, or read one with read_policy(FILE), not {shown(policy)}")
        return checked_gates(self, policy)

    def with_gates(self, policy: Policy) -> Verdict:
        """The same verdict with the gates of a policy. Raises OptionError as `check` does."""
        return replace(self, gates=self.check(policy))

    def render(self, report: str, **options: Any) -> Any:  # noqa: ANN401 - text, dict or figure
        """This verdict as any report of `onnx_jumprelu.report.REPORTS`.

        Raises:
            OptionError: there is no such report, or it needs an extra that is not installed.
        """
        return rendered("REPORTS", report, self, **options)

    def to_dict(self, *, per_example: bool = False) -> dict[str, Any]:
        """JSON content, schema `onnx-jumprelu/verdict/1`; `per_example` adds the outcome of each example."""
        content: dict[str, Any] = self.render("json", per_example=per_example)
        return content

    def to_text(self, *, color: bool = False) -> str:
        """The tables that `validate` prints."""
        return str(self.render("text", color=color))

    def to_markdown(self) -> str:
        """A summary for a pull request."""
        return str(self.render("markdown"))

    def to_junit(self) -> str:
        """The gates as JUnit XML, for CI systems."""
        return str(self.render("junit"))

    def to_html(self, path: str | Path | None = None, *, force: bool = False) -> str:
        """The whole report as one HTML document; with a path it is also written to that file.

        Args:
            path: The file; an older report is replaced.
            force: Replace an HTML file even if it is not an older report.

        Raises:
            OptionError: the extra `report` is not installed.
            ModelFileError: the file cannot be written, or the file that exists must not be lost.
        """
        document = str(self.render("html", examples=self.examples))
        if path is not None:
            write_text(path, document, "HTML", force=force)
        return document

    def plot(self) -> Any:  # noqa: ANN401 - matplotlib's Figure, an optional import
        """Clean accuracy and worst case of each model as a matplotlib figure.

        Raises:
            OptionError: the extra `report` is not installed.
        """
        return self.render("figure")

    def _repr_html_(self) -> str:
        return str(self.render("notebook"))

    def rows_as_dicts(self) -> list[dict[str, object]]:
        """The rows as dictionaries of plain values, from which `pandas.DataFrame` makes a table."""
        return [
            {
                "attack": row.attack,
                "surrogate": row.surrogate,
                "model": row.model,
                "source": row.source,
                "kind": row.kind,
                "eps": row.eps,
                "robust_accuracy": row.robust_accuracy,
                "zero_gradients": row.zero_gradients,
                "seconds": row.seconds,
                "settings": dict(row.settings),
            }
            for row in self.rows
        ]
