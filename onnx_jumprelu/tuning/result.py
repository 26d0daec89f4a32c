"""What tuning found, as plain data, with a word on which numbers come from which examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_jumprelu.activation.parameters import Jump, Parameters
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.names import NormName
from onnx_jumprelu.rewrite.recipe import Recipe
from onnx_jumprelu.rewrite.site import SkippedSite
from onnx_jumprelu.statistics import Share, paired_difference, share
from onnx_jumprelu.tuning.preactivations import PreActivations


@dataclass(frozen=True)
class TrialPoint:
    """One choice of jumps, measured on the validation split.

    Attributes:
        parameters: The parameters of each site, by the site's name.
        clean_accuracy: Share of examples right without an attack.
        worst_case: Share of examples that withstood every attack.
        chosen: Whether this one became the recipe.
        family: How the jumps were chosen, such as `uniform` or `per site`.
    """

    parameters: dict[str, Parameters]
    clean_accuracy: float
    worst_case: float
    chosen: bool
    family: str

    @property
    def jumps(self) -> dict[str, Jump]:
        """The jump of each site, or of each of its channels, by the site's name."""
        return {name: parameters.jump for name, parameters in self.parameters.items()}


@dataclass(frozen=True)
class Judged:
    """One choice of jumps, on the validation examples that the search never attacked.

    Attributes:
        parameters: The parameters of each site, by the site's name.
        standing: Whether the model withstood every attack, of shape (N,).
        clean: Share of all validation examples that it gets right without an attack.
        held_out_clean: The same, of the held-out examples alone.
    """

    parameters: dict[str, Parameters]
    standing: Bools
    clean: float
    held_out_clean: float

    @property
    def jumps(self) -> dict[str, Jump]:
        """The jump of each site, or of each of its channels, by the site's name."""
        return {name: parameters.jump for name, parameters in self.parameters.items()}

    @property
    def worst_case(self) -> Share:
        """Share of the held-out examples that withstood every attack."""
        return share(self.standing)


@dataclass(frozen=True)
class Tuning:
    """The outcome of a search for jumps.

    Attributes:
        model: The model's file, or what names a model in memory.
        model_sha256: Hash of the model that was opened, external weights included.
        data: The validation data's file, or what names arrays.
        eps: Largest perturbation, in data space.
        eps_chosen: Whether eps was chosen here, for want of one.
        norm: Norm of the perturbation.
        max_drop: How much clean accuracy might be lost.
        seed: Seed of all randomness.
        n_search: How many validation examples the search used.
        n_held_out: How many it did not, for the judgement at the end.
        sites: The sites' pre-activations on the search's examples.
        skipped: The sites that have no jump, and why.
        trials: All candidates, as the quick attacks saw them, on the first of the search's examples.
        finalists: The most promising ones again, as the thorough attacks saw them, on all of the search's examples.
        original: Jump 0 everywhere, on the held-out examples.
        proposed: What the search came to, on the held-out examples; the original where nothing looked better.
        uniform: The best single jump for all sites, on the held-out examples; None where there was none to try.
        cut_short: Whether the budget of candidates ended before the last site.
        seconds: Time taken.
    """

    model: str
    model_sha256: str
    data: str
    eps: float
    eps_chosen: bool
    norm: NormName
    max_drop: float
    seed: int
    n_search: int
    n_held_out: int
    sites: Sequence[PreActivations]
    skipped: Sequence[SkippedSite]
    trials: Sequence[TrialPoint]
    finalists: Sequence[TrialPoint]
    original: Judged
    proposed: Judged
    uniform: Judged | None
    cut_short: bool
    seconds: float

    @property
    def gain(self) -> Share:
        """Worst case of what the search came to, less the original's, over the held-out examples."""
        return paired_difference(self.proposed.standing, self.original.standing)

    @property
    def gain_shown(self) -> bool:
        """Whether that gain's 95 % interval lies above 0."""
        return self.chosen is self.proposed

    @property
    def chosen(self) -> Judged:
        """What is recommended: what the search came to if it is shown to gain, else the original."""
        return recommended(self.original, self.proposed)

    @property
    def jumps(self) -> dict[str, Jump]:
        """The recommended jump of each site."""
        return self.chosen.jumps

    @property
    def parameters(self) -> dict[str, Parameters]:
        """The recommended parameters of each site."""
        return self.chosen.parameters

    @property
    def over_uniform(self) -> Share | None:
        """Worst case of what the search came to, less that of the best single jump, over the held-out examples."""
        return None if self.uniform is None else paired_difference(self.proposed.standing, self.uniform.standing)

    @property
    def front(self) -> list[TrialPoint]:
        """The finalists that no other one beats in clean accuracy and in worst case, by falling clean accuracy."""
        return pareto(self.finalists)

    @property
    def recipe(self) -> Recipe:
        """The recommended jumps. A site with jump 0 stays the ReLU that it is, which computes the same, faster."""
        kept = {name: each.as_entry() for name, each in self.parameters.items() if not each.is_relu}
        return Recipe(None, kept) if kept else Recipe(0.0)


def recommended(original: Judged, proposed: Judged) -> Judged:
    """What the search came to, if the 95 % interval of its gain over the original lies above 0, else the original."""
    return proposed if paired_difference(proposed.standing, original.standing).low > 0 else original


def pareto(points: Sequence[TrialPoint]) -> list[TrialPoint]:
    """Those that no other one beats in clean accuracy and in worst case, by falling clean accuracy."""
    front: list[TrialPoint] = []
    for point in sorted(points, key=lambda each: (-each.clean_accuracy, -each.worst_case, not each.chosen)):
        if not front or point.worst_case > front[-1].worst_case:
            front.append(point)
    return front
