"""What a patch is asked to do, checked once for the library and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypedDict

from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.rewrite.lowerings import AUTO, LOWERINGS
from onnx_jumprelu.rewrite.recipe import Recipe, check_patterns, checked_jump

LoweringName = Literal["auto", "where", "thresholded-relu", "function", "cast-mul"]


class PatchKeywords(TypedDict, total=False):
    """The keyword arguments of `patch_model`, `patch_file` and `patch_files`; see `PatchOptions`."""

    recipe: Recipe | None
    include: Sequence[str]
    exclude: Sequence[str]
    lowering: LoweringName
    keep_nan: bool
    jump_input: bool


@dataclass(frozen=True)
class PatchOptions:
    """How to patch.

    Attributes:
        jump: One jump for all sites, in units of the pre-activations; or else
        recipe: a jump per site.
        include: Names or globs of the sites to patch; empty for all.
        exclude: Names or globs of the sites to leave as they are.
        lowering: `where`, `thresholded-relu`, `function`, `cast-mul`, or `auto`: the first of `where` and `cast-mul`
            that the model's opset has.
        keep_nan: NaN stays NaN, as in Relu; `where` and `thresholded-relu` turn it into 0 otherwise.
        jump_input: The jump becomes a graph input with a default value: one input `jump` for a single jump, one input
            `jump.<site>` per site for a recipe.
    """

    jump: float | None = None
    recipe: Recipe | None = None
    include: Sequence[str] = field(default=())
    exclude: Sequence[str] = field(default=())
    lowering: LoweringName = "auto"
    keep_nan: bool = False
    jump_input: bool = False

    def __post_init__(self) -> None:
        """Raises OptionError for options that are out of range or contradict each other."""
        if (self.jump is None) == (self.recipe is None):
            raise OptionError("give either a jump or a recipe")
        if self.jump is not None:
            checked_jump(self.jump, "the jump")
        if self.lowering != AUTO and self.lowering not in LOWERINGS:
            raise OptionError(f"no lowering '{self.lowering}'; there are {AUTO}, {', '.join(LOWERINGS)}")
        if self.lowering == "thresholded-relu" and (self.keep_nan or self.jump_input):
            option = "keep_nan" if self.keep_nan else "jump_input"
            raise OptionError(f"lowering thresholded-relu cannot do {option}; use where")
        if isinstance(self.include, str) or isinstance(self.exclude, str):
            raise OptionError("include and exclude are lists of names or globs")

    def check_against(self, names: list[str]) -> None:
        """Raises OptionError where the recipe or a pattern names a site that the model does not have."""
        if self.recipe is not None:
            self.recipe.check_against(names)
        check_patterns(self.include, names, "include")
        check_patterns(self.exclude, names, "exclude")

    def jump_for(self, name: str) -> tuple[float, None] | tuple[None, str]:
        """The jump of one site, or the reason why these options leave it as it is."""
        if self.include and not _matches(name, self.include):
            return None, "not included"
        if _matches(name, self.exclude):
            return None, "excluded"
        jump = self.recipe.jump_for(name) if self.recipe is not None else self.jump
        if jump is None:
            return None, "the recipe gives it no jump"
        return checked_jump(jump, f"site '{name}'"), None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
