"""The options of a patch, checked once for the library and the command line."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from onnx_jumprelu.activation.lowerings import AUTO, LOWERINGS
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import checked_number
from onnx_jumprelu.arguments import shown
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import LoweringName
from onnx_jumprelu.rewrite.recipe import Recipe, matching


class PatchKeywords(TypedDict, total=False):
    """The keyword arguments of `patch_model`, `patch_file` and `patch_files`; see `PatchOptions`."""

    softness: float | None
    recipe: Recipe | None
    include: Sequence[str]
    exclude: Sequence[str]
    lowering: LoweringName
    keep_nan: bool
    jump_input: bool
    strict: bool


@dataclass(frozen=True)
class PatchOptions:
    """How to patch.

    Attributes:
        jump: One jump (or `Parameters`) for all sites, in units of the pre-activations. Give either this or `recipe`.
        softness: With a value above 0, all sites get the soft form with this softness. The jump is then 0 by default.
        recipe: The jump of each site, or of each channel of a site.
        include: Names or globs of the sites to patch; empty for all.
        exclude: Names or globs of the sites to leave as they are.
        lowering: `where`, `thresholded-relu` or `cast-mul` for hard sites, `softplus` or `exp-log` for soft ones,
            `function` for both, or `auto`: the first of `where` and `cast-mul`, or of `softplus` and `exp-log`, that
            the model's opset and the site's type support. Sites of the other form get `auto`.
        keep_nan: NaN stays NaN, as in Relu. Otherwise `where`, `function` and `thresholded-relu` turn it into 0.
        jump_input: Each parameter becomes a graph input with a default value: one input `jump` for a single jump, one
            input `jump.<site>` per site for a recipe.
        strict: Refuse a model if some activation site cannot be patched. Sites that these options leave out do not
            count.
    """

    jump: float | Parameters | None = None
    softness: float | None = None
    recipe: Recipe | None = None
    include: Sequence[str] = field(default=())
    exclude: Sequence[str] = field(default=())
    lowering: LoweringName = "auto"
    keep_nan: bool = False
    jump_input: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        """Raises OptionError for options that are out of range or contradict each other."""
        if (self.jump is None and self.softness is None) == (self.recipe is None):
            raise OptionError("give either a jump, a softness or both, or a recipe")
        self._for_all()
        if self.lowering != AUTO and self.lowering not in LOWERINGS:
            raise OptionError(f"no lowering '{self.lowering}'; there are {AUTO}, {', '.join(LOWERINGS)}")
        if self.lowering != AUTO:
            lacking = LOWERINGS[self.lowering].lacks(keep_nan=self.keep_nan, inputs=self.jump_input)
            if lacking is not None:
                raise OptionError(f"lowering {self.lowering} has no {lacking}; use lowering where")
        if self.recipe is not None and not isinstance(self.recipe, Recipe):
            raise OptionError(f"recipe must be a Recipe, read with Recipe.read(FILE), not {shown(self.recipe)}")
        for globs in (self.include, self.exclude):
            if (
                isinstance(globs, str)
                or not isinstance(globs, Iterable)
                or not all(isinstance(each, str) for each in globs)
            ):
                raise OptionError("include and exclude are lists of names or globs")

    def parameters(self, names: Collection[str]) -> dict[str, Parameters | str]:
        """For each of a model's sites its parameters, or the reason why these options leave it as it is.

        Raises:
            OptionError: the recipe or a pattern matches none of the sites.
        """
        everywhere: dict[str, Parameters | None] = dict.fromkeys(names, self._for_all())
        given = everywhere if self.recipe is None else self.recipe.parameters(names)
        included = {name for pattern in self.include for name in matching(pattern, given, "include")}
        excluded = {name for pattern in self.exclude for name in matching(pattern, given, "exclude")}
        result: dict[str, Parameters | str] = {}
        for name, parameters in given.items():
            if self.include and name not in included:
                result[name] = "not included"
            elif name in excluded:
                result[name] = "excluded"
            else:
                result[name] = "the recipe gives it no jump" if parameters is None else parameters
        return result

    def _for_all(self) -> Parameters:
        """The parameters of all sites where there is no recipe. Raises OptionError."""
        if isinstance(self.jump, Parameters):
            return self.jump
        jump = 0.0 if self.jump is None else checked_number(self.jump, "the jump")
        return Parameters(jump, 0.0 if self.softness is None else checked_number(self.softness, "the softness"))
