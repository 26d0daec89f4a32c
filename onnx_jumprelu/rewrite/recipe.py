"""Which site gets which parameters; reading and writing recipe files.

A recipe file is JSON: a default jump, and jumps by site name or glob. Exact names take precedence over globs, earlier
globs over later ones. Without a default, a site that no entry matches stays as it is. A list gives each channel of a
site (axis 1) its own jump. An object gives a site several parameters, each one number or a list.

    {"default": 0.5, "sites": {"conv1/relu": [1.5, 0.0, 1.25], "layer4/*": {"jump": 0.5, "softness": 0.1}}}

A recipe that this tool writes also names its schema and the tool's version.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump
from onnx_jumprelu.arguments import shown
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.files.inputs import read_text
from onnx_jumprelu.files.json_records import schema_id, stamped

MOST_NAMES_SHOWN = 20


@dataclass(frozen=True)
class Recipe:
    """The parameters of the sites of a model.

    Attributes:
        default: Jump or `Parameters` of every site that no entry of `sites` matches; None leaves such a site as it is.
        sites: By site name or glob (`*`, `?`, `[...]`): a jump, a list of jumps (one per channel), or `Parameters`.
    """

    default: Jump | Parameters | None = None
    sites: Mapping[str, float | Sequence[float] | Parameters] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises OptionError for a jump that is not finite or is below 0, and for an empty recipe."""
        if self.default is not None:
            _default(self.default)
        if not isinstance(self.sites, Mapping):
            raise OptionError(f"sites must be a mapping from site names or globs to jumps, not {shown(self.sites)}")
        for name, jump in self.sites.items():
            Parameters.checked(jump, f"the jump of site '{name}'")
        if self.default is None and not self.sites:
            raise OptionError("the recipe has neither a default nor a site; give at least one jump")

    def parameters(self, names: Collection[str]) -> dict[str, Parameters | None]:
        """The parameters of each of a model's sites, None where the recipe leaves it as it is.

        Raises:
            OptionError: a name or glob of the recipe matches none of the sites.
        """
        default = None if self.default is None else _default(self.default)
        result: dict[str, Parameters | None] = dict.fromkeys(names, default)
        exact = self.sites.keys() & result.keys()
        for pattern, jump in reversed(list(self.sites.items())):  # so that the first matching glob is the last to write
            for name in matching(pattern, result, "the recipe"):
                if name == pattern or name not in exact:
                    result[name] = Parameters.checked(jump, f"the jump of site '{name}'")
        return result

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """Read a recipe file.

        Raises:
            OptionError: the file cannot be read or is not a recipe; the message says what is wrong with it.
        """
        try:
            text = read_text(path)
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
        return json.dumps(stamped("recipe", self.to_dict()), indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON content: `default`, where there is one, and `sites`."""
        content = {} if self.default is None else {"default": _default(self.default).to_json()}
        sites = {
            name: Parameters.checked(jump, f"the jump of site '{name}'").to_json() for name, jump in self.sites.items()
        }
        return {**content, "sites": sites}


def _parse(content: object) -> Recipe:
    if not isinstance(content, dict):
        raise OptionError('a recipe is an object such as {"default": 0.5, "sites": {"relu1": 1.0}}')
    unknown = sorted(set(content) - {"default", "sites", "schema", "version"})
    if unknown:
        raise OptionError(f"unknown key '{unknown[0]}'; a recipe has 'default' and 'sites'")
    if content.get("schema", schema_id("recipe")) != schema_id("recipe"):
        raise OptionError(f"its schema is '{content['schema']}', not '{schema_id('recipe')}'")
    default, sites = content.get("default"), content.get("sites", {})
    if not isinstance(sites, dict):
        raise OptionError("'sites' must be an object of jumps by site name or glob")
    return Recipe(
        None if default is None else _default(default).as_entry(),
        {name: Parameters.from_json(entry, f"the jump of site '{name}'").as_entry() for name, entry in sites.items()},
    )


def _default(value: object) -> Parameters:
    """The parameters of sites that no entry matches: single numbers, since sites differ in their channels."""
    parameters = Parameters.checked(value, "the default")
    if parameters.per_channel:
        raise OptionError("the default must be a single number, or an object of single numbers, not a list")
    return parameters


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise OptionError(f"'{repeated}' is a duplicate key")
    return content


def matching(pattern: str, names: Collection[str], source: str) -> list[str]:
    """The names that a pattern selects: the one it equals, else those that it matches as a glob.

    Raises:
        OptionError: it selects none; the message lists the sites. `source` says where the pattern came from.
    """
    found = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        shown = ", ".join(list(names)[:MOST_NAMES_SHOWN]) or "none"
        more = f" and {len(names) - MOST_NAMES_SHOWN} more" if len(names) > MOST_NAMES_SHOWN else ""
        raise OptionError(f"{source} names '{pattern}', which matches no site; the sites are: {shown}{more}")
    return found
