"""The parts of the search: what a candidate is worth, which ones are tried, which one wins."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from onnx_jumprelu import OnnxClassifier, Recipe, patch_model
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.arrays import Bools
from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.runtime import OrtRunner
from onnx_jumprelu.tuning.objective import Threat, WorstCase
from onnx_jumprelu.tuning.result import TrialPoint, pareto_front
from onnx_jumprelu.tuning.search import Scene, Search, Trial
from onnx_jumprelu.tuning.selection import N_FINALISTS, promising, smallest_of_the_best
from onnx_jumprelu.tuning.sweep import Jumps, Sweep
from tests.tuning.networks import EPS, GAINING, examples, saved

# Class 0 where h > 0.3: a jump of 0.36 leaves examples at 0.25 without a gradient, and as easy to push over the border.
MASKING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 1] x) => (float[N, 2] logits)
<float[1, 2] w = {10.0, 0.0}, float[2] b = {0.0, 3.0}>
{ h = Relu(x) mixed = MatMul(h, w) logits = Add(mixed, b) }
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(Target(saved(tmp_path_factory.mktemp("search"), GAINING), threads=1))


@pytest.fixture(scope="module")
def scene(sweep: Sweep) -> Scene:
    x, labels = examples(40)
    return Scene(sweep, x, labels, sweep.preactivations(x, np.random.default_rng(0)), max_drop=0.0)


def searched(scene: Scene, n_trials: int) -> Search:
    worst_case = WorstCase(scene.sweep, scene.x, scene.labels, Threat(EPS, "Linf").quick(5), 0)
    search = Search(scene, worst_case, n_trials)
    search.run(("uniform", "quantile", "sites"))
    return search


@pytest.fixture(scope="module")
def search(scene: Scene) -> Search:
    return searched(scene, 60)


class TestSweep:
    def test_jumps_are_those_of_a_patched_model(self, sweep: Sweep) -> None:
        x, _ = examples(40)
        logits = sweep.at((0.3, 0.0)).logits(x)
        first = np.where(x > 0.3, x, 0)
        expected = first @ [[1, -1], [3, -3], [-3, 3], [0, 0]] + [4.5, 5.5]
        np.testing.assert_allclose(logits, expected, rtol=1e-5)
        assert np.abs(sweep.at(sweep.zero).logits(x) - expected).max() > 0.01

    def test_the_model_is_opened_with_all_options_of_its_target(self, tmp_path: Path) -> None:
        target = Target(saved(tmp_path, GAINING), bounds=(0, 2), batch_size=3, surrogate="relu")
        classifier = Sweep(target).at((0.0, 0.0))
        assert (classifier.bounds, classifier.batch_size, classifier.surrogate) == ((0, 2), 3, "exact")

    def test_jumps_per_channel_are_those_of_a_patched_model(self, tmp_path: Path) -> None:
        path = saved(tmp_path, GAINING)
        x, labels = examples(40)
        with_channels = Sweep(Target(path, threads=1), per_channel=True)
        for jumps in ((0.3, 0.0), ((0.3, 0.0, 0.02, 1.0), 0.0), ((0.0, 0.01, 0.02, 0.0), (4.8, 0.0)), (0.0, 0.0)):
            recipe = Recipe(None, dict(zip(with_channels.sites, jumps, strict=True)))
            patched = OnnxClassifier(patch_model(onnx.load(path), recipe=recipe).model, threads=1)
            np.testing.assert_array_equal(with_channels.at(jumps).logits(x), patched.logits(x))
            for surrogate in ("exact", "relu", "smooth"):
                expected = patched.with_surrogate(surrogate).loss_and_grad(x, labels)[1]
                np.testing.assert_array_equal(with_channels.at(jumps, surrogate).loss_and_grad(x, labels)[1], expected)

    def test_one_session_serves_every_jump(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[int] = []
        init = OrtRunner.__init__

        def counting(self: OrtRunner, *args: object, **kwargs: object) -> None:
            opened.append(1)
            init(self, *args, **kwargs)  # type: ignore[arg-type]

        searched(scene, 4)  # opens what is needed
        monkeypatch.setattr(OrtRunner, "__init__", counting)
        searched(scene, 30)
        assert not opened


class TestWorstCase:
    def test_hidden_gradients_do_not_help(self, tmp_path: Path) -> None:
        sweep = Sweep(Target(saved(tmp_path, MASKING)))
        x, labels = np.full((40, 1), 0.25, np.float32), np.ones(40, np.int64)
        exact_only = WorstCase(sweep, x, labels, [(PGD(eps=0.15, n_iter=10, random_start=False), "exact")], 0)
        every = WorstCase(sweep, x, labels, Threat(0.15, "Linf").quick(10), 0)
        assert exact_only.original.sum() == every.original.sum() == 0
        assert exact_only.withstood((0.39,)).sum() == 40  # what a search on exact gradients alone would believe
        assert every.withstood((0.39,)).sum() == 0

    def test_gray_box_examples_count(self, sweep: Sweep) -> None:
        x, labels = examples(40)
        worst_case = WorstCase(sweep, x, labels, Threat(EPS, "Linf").quick(5), 0)
        replayed = ~np.logical_and.reduce([sweep.correct(sweep.zero, g, labels) for g in worst_case._made_on_original])  # noqa: SLF001
        np.testing.assert_array_equal(~worst_case.original, replayed)
        assert replayed.sum() > 20

    def test_gray_box_examples_are_replayed_on_candidates(self, tmp_path: Path) -> None:
        """The jump hides every gradient from the only attack; what it found on the original still fools the model."""
        sweep = Sweep(Target(saved(tmp_path, MASKING)))
        x = np.array([[0.25]] * 20 + [[0.32]] * 20, np.float32)
        labels = np.array([1] * 20 + [0] * 20)
        worst_case = WorstCase(sweep, x, labels, [(PGD(eps=0.15, n_iter=10, random_start=False), "exact")], 0)
        made = worst_case._made_on_original[0]  # noqa: SLF001
        fooled_by_replay = ~sweep.correct((0.31,), made, labels)
        assert fooled_by_replay.any()
        assert not (worst_case.withstood((0.31,)) & fooled_by_replay).any()

    def test_same_jumps_same_result(self, sweep: Sweep) -> None:
        x, labels = examples(40)
        worst_case = WorstCase(sweep, x, labels, Threat(EPS, "Linf").quick(5), 0)
        np.testing.assert_array_equal(worst_case.withstood((0.05, 0.0)), worst_case.withstood((0.05, 0.0)))


class TestSearch:
    def test_budget(self, scene: Scene) -> None:
        search = searched(scene, 7)
        assert len(search.trials) <= 8
        assert search.trials[0].jumps == (0, 0)

    def test_no_candidate_twice(self, search: Search) -> None:
        tried = [trial.jumps for trial in search.trials]
        assert len(tried) == len(set(tried))

    def test_uniform_and_quantile(self, scene: Scene, search: Search) -> None:
        trials = search.trials
        assert {len(set(trial.jumps)) for trial in trials if trial.family == "uniform"} == {1}
        quantile = [trial for trial in trials if trial.family == "quantile"]
        shares = [
            [site.silenced(jump) for site, jump in zip(scene.sites, trial.jumps, strict=True)] for trial in quantile
        ]
        assert len(quantile) == 9
        for first, second in shares:
            assert first == pytest.approx(second, abs=0.05)

    def test_affordable(self, search: Search) -> None:
        assert {trial.clean_accuracy for trial in search.affordable} == {1.0}
        assert min(trial.clean_accuracy for trial in search.trials) < 1  # the front shows what the budget rules out

    def test_drop_of_just_the_budget(self, scene: Scene) -> None:
        original = np.ones(1000, np.bool_)
        three, four = original.copy(), original.copy()
        three[:3] = four[:4] = False
        free = Scene(scene.sweep, scene.x, scene.labels, scene.sites, max_drop=0.003)
        assert free.affordable(three, original)
        assert not free.affordable(four, original)

    def test_finalists(self, search: Search) -> None:
        finalists = promising(search)
        assert finalists[0] is search.original
        assert len(finalists) <= N_FINALISTS
        assert max(search.affordable, key=lambda trial: trial.rank) in finalists
        assert {trial.family for trial in finalists} == {"original", "uniform", "quantile", "sites"}


class _Window:
    """Stands in for the attacks: one example less with any jump, all of them with a first jump inside a window."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def withstood(self, jumps: Jumps) -> Bools:
        first, *others = jumps
        inside = self._low < Parameters(first).size < self._high and not any(others)
        return np.arange(40) < (40 if inside else 20 - bool(Parameters(first).size) - 2 * any(others))


