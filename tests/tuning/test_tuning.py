"""Tuning on networks whose right answer is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_jumprelu import OnnxClassifier, Recipe, attacks, patch_file
from onnx_jumprelu.activation.values import numbers_of
from onnx_jumprelu.arrays import Array, Bools, Floats, Labels
from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.data.splits import load_validation, split
from onnx_jumprelu.errors import DataError, GradientError, OptionError, PatchError, RunError
from onnx_jumprelu.runtime import Feeds, OrtRunner
from onnx_jumprelu.tuning import run
from onnx_jumprelu.tuning.objective import WorstCase
from onnx_jumprelu.tuning.result import Tuning
from onnx_jumprelu.tuning.run import TuneKeywords, TuneSettings, tune
from onnx_jumprelu.tuning.sweep import Sweep
from tests.models import parse
from tests.tuning.networks import (
    EPS,
    FEATURES,
    GAINING,
    INDIFFERENT,
    INSIDE_A_FUNCTION,
    ONE_SITE,
    SCALED,
    data,
    examples,
    near_and_far,
    often_noisy,
    saved,
)

Attacks = Sequence[tuple[Attack, str]]


@pytest.fixture(scope="module")
def gaining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("gaining"), GAINING)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("scaled"), SCALED)


@pytest.fixture(scope="module")
def found(gaining: Path) -> Tuning:
    """What tuning makes of a network on which a jump gains."""
    return tune(gaining, data(), eps=EPS, n_trials=60)


def worst_case(model: Path) -> Bools:
    """What withstands an attack that tuning does not use, on fresh examples."""
    x, labels = examples(60, seed=9)
    classifier = OnnxClassifier(model)
    standing = np.ones(len(x), np.bool_)
    for surrogate in ("exact", "relu"):
        result = attacks.NoisyPGD(eps=EPS)(
            classifier.with_surrogate(surrogate), x, labels, rng=np.random.default_rng(5)
        )
        standing &= ~result.success
    return standing


class TestGain:
    def test_planted_gain_is_found(self, found: Tuning) -> None:
        first, last = found.jumps.values()
        assert found.gain_shown
        assert isinstance(first, float)
        assert first > EPS  # the noise and what an attack adds to it
        assert last == 0
        assert found.original.worst_case.value < 0.2
        assert found.chosen.worst_case.value > 0.9
        assert found.original.clean_accuracy == found.chosen.clean_accuracy == 1

    def test_recipe_holds_on_fresh_examples(self, gaining: Path, found: Tuning, tmp_path: Path) -> None:
        patch_file(gaining, tmp_path / "out.onnx", recipe=found.recipe)
        assert worst_case(gaining).mean() < 0.2
        assert worst_case(tmp_path / "out.onnx").mean() > 0.9

    def test_a_site_with_jump_0_is_left_out_of_the_recipe(self, found: Tuning) -> None:
        first, last = found.jumps
        assert set(found.recipe.sites) == {first} != {last}
        assert found.recipe.default is None

    def test_one_trial_point_is_chosen_and_on_the_front(self, found: Tuning) -> None:
        chosen = [point for point in found.finalists if point.chosen]
        assert [point.jumps for point in chosen] == [found.jumps]
        assert max(found.pareto_front, key=lambda point: point.worst_case).worst_case == 1
        assert found.trials[0].family == found.finalists[0].family == "original"
        assert {point.family for point in found.trials} == {"original", "uniform", "quantile", "sites"}

    def test_same_seed_same_result(self, gaining: Path, found: Tuning) -> None:
        again = tune(gaining, data(), eps=EPS, n_trials=60)
        assert again.recipe == found.recipe
        assert again.trials == found.trials
        assert again.finalists == found.finalists
        np.testing.assert_array_equal(again.proposed.withstood, found.proposed.withstood)

    def test_another_seed_splits_otherwise(self) -> None:
        x, labels = examples(40)
        assert split(x, labels, 0)[0].where.tolist() != split(x, labels, 1)[0].where.tolist()

    @pytest.mark.parametrize(("family", "families"), [("uniform", {"uniform"}), ("sites", {"sites"})])
    def test_family(self, gaining: Path, family: str, families: set[str]) -> None:
        result = tune(gaining, data(40), eps=EPS, families=[family], n_trials=12)
        assert {point.family for point in result.trials[1:]} == families
        assert (result.uniform is None) == (family != "uniform")
        assert len(result.trials) <= 13

    def test_normalized_inputs(self, tmp_path: Path) -> None:
        """A network that wants `(x - 0.5) / 2` back is the same network in data space."""
        model = GAINING.replace("first = Relu(x)", "twice = Mul(x, two) moved = Add(twice, half) first = Relu(moved)")
        model = model.replace("float[2] b =", "float two = {2.0}, float half = {0.5}, float[2] b =")
        target = Target(saved(tmp_path, model), mean=[0.5], std=[2.0])
        result = tune(target, data(40), eps=EPS, n_trials=60)
        assert result.gain_shown
        assert numbers_of(result.jumps["first"])[0] > EPS

    def test_max_drop(self, tmp_path: Path) -> None:
        """Where every jump that gains costs clean accuracy, the budget decides."""
        x, labels = examples(80)
        # A tenth of one class tells itself apart by a feature that any jump above the noise silences.
        hard = np.flatnonzero(labels == 1)[::10]
        x[hard, 0], x[hard, 2] = 0.55, 0.06
        given, model = Data(x, labels, Path("validation.npz")), saved(tmp_path, ONE_SITE)
        strict, free = (tune(model, given, eps=EPS, max_drop=drop, n_trials=60) for drop in (0.0, 0.1))
        assert strict.original.clean_accuracy == free.original.clean_accuracy == 1
        assert strict.chosen.clean_accuracy == 1
        assert not strict.gain_shown
        assert free.gain_shown
        assert free.chosen.clean_accuracy == pytest.approx(1 - len(hard) / len(x))


class TestPerChannel:
    """A network on which only a jump in each channel gains."""

    def test_one_jump_for_all_channels_gains_little(self, scaled: Path) -> None:
        result = tune(scaled, often_noisy(), eps=EPS, max_drop=0.0, n_trials=40)
        assert isinstance(result.jumps["first"], float)
        assert result.chosen.worst_case.value < 0.2

    def test_one_for_each_gains(self, scaled: Path, tmp_path: Path) -> None:
        result = tune(scaled, often_noisy(), eps=EPS, max_drop=0.0, n_trials=40, per_channel=True)
        jumps = result.jumps["first"]
        assert result.gain_shown
        assert isinstance(jumps, tuple)
        assert jumps[0] < 0.015 < jumps[1]  # the signal of class 0 passes, the noise does not
        assert result.original.worst_case.value < 0.1
        assert result.chosen.worst_case.value > 0.5
        assert result.chosen.clean_accuracy == 1
        patch_file(scaled, tmp_path / "out.onnx", recipe=result.recipe)
        given = often_noisy()
        logits = OnnxClassifier(tmp_path / "out.onnx").logits(given.x)
        assert (logits.argmax(axis=1) == given.labels).all()

    def test_reserves_trials_for_it(self, scaled: Path) -> None:
        result = tune(scaled, often_noisy(), eps=EPS, max_drop=1.0, n_trials=24, per_channel=True)
        assert {point.family for point in result.trials} == {"original", "uniform", "quantile", "sites", "channels"}
        assert len(result.trials) <= 25
        few = tune(scaled, often_noisy(), eps=EPS, max_drop=1.0, n_trials=12, per_channel=True)
        assert sum(point.family == "channels" for point in few.trials) == 3  # a quarter

    def test_a_single_channel_has_the_jump_of_its_site(self, tmp_path: Path) -> None:
        x, labels = examples(40)
        model = """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 1] x) => (float[N, 2] y)
            <float[1, 2] w = {4.0, -4.0}, float[2] b = {-2.0, 2.0}> { h = Relu(x) m = MatMul(h, w) y = Add(m, b) }"""
        given = Data(x[:, :1], labels, Path("validation.npz"))
        result = tune(saved(tmp_path, model), given, eps=EPS, n_trials=24, per_channel=True)
        jumps = [point.jumps["h"] for point in result.trials]
        assert all(isinstance(jump, float) for jump in jumps)
        assert len(set(jumps)) == len(jumps)

    def test_channels_that_the_model_does_not_have(self, tmp_path: Path) -> None:
        """A declared shape that nothing in the file contradicts, and the data do."""
        lying = parse(ONE_SITE.replace("float[N, 4] x", "float[N, C] x"))
        lying.graph.value_info.append(helper.make_tensor_value_info("first", TensorProto.FLOAT, ["N", 3]))
        onnx.save(lying, tmp_path / "model.onnx")
        with pytest.raises((GradientError, PatchError, RunError), match=r"model\.onnx: "):
            tune(tmp_path / "model.onnx", often_noisy(), eps=EPS, n_trials=24, per_channel=True)


class TestNoGain:
    def test_jump_0(self, tmp_path: Path) -> None:
        result = tune(saved(tmp_path, INDIFFERENT), near_and_far(), eps=EPS, n_trials=25)
        assert 0.3 < result.original.worst_case.value < 0.7
        assert set(result.jumps.values()) == {0.0}
        assert not result.gain_shown
        assert result.recipe == Recipe(0.0)
        assert result.chosen is result.original
        assert [point.family for point in result.finalists if point.chosen] == ["original"]

    def test_gain_on_the_search_part_alone_is_not_believed(self, gaining: Path) -> None:
        """The winner's curse at its worst: what was held out is so hard that no jump saves it."""
        x, labels = examples(80)
        _, held_out = split(x, labels, 0)
        x[held_out.where, 0] = 0.5 + np.where(labels[held_out.where] == 0, 0.01, -0.01)
        x[held_out.where, 1:3] = 0
        result = tune(gaining, Data(x, labels, Path("v.npz")), eps=EPS, n_trials=60)
        before, best = result.finalists[0].worst_case, max(point.worst_case for point in result.finalists)
        assert best > before + 0.3
        assert any(result.proposed.jumps.values())
        assert set(result.jumps.values()) == {0.0}
        assert not result.gain_shown


