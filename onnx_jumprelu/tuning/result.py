"""What tuning found, as values that do not change. Each number says which examples and which attacks it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.content import ByContent
from onnx_jumprelu.rendering import rendered
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.site import SkippedSite
from onnx_jumprelu.statistics import Share, paired_difference, share
from onnx_jumprelu.tuning.preactivations import PreActivations


class Measured(Protocol):
    """Anything with a clean accuracy and a worst case."""

    @property
    def clean_accuracy(self) -> float:
        """Share of examples that are right without an attack."""

    @property
    def worst_case(self) -> float:
        """Share of examples that withstood every attack."""


Point = TypeVar("Point", bound=Measured)


def pareto_front(points: Iterable[Point], tie: Callable[[Point], float]) -> tuple[Point, ...]:
    """The points that no other point beats in clean accuracy and in worst case, by falling clean accuracy.

    Args:
        points: The points.
        tie: Of points that are equal in both, the one with the smallest value is kept.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (-each.clean_accuracy, -each.worst_case, tie(each))):
        if not front or point.worst_case > front[-1].worst_case:
            front.append(point)
    return tuple(front)


@dataclass(frozen=True, eq=False)
class _Candidate(ByContent):
    """Parameters for the sites of a model.

    Attributes:
        parameters: The parameters of each site, by the site's name; read-only.
    """

    parameters: Mapping[str, Parameters]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    @property
    def jumps(self) -> dict[str, Jump]:
        """The jump of each site, or of each of its channels, by the site's name."""
        return {name: parameters.jump for name, parameters in self.parameters.items()}

    @property
    def is_original(self) -> bool:
        """Whether every site stays a ReLU."""
        return all(parameters.is_relu for parameters in self.parameters.values())


@dataclass(frozen=True, eq=False)
class TrialPoint(_Candidate):
    """A candidate, measured on the examples that the search uses.

    Attributes:
        clean_accuracy: Share of all validation examples that are right without an attack.
        worst_case: Share of the attacked examples that withstood every attack.
        chosen: Whether this candidate became the recipe.
        family: How the jumps were chosen: `original`, `uniform`, `quantile`, `sites` or `channels`.
    """

    clean_accuracy: float
    worst_case: float
    chosen: bool
    family: str


