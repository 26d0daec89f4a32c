"""Which site gets which jump; reading and writing recipe files.

A recipe file is JSON: a default, and jumps by site name or glob. An exact name goes before every glob, an earlier glob
before a later one. Without a default, a site that nothing names stays as it is. A list gives each channel of a site
(axis 1) its own jump.

    {"default": 0.5, "sites": {"conv1/relu": [1.5, 0.0, 1.25], "layer4/*": 0.0}}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from onnx_jumprelu.activation.parameters import Jump, checked_jump, checked_number
from onnx_jumprelu.errors import OptionError

MOST_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Recipe:
    """Jumps for the sites of a model.

    Attributes:
        default: Jump of every site that `sites` does not name; None leaves such a site as it is.
        sites: Jump by site name or glob (`*`, `?`, `[...]`): one number, or several, one per channel.
    """

    default: float | None = None
    sites: Mapping[str, float | Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises OptionError for a jump that is not finite and at least 0, or an empty recipe."""
        if self.default is not None:
            checked_number(self.default, "the default")
        for name, jump in self.sites.items():
            checked_jump(jump, f"the jump of site '{name}'")
        if self.default is None and not self.sites:
            raise OptionError("the recipe has neither a default nor a site; give it at least one jump")

    def jumps(self, names: Collection[str]) -> dict[str, Jump | None]:
        """The jump of each of a model's sites, None where the recipe leaves it as it is.

        Raises:
            OptionError: the recipe has a name, or a glob, that fits none of the sites.
        """
        result: dict[str, Jump | None] = dict.fromkeys(names, self.default)
        exact = self.sites.keys() & result.keys()
        for pattern, jump in reversed(list(self.sites.items())):  # so that the first glob has the last word
            for name in matching(pattern, result, "the recipe"):
                if name == pattern or name not in exact:
                    result[name] = checked_jump(jump, f"the jump of site '{name}'")
        return result

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
        except OptionError as error:
            raise OptionError(f"{path}: {error}") from error
        except json.JSONDecodeError as error:
            raise OptionError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise OptionError(f"{path}: not a recipe (numbers too long, or nested too deeply)") from error

    def to_json(self) -> str:
        """The recipe as the text of a recipe file."""
        content = {} if self.default is None else {"default": self.default}
        sites = {name: checked_jump(jump, f"the jump of site '{name}'") for name, jump in self.sites.items()}
        return json.dumps({**content, "sites": sites}, indent=2) + "\n"


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
        None if default is None else checked_number(default, "the default"),
        {name: checked_jump(jump, f"the jump of site '{name}'") for name, jump in sites.items()},
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise OptionError(f"'{repeated}' stands there twice")
    return content


def matching(pattern: str, names: Collection[str], source: str) -> list[str]:
    """The names that a pattern picks: itself where it is one, else those that it matches as a glob.

    Raises:
        OptionError: none; the message lists the sites. `source` says where the pattern stands.
    """
    found = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        shown = ", ".join(list(names)[:MOST_NAMES_SHOWN]) or "none"
        more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
        raise OptionError(f"{source} names '{pattern}', which is no site; the sites are: {shown}{more}")
    return found
