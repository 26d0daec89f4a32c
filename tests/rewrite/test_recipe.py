"""Recipes: which site gets which jump, and what is wrong with a broken file."""

from pathlib import Path

import pytest

from onnx_jumprelu import OptionError, Recipe, patch_model
from onnx_jumprelu.activation.parameters import Parameters
from tests.models import parse
from tests.rewrite.test_patch import TWO


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(0.5, {"conv1/relu": 1.5, "layer4/*": 0.0})
    assert Recipe.read(written(tmp_path, recipe.to_json())) == recipe
    assert Recipe.read(written(tmp_path, Recipe(None, {"a": 1.0}).to_json())) == Recipe(None, {"a": 1.0})


def test_exact_names_take_precedence_over_globs_and_earlier_globs_over_later_ones() -> None:
    recipe = Recipe(0.1, {"l*": 1.0, "layer?": 2.0, "layer1": 3.0, "[odd]": 4.0})
    jumps = recipe.parameters(["layer1", "layer2", "lx", "relu", "[odd]", "o"])
    assert jumps == {
        name: Parameters(jump)
        for name, jump in {"layer1": 3.0, "layer2": 1.0, "lx": 1.0, "relu": 0.1, "[odd]": 4.0, "o": 0.1}.items()
    }


def test_without_a_default_the_rest_stays() -> None:
    result = patch_model(parse(TWO), recipe=Recipe(None, {"a": 1.0}))
    assert [site.name for site in result.sites] == ["a"]
    assert result.skipped[0].reason == "the recipe gives it no jump"


@pytest.mark.parametrize("name", ["conv9", "conv*"])
def test_an_unknown_site_lists_the_sites(name: str) -> None:
    with pytest.raises(OptionError, match=r"the recipe names 'conv.', which matches no site; the sites are: a, y"):
        patch_model(parse(TWO), recipe=Recipe(0.5, {name: 1.0}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "a recipe is an object"),
        ("{}", "neither a default nor a site"),
        ('{"defualt": 1}', "unknown key 'defualt'"),
        ('{"schema": "onnx-jumprelu/tuning/1", "sites": {}}', "its schema is 'onnx-jumprelu/tuning/1'"),
        ('{"sites": [1]}', "'sites' must be an object"),
        ('{"default": -1}', "the default must be a finite number of at least 0, not -1"),
        ('{"default": NaN}', "the default must be a finite number"),
        ('{"sites": {"a": "1"}}', "site 'a' must be a finite number of at least 0, not \"1\""),
        ('{"sites": {"a": true}}', "site 'a' must be"),
        ('{"default": 1' + "0" * 400 + "}", "the default must be"),
        ('{"default": 1' + "0" * 5000 + "}", "not a recipe"),
        ("[" * 100_000, "not a recipe"),
        ('{"sites": {"a": 1, "a": 2}}', "'a' is a duplicate key"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError) as error:
        Recipe.read(written(tmp_path, text))
    assert message in str(error.value)
    assert "recipe.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(OptionError, match="cannot read the recipe"):
            Recipe.read(path)