def test_what_gains_between_two_levels_is_found(scene: Scene) -> None:
    """Also where no level itself gains: finer steps start from the best that has a jump."""
    first = scene.sites[0]
    attacks = _Window(first.quantile(0.17), first.quantile(0.26))
    search = Search(scene, attacks, 60)  # type: ignore[arg-type]
    search.run(["sites"])
    assert max(trial.worst_case for trial in search.trials) == 1


def test_finalists_may_differ_in_one_channel() -> None:
    one, other = (replace(trial(1, 50), jumps=((1.0, last),)) for last in (0.0, 1.0))
    search = SimpleNamespace(original=trial(0, 40), trials=[one, other], affordable=[one, other])
    assert {one.jumps, other.jumps} <= {kept.jumps for kept in promising(search)}  # type: ignore[arg-type]


def trial(jump: float, withstood: int, count: int = 100) -> Trial:
    return Trial((jump,), "sites", jump, np.ones(1, np.bool_), np.arange(count) < withstood)


class TestSelection:
    def test_a_tie_goes_to_the_smaller_jump(self) -> None:
        assert smallest_of_the_best([trial(3, 50), trial(1, 50), trial(2, 50)]).jumps == (1,)

    def test_a_gain_within_the_noise_goes_to_the_smaller_jump(self) -> None:
        """One example more of 100 is one standard error."""
        assert smallest_of_the_best([trial(0, 50), trial(1, 51)]).jumps == (0,)

    def test_the_noise_is_one_standard_error(self) -> None:
        """Three examples more of 100 are 1.75 standard errors, as no example is lost."""
        assert smallest_of_the_best([trial(0, 50), trial(1, 53)]).jumps == (1,)

    def test_the_noise_is_that_of_the_paired_difference(self) -> None:
        """Ten examples won and seven lost of 100 are 0.7 standard errors; three won and none lost are more than one."""
        less = trial(0, 50)
        mixed = replace(trial(1, 50), withstood=less.withstood.copy())
        mixed.withstood[50:60], mixed.withstood[:7] = True, False
        assert smallest_of_the_best([less, mixed]).jumps == (0,)

    def test_a_gain_above_the_noise_wins(self) -> None:
        assert smallest_of_the_best([trial(0, 50), trial(1, 60), trial(2, 55)]).jumps == (1,)

    def test_front(self) -> None:
        points = [
            TrialPoint(
                parameters={"a": Parameters(jump)}, clean_accuracy=clean, worst_case=worst, family="sites", chosen=False
            )
            for jump, clean, worst in [(0, 0.99, 0.5), (1, 0.98, 0.7), (2, 0.97, 0.6), (3, 0.96, 0.8), (4, 0.99, 0.4)]
        ]
        assert [point.jumps["a"] for point in pareto_front(points, lambda point: not point.chosen)] == [0, 1, 3]