class TestWhatIsSeen:
    @pytest.fixture
    def tags(self, monkeypatch: pytest.MonkeyPatch) -> set[float]:
        """Tags of all examples that ever reach a model, rounded to the next half."""
        seen: set[float] = set()
        run = OrtRunner.run

        def recording(self: OrtRunner, outputs: list[str] | None, feeds: Feeds) -> list[Array]:
            for value in feeds.values():
                if np.ndim(value) == 2 and value.shape[1] == FEATURES:
                    seen.update(np.round(2 * value[:, 3]) / 2)
            return run(self, outputs, feeds)

        monkeypatch.setattr(OrtRunner, "run", recording)
        return seen

    def test_examples_outside_the_data_never_reach_the_model(self, gaining: Path, tags: set[float]) -> None:
        (inside, labels), (outside, others) = examples(40), examples(40, 1, tag=1.0)
        x, labels = np.concatenate([inside, outside]), np.concatenate([labels, others])
        everything = Data(x, labels, Path("v.npz"))
        tune(gaining, everything.first(40), eps=EPS, n_trials=5)
        assert tags == {0.0}
        tune(gaining, everything, eps=EPS, n_trials=5)
        assert tags == {0.0, 1.0}  # the recording would have noticed

    def test_a_validation_split_of_its_own_goes_before_x(self, gaining: Path, tags: set[float], tmp_path: Path) -> None:
        x, y = examples(40, tag=1.0)
        x_val, y_val = examples(40)
        np.savez(tmp_path / "both.npz", x=x, y=y, x_val=x_val, y_val=y_val)
        np.savez(tmp_path / "one.npz", x=x, y=y)
        tune(gaining, tmp_path / "both.npz", eps=EPS, n_trials=3)
        assert tags == {0.0}
        tune(gaining, tmp_path / "one.npz", eps=EPS, n_trials=3)
        assert tags == {0.0, 1.0}
        assert len(load_validation(tmp_path / "both.npz").x) == 40

    @pytest.mark.parametrize("part", [0, 1], ids=["search", "held out"])
    def test_the_search_does_not_see_what_is_held_out(self, gaining: Path, part: int) -> None:
        given = data(60)
        where = split(given.x, given.required_labels(), 0)[part].where
        x = given.x.copy()
        x[where, 0] = 0.5 + np.where(given.required_labels()[where] == 0, 0.01, -0.01)  # near the border
        first, other = (
            tune(gaining, replace(given, x=values), eps=EPS, max_drop=1.0, n_trials=12) for values in (given.x, x)
        )
        same = [point.worst_case for point in first.trials] == [point.worst_case for point in other.trials]
        assert same == (part == 1)

    def test_the_judge_has_random_starts_of_its_own(self, gaining: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the random starts of the search, the winner would be judged by attacks that it was selected against."""
        made: list[tuple[int, list[float]]] = []

        class Recording(WorstCase):
            def __init__(self, sweep: Sweep, x: Floats, labels: Labels, attacks: Attacks, seed: int) -> None:
                made.append((seed, x[:, 0].tolist()))
                super().__init__(sweep, x, labels, attacks, seed)

        monkeypatch.setattr(run, "WorstCase", Recording)
        given = data(40)
        tune(gaining, given, eps=EPS, n_trials=3, seed=5)
        held_out = split(given.x, given.required_labels(), 5)[1].x[:, 0].tolist()
        (quick, _), (thorough, _), (judge, seen) = made
        assert seen == held_out
        assert judge not in {quick, thorough}

    def test_parts(self) -> None:
        x, labels = examples(41)
        search, held_out = split(x, labels, 3)
        assert sorted([*search.where, *held_out.where]) == list(range(41))
        np.testing.assert_array_equal(search.x, x[search.where])
        np.testing.assert_array_equal(held_out.labels, labels[held_out.where])


class TestEps:
    def test_default(self, gaining: Path) -> None:
        """Half the logits' difference is 0.2 to 0.45 in size, and changes by 7 eps."""
        result = tune(gaining, data(), n_trials=3)
        assert result.eps_chosen
        assert 0.02 < result.eps < 0.08

    def test_no_default_where_nothing_can_be_fooled(self, tmp_path: Path) -> None:
        model = GAINING.replace("3.0, -3.0, -3.0, 3.0", "0.0, 0.0, 0.0, 0.0").replace("{1.0, -1.0", "{0.0, 0.0")
        x, labels = examples(40)
        with pytest.raises(DataError, match="give --eps"):
            tune(saved(tmp_path, model), Data(x, np.ones_like(labels), Path("v.npz")))


class TestRefusals:
    def test_patched_model(self, gaining: Path, tmp_path: Path) -> None:
        patch_file(gaining, tmp_path / "patched.onnx", 0.1)
        with pytest.raises(PatchError, match=r"patched\.onnx: is patched already; tune the original"):
            tune(tmp_path / "patched.onnx", data())

    def test_site_inside_a_function(self, tmp_path: Path) -> None:
        with pytest.raises(PatchError, match="cannot be seen from outside"):
            tune(saved(tmp_path, INSIDE_A_FUNCTION), data())

    def test_no_site(self, tmp_path: Path) -> None:
        model = GAINING.replace("first = Relu(x)", "first = Abs(x)").replace("= Relu(shifted)", "= Neg(shifted)")
        with pytest.raises(PatchError, match="nothing to tune"):
            tune(saved(tmp_path, model), data())

    def test_no_classifier(self, tmp_path: Path) -> None:
        model = GAINING.replace("float[N, 2] logits", "float[N, 1, 2] logits")
        model = model.replace(
            "logits = Relu(shifted)",
            "flat = Relu(shifted) one = Constant<value_ints = [1]>() logits = Unsqueeze(flat, one)",
        )
        with pytest.raises(GradientError, match=r"model\.onnx: "):
            tune(saved(tmp_path, model), data())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda given: given.first(10), "at least 20"),
            (lambda given: replace(given, labels=None), "has no labels"),
            (lambda given: replace(given, x=given.x + 1), "validation.npz: x lies outside the bounds"),
            (lambda given: replace(given, labels=given.labels + 5), "validation.npz: label"),
        ],
    )
    def test_data(self, gaining: Path, change: Callable[[Data], Data], message: str) -> None:
        with pytest.raises(DataError, match=message):
            tune(gaining, change(data()), eps=EPS)

    @pytest.mark.parametrize(
        "settings",
        [
            {"max_drop": -0.1},
            {"max_drop": 1.5},
            {"max_drop": float("nan")},
            {"eps": 0.0},
            {"eps": float("inf")},
            {"norm": "L7"},
            {"families": ["uniform", "best"]},
            {"families": []},
            {"families": "sites"},
            {"n_trials": 0},
            {"seed": -1},
        ],
    )
    def test_settings(self, settings: TuneKeywords) -> None:
        with pytest.raises(OptionError):
            TuneSettings(**settings)


def test_progress_counts_what_it_announced(gaining: Path) -> None:
    counted: list[int] = []
    tune(gaining, data(40), eps=EPS, n_trials=10, on_done=counted.append)
    assert 10 < sum(counted) <= TuneSettings(n_trials=10).n_steps


@pytest.mark.parametrize("ir_version", [3, 8])
def test_old_ir_versions(tmp_path: Path, ir_version: int) -> None:
    """Before IR 4 there are no overridable inputs; the search raises the version in memory."""
    text = GAINING.replace("ir_version: 8", f"ir_version: {ir_version}")
    if ir_version == 3:  # every initializer is an input too
        text = text.replace("(float[N, 4] x)", "(float[N, 4] x, float[4, 2] w, float[2] b)")
    assert tune(saved(tmp_path, text), data(40), eps=EPS, n_trials=60).gain_shown