@dataclass(frozen=True, eq=False)
class Judged(_Candidate):
    """A candidate, measured on the held-out examples, which the search never attacked.

    Attributes:
        withstood: Whether the model withstood every attack, of shape (N,).
        clean_accuracy: Share of all validation examples that are right without an attack.
        held_out_clean_accuracy: The same share, of the held-out examples only.
    """

    withstood: Bools
    clean_accuracy: float
    held_out_clean_accuracy: float

    @property
    def worst_case(self) -> Share:
        """Share of the held-out examples that withstood every attack."""
        return share(self.withstood)


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchRecord(ByContent):
    """What a search for jumps tried. `tune --json` writes it and `read_search_record` reads it.

    Attributes:
        model: The model's file, or the name of a model in memory.
        model_sha256: Hash of the model that was opened, including its external weights.
        data: The validation data's file, or `data` for arrays.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbation.
        max_drop: How much clean accuracy the jumps may cost, as a share of all validation examples.
        original_clean_accuracy: Clean accuracy with jump 0 everywhere, on all validation examples.
        n_search: Number of validation examples that the search used.
        n_held_out: Number of validation examples that were held out from the search.
        trials: All candidates under quick attacks, on at most the first 400 of the search's examples; the original
            comes first.
        finalists: The best candidates under thorough attacks, on all of the search's examples; the original comes
            first, and exactly one is chosen.
    """

    model: str
    model_sha256: str
    data: str
    eps: float
    norm: str
    max_drop: float
    original_clean_accuracy: float
    n_search: int
    n_held_out: int
    trials: tuple[TrialPoint, ...]
    finalists: tuple[TrialPoint, ...]

    @property
    def pareto_front(self) -> tuple[TrialPoint, ...]:
        """The finalists that no other finalist beats in clean accuracy and in worst case, by falling clean accuracy."""
        return pareto_front(self.finalists, lambda point: not point.chosen)

    @property
    def single_jump_trials(self) -> tuple[TrialPoint, ...]:
        """The candidates with the same jump at every site, by rising jump, each jump once; jump 0 is the original."""
        found: dict[Parameters, TrialPoint] = {}
        for point in self.trials:
            parameters, *others = {each.simplified() for each in point.parameters.values()}
            if not others and not parameters.per_channel:
                found[parameters] = point
        return tuple(found[parameters] for parameters in sorted(found, key=lambda each: each.size))

    @property
    def chosen_finalist(self) -> TrialPoint:
        """The finalist that became the recipe."""
        return next(point for point in self.finalists if point.chosen)

    def recommends(self, given: Mapping[str, Parameters]) -> bool:
        """Whether these are the recommended parameters, up to rounding; a site that is not named is a ReLU."""
        recommended, relu = self.chosen_finalist.parameters, Parameters()
        return all(recommended.get(site, relu).is_close(given.get(site, relu)) for site in {*recommended, *given})


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Tuning(SearchRecord):
    """The outcome of a search for jumps: what it tried, and how its result did on the held-out examples.

    Attributes:
        eps_chosen: Whether tuning chose eps, because none was given.
        seed: Seed of all randomness.
        sites: The pre-activations of the sites, on the search's examples.
        skipped: The sites that stay as they are, and why.
        original: Jump 0 everywhere.
        proposed: The result of the search; jump 0 everywhere where no candidate looked better.
        uniform: The best single jump for all sites; None where the search had no such candidate.
        cut_short: Whether the search used up its candidates before it reached the last site.
        seconds: Time taken.
    """

    eps_chosen: bool
    seed: int
    sites: tuple[PreActivations, ...]
    skipped: tuple[SkippedSite, ...]
    original: Judged
    proposed: Judged
    uniform: Judged | None
    cut_short: bool
    seconds: float

    @property
    def gain(self) -> Share:
        """Worst case of the search's result minus that of the original, on the held-out examples."""
        return paired_difference(self.proposed.withstood, self.original.withstood)

    @property
    def gain_shown(self) -> bool:
        """Whether the 95 % interval of the gain lies above 0."""
        return self.gain.low > 0

    @property
    def chosen(self) -> Judged:
        """The recommendation: the search's result if its gain is shown, else the original."""
        return recommended(self.original, self.proposed)

    @property
    def jumps(self) -> dict[str, Jump]:
        """The recommended jump of each site."""
        return self.chosen.jumps

    @property
    def parameters(self) -> Mapping[str, Parameters]:
        """The recommended parameters of each site."""
        return self.chosen.parameters

    @property
    def over_uniform(self) -> Share | None:
        """Worst case of the search's result minus that of the best single jump, on the held-out examples."""
        return None if self.uniform is None else paired_difference(self.proposed.withstood, self.uniform.withstood)

    @property
    def recipe(self) -> Recipe:
        """The recommended jumps. Sites with jump 0 are left out: they stay ReLUs, which compute the same, faster."""
        kept = {name: each.as_entry() for name, each in self.parameters.items() if not each.is_relu}
        return Recipe(None, kept) if kept else Recipe(0.0)

    def render(self, report: str, **options: Any) -> Any:  # noqa: ANN401 - text, dict or figure
        """This tuning as any report of `onnx_jumprelu.report.TUNING_REPORTS`.

        Raises:
            OptionError: there is no such report, or it needs an extra that is not installed.
        """
        return rendered("TUNING_REPORTS", report, self, **options)

    def to_dict(self, recipe_file: str | None = None) -> dict[str, Any]:
        """JSON content, schema `onnx-jumprelu/tuning/1`; `recipe_file` says where the recipe was written."""
        content: dict[str, Any] = self.render("json", recipe_file=recipe_file)
        return content

    def to_text(self, recipe_file: str | None = None, *, color: bool = False) -> str:
        """The tables that `tune` prints; `recipe_file` says where the recipe was written."""
        return str(self.render("text", recipe_file=recipe_file, color=color))

    def to_csv(self) -> str:
        """Every candidate as CSV: quick attacks first, then the finalists under thorough attacks."""
        return str(self.render("csv"))

    def to_svg(self) -> str:
        """The trade-off between clean accuracy and worst case as SVG. Raises OptionError without the extra `report`."""
        return str(self.render("svg"))

    def plot(self) -> Any:  # noqa: ANN401 - matplotlib is an optional dependency
        """The trade-off as a matplotlib `Figure`. Raises OptionError without the extra `report`."""
        return self.render("figure")

    def trials_as_dicts(self) -> list[dict[str, Any]]:
        """One flat dict per candidate and stage, for `pandas.DataFrame`; the column `jump:SITE` is the site's jump.

        Stage `quick` and stage `thorough` use other attacks and other examples: compare numbers within a stage only.
        """
        front = self.pareto_front
        return [
            {
                "family": point.family,
                "stage": stage,
                "clean_accuracy": point.clean_accuracy,
                "worst_case": point.worst_case,
                "front": stage == "thorough" and point in front,
                "chosen": point.chosen,
                **{f"jump:{site}": jump for site, jump in point.jumps.items()},
            }
            for stage, points in (("quick", self.trials), ("thorough", self.finalists))
            for point in points
        ]

    def __repr__(self) -> str:
        outcome = "gain shown" if self.gain_shown else "no gain"
        return (
            f"<Tuning of {self.model}: {outcome}, {self.norm} eps {self.eps:g}, worst case "
            f"{self.original.worst_case.value:.3f} -> {self.chosen.worst_case.value:.3f} on {self.n_held_out} held-out "
            f"examples, {len(self.trials)} candidates>"
        )

    def _repr_html_(self) -> str:
        return str(self.render("notebook"))


def recommended(original: Judged, proposed: Judged) -> Judged:
    """The search's result if the 95 % interval of its gain over the original lies above 0, else the original."""
    return proposed if paired_difference(proposed.withstood, original.withstood).low > 0 else original
