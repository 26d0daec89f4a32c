"""Which site gets which jump; reading and writing recipe files.

A recipe file is JSON: a default, and jumps by site name or glob. An exact name goes before every glob, an earlier glob
before a later one. Without a default, a site that nothing names stays as it is.

    {"default": 0.5, "sites": {"conv1/relu": 1.5, "layer4/*": 0.0}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from onnx_jumprelu.errors import OptionError

MOST_NAMES_SHOWN = 20


def checked_jump(value: object, where: str) -> float:
    """A jump as a float.

    Raises:
        OptionError: it is not a finite number of at least 0; `where` says what it was meant for.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise OptionError(f"{where}: a jump is a finite number of at least 0, not {json.dumps(value, default=str)}")
    return float(value) + 0.0  # -0.0 becomes 0.0


@dataclass(frozen=True)
class Recipe:
    """Jumps for the sites of a model.

    Attributes:
        default: Jump of every site that `sites` does not name; None leaves such a site as it is.
        sites: Jump by site name or glob (`*`, `?`, `[...]`).
    """

    default: float | None = None
    sites: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises OptionError for a jump that is not a finite number of at least 0, or an empty recipe."""
        if self.default is not None:
            checked_jump(self.default, "the default")
        for name, jump in self.sites.items():
            checked_jump(jump, f"site '{name}'")
        if self.default is None and not self.sites:
            raise OptionError("the recipe has neither a default nor a site; give it at least one jump")

    def jump_for(self, name: str) -> float | None:
        """The jump of one site, None where the recipe leaves it as it is."""
        if name in self.sites:
            return float(self.sites[name])
        for pattern, jump in self.sites.items():
            if fnmatchcase(name, pattern):
                return float(jump)
        return self.default

    def check_against(self, names: Iterable[str]) -> None:
        """Raises OptionError where the recipe names a site, or a glob, that the model does not have."""
        check_patterns(self.sites, list(names), "the recipe")

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """Read a recipe file.

        Raises:
            OptionError: the file cannot be read or is not a recipe; the message says what is wrong with it.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"{path}: cannot read the recipe ({getattr(error, 'strerror', None) or error})"
            ) from error
        try:
            return _parse(json.loads(text, object_pairs_hook=_without_repeats))
        except json.JSONDecodeError as error:
            raise OptionError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The recipe as the text of a recipe file."""
        content = {} if self.default is None else {"default": self.default}
        return json.dumps({**content, "sites": dict(self.sites)}, indent=2) + "\n"


def _parse(content: object) -> Recipe:
    if not isinstance(content, dict):
        raise OptionError('a recipe is an object such as {"default": 0.5, "sites": {"relu1": 1.0}}')
    unknown = sorted(set(content) - {"default", "sites"})
    if unknown:
        raise OptionError(f"unknown key '{unknown[0]}'; a recipe has 'default' and 'sites'")
    default, sites = content.get("default"), content.get("sites", {})
    if not isinstance(sites, dict):
        raise OptionError("'sites' is an object of jumps by site name or glob")
    return Recipe(
        None if default is None else checked_jump(default, "the default"),
        {name: checked_jump(jump, f"site '{name}'") for name, jump in sites.items()},
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"'{repeated}' stands there twice")
    return content


def check_patterns(patterns: Iterable[str], names: list[str], source: str) -> None:
    """Raises OptionError for the first name or glob that matches none of the sites; the message lists the sites."""
    for pattern in patterns:
        if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
            shown = ", ".join(names[:MOST_NAMES_SHOWN]) or "none"
            more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
            raise OptionError(f"{source} names '{pattern}', which is no site; the sites are: {shown}{more}")
