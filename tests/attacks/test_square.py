"""The Square attack: what it may ask, what it keeps, and where its patches lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from onnx_jumprelu.arrays import Array, Floats, Labels
from onnx_jumprelu.attacks.norms import norm_named
from onnx_jumprelu.attacks.square import Square, as_images
from onnx_jumprelu.attacks.square_moves import MOVES, patch_shape, two_hills
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.gradient.core.losses import LossLike
from onnx_jumprelu.names import NormName
from tests.attacks.classifiers import Linear, TwoLayer, linear_problem

NORMS: list[NormName] = ["Linf", "L2"]
UNIT: tuple[float, float] = (0.0, 1.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@dataclass
class Recorded:
    """A classifier that keeps what it was asked and has no gradients to give."""

    model: Linear | TwoLayer
    bounds: tuple[float, float] = field(init=False)
    n_classes: int = field(init=False)
    asked: list[Floats] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bounds, self.n_classes = self.model.bounds, self.model.n_classes

    def logits(self, x: Floats) -> Floats:
        self.asked.append(x.copy())
        return self.model.logits(x)

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        raise NotImplementedError

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        raise NotImplementedError


def margins(model: Linear | TwoLayer, x: Floats, labels: Labels) -> Array:
    logits = model.logits(x)
    right = logits[np.arange(len(x)), labels].copy()
    logits[np.arange(len(x)), labels] = -np.inf
    margin: Array = right - logits.max(axis=1)
    return margin


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 8, 6), (36,), (2, 18), (2, 3, 4, 2)])
def test_fools_a_linear_classifier_where_it_can_be_fooled(norm: NormName, shape: tuple[int, ...]) -> None:
    model, x, labels = linear_problem(shape=shape)
    distances = model.distances(x, labels, norm)
    eps = 2.5 * float(np.median(distances))
    result = Square(eps=eps, norm=norm, n_queries=1000)(model, x, labels, rng=rng())
    assert not result.success[distances > eps].any()
    # A random search needs some room beyond the smallest perturbation.
    assert result.success[distances < eps / 2].mean() > 0.9
    assert result.max_perturbation <= eps * (1 + 1e-6)
    assert result.n_gradients == 0


@pytest.mark.parametrize("norm", NORMS)
def test_more_queries_fool_more(norm: NormName) -> None:
    model, x, labels = linear_problem(n=100, shape=(1, 8, 8))
    eps = 1.5 * float(np.median(model.distances(x, labels, norm)))
    shares = [
        Square(eps=eps, norm=norm, n_queries=n)(model, x, labels, rng=rng()).success.mean() for n in (1, 20, 1000)
    ]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_queries", [1, 2, 30])
def test_asks_no_more_than_it_may(norm: NormName, n_queries: int) -> None:
    model, x, labels = linear_problem(n=6)
    recorded = Recorded(model)
    eps = float(model.distances(x, labels, norm).min()) / 10  # out of reach: every query is spent
    result = Square(eps=eps, norm=norm, n_queries=n_queries)(recorded, x, labels, rng=rng())
    # Each attack asks twice more: which examples the model gets right at all, and which it still does in the end.
    assert [len(asked) for asked in recorded.asked] == [6] * (n_queries + 2)
    assert result.n_queries == 6 * (n_queries + 2)


@pytest.mark.parametrize("norm", NORMS)
def test_keeps_the_best_of_all_it_tried_and_tries_only_what_is_allowed(norm: NormName) -> None:
    model = TwoLayer(n_features=36, n_classes=4)
    x = rng().uniform(size=(12, 1, 6, 6)).astype(np.float32)
    x[:, :, :2] = np.round(x[:, :, :2])  # values on the bounds, as images have them
    labels = model.logits(x).argmax(axis=1)
    recorded = Recorded(model)
    eps = {"Linf": 0.002, "L2": 0.01}[norm]
    result = Square(eps=eps, norm=norm, n_queries=60)(recorded, x, labels, rng=rng())
    assert not result.success.any()  # so that every example is part of every query
    tried = np.stack(recorded.asked[1:-1])
    best = np.min([margins(model, each, labels) for each in tried], axis=0)
    np.testing.assert_allclose(margins(model, result.x_adv, labels), best, atol=1e-6)
    assert (best < margins(model, tried[0], labels)).all()  # the search went beyond its start
    assert tried.min() >= 0
    assert tried.max() <= 1
    lengths = norm_named(norm).length(
        tried.astype(np.float64).reshape(60 * 12, -1) - np.tile(x, (60, 1, 1, 1)).reshape(60 * 12, -1)
    )
    assert lengths.max() <= eps * (1 + 1e-5)
    assert lengths.min() > eps / 3


def test_linf_changes_one_square_per_query_and_goes_to_the_ends() -> None:
    images = rng().uniform(0.3, 0.7, size=(400, 3, 12, 12)).astype(np.float32)
    moves = MOVES["Linf"](images, 0.1, UNIT)
    start = moves.start(rng())
    np.testing.assert_allclose(np.abs(start - images), 0.1, rtol=1e-5)
    assert (np.sign(start - images) == np.sign(start - images)[:, :, :1]).all()  # stripes from top to bottom
    live = np.arange(0, 400, 2)
    candidate = moves.propose(np.random.default_rng(1), start, live, share=16 / 144)
    changed = candidate != start[live]
    assert candidate.shape == (200, 3, 12, 12)
    np.testing.assert_allclose(np.abs(candidate - images[live]), 0.1, rtol=1e-5)
    assert changed.any(axis=(1, 2, 3)).mean() > 0.9
    for rows_or_columns in (changed.any(axis=(1, 3)), changed.any(axis=(1, 2))):
        used = [np.flatnonzero(row) for row in rows_or_columns if row.any()]
        assert max(np.ptp(at) for at in used) == 3
        # Patches lie anywhere, the edges of the image included.
        assert min(at.min() for at in used) == 0
        assert max(at.max() for at in used) == 11


def test_l2_uses_the_whole_budget_where_no_bound_is_near() -> None:
    images = np.full((30, 2, 15, 15), 0.5, np.float32)
    moves = MOVES["L2"](images, 0.3, UNIT)
    length = norm_named("L2").length
    best = moves.start(rng())
    np.testing.assert_allclose(length(best - images), 0.3, rtol=1e-4)
    live = np.arange(30)
    for share in (0.8, 0.1, 0.01, 0.0001):
        candidate = moves.propose(rng(), best, live, share)
        np.testing.assert_allclose(length(candidate - images), 0.3, rtol=1e-4)
        assert (candidate != best).any(axis=(1, 2, 3)).all()
        best = candidate


def test_l2_moves_the_perturbation_of_one_patch_into_another() -> None:
    images = np.full((60, 1, 15, 15), 0.5, np.float32)
    best = images + np.float32(0.01)
    moves = MOVES["L2"](images, 0.15, UNIT)
    delta = moves.propose(rng(), best, np.arange(60), share=0.1) - images
    emptied = (delta == 0).sum(axis=(1, 2, 3))
    # Patches of five by five: emptied, unless the grown one lies upon it.
    assert emptied.max() == 25
    assert (emptied == 25).mean() > 0.5
    untouched = np.abs(delta / np.median(delta, axis=(1, 2, 3), keepdims=True) - 1) < 1e-3
    assert (untouched.sum(axis=(1, 2, 3)) >= 225 - 50).all()


def test_l2_gives_each_channel_a_sign_of_its_own() -> None:
    images = np.full((100, 2, 9, 9), 0.5, np.float32)
    delta = MOVES["L2"](images, 0.1, UNIT).propose(rng(), images, np.arange(100), share=0.1) - images
    np.testing.assert_allclose(np.abs(delta[:, 0]), np.abs(delta[:, 1]), atol=1e-6)
    alike = (delta[:, 0] * delta[:, 1]).sum(axis=(1, 2)) > 0
    assert 0.2 < alike.mean() < 0.8


@pytest.mark.parametrize("norm", NORMS)
def test_an_example_that_is_fooled_is_asked_no_more(norm: NormName) -> None:
    model, x, labels = linear_problem(n=20)
    eps = 20 * float(model.distances(x, labels, norm).max())
    result = Square(eps=eps, norm=norm, n_queries=500)(model, x, labels, rng=rng())
    assert result.success.all()
    assert result.n_queries < 20 * 50


def test_an_image_without_any_perturbation_yet_is_no_division_by_zero() -> None:
    images = np.zeros((4, 1, 6, 6), np.float32)
    candidate = MOVES["L2"](images, 0.5, UNIT).propose(rng(), images, np.arange(4), 0.3)
    assert np.isfinite(candidate).all()
    assert (candidate != images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("area", "image", "smallest", "patch"),
    [
        (16, (10, 10), 1, (4, 4)),
        (0.2, (10, 10), 1, (1, 1)),
        (80, (10, 10), 1, (9, 9)),
        (50, (4, 30), 1, (4, 12)),
        (50, (30, 4), 1, (12, 4)),
        (9, (4, 30), 1, (3, 3)),
        (7, (1, 30), 1, (1, 7)),
        (2, (1, 30), 1, (1, 2)),
        (0.1, (1, 1), 1, (1, 1)),
        (16, (10, 10), 3, (5, 5)),
        (1, (10, 10), 3, (3, 3)),
        (1, (1, 10), 3, (1, 3)),
        (1, (2, 2), 3, (2, 2)),
    ],
)
def test_the_shape_of_a_patch(area: float, image: tuple[int, int], smallest: int, patch: tuple[int, int]) -> None:
    assert patch_shape(area, *image, smallest=smallest) == patch


@pytest.mark.parametrize("patch", [(5, 5), (4, 4), (1, 7), (7, 1), (3, 8), (1, 1)])
def test_hills_have_unit_length_and_opposite_halves(patch: tuple[int, int]) -> None:
    both = two_hills(patch)
    assert both.shape == (2, *patch)
    np.testing.assert_allclose((both.astype(np.float64) ** 2).sum(axis=(1, 2)), 1, rtol=1e-6)
    if patch != (1, 1):
        assert both.min() < 0 < both.max()
        assert (both != 0).all()


def test_a_hill_in_numbers() -> None:
    # Terraces of height 1 and 1/4, in the halves of two and of three pixels.
    expected = np.array([1 / 4, 5 / 4, -1 / 4, -5 / 4, -1 / 4])
    pattern = two_hills((1, 5))[0, 0]
    np.testing.assert_allclose(pattern, expected / np.linalg.norm(expected), rtol=1e-6)


def test_inputs_of_other_ranks_become_images() -> None:
    shapes = {(5, 7): (5, 1, 1, 7), (5, 2, 7): (5, 2, 1, 7), (5, 3, 8, 9): (5, 3, 8, 9), (5, 2, 3, 4, 6): (5, 2, 12, 6)}
    assert {shape: as_images(np.zeros(shape, np.float32)).shape for shape in shapes} == shapes


def test_vectors_change_in_runs_of_neighbouring_features() -> None:
    images = as_images(np.full((40, 30), 0.5, np.float32))
    moves = MOVES["Linf"](images, 0.1, UNIT)
    lower = np.full_like(images, 0.4)
    changed = moves.propose(rng(), lower, np.arange(40), share=0.2)[:, 0, 0] > 0.5
    runs = [np.flatnonzero(row) for row in changed if row.any()]
    assert runs
    assert all(len(run) == 6 and np.ptp(run) == 5 for run in runs)


def test_the_share_of_a_patch_halves_at_the_same_points_of_every_budget() -> None:
    for n_queries in (1000, 10_000):
        square = Square(eps=0.1, n_queries=n_queries, p_init=0.8)
        shares = [square._share(round(part * n_queries)) for part in (0.001, 0.003, 0.01, 0.3, 1.0)]  # noqa: SLF001
        np.testing.assert_allclose(shares, [0.8, 0.4, 0.2, 0.8 / 64, 0.8 / 512])


@pytest.mark.parametrize("norm", NORMS)
def test_the_generator_decides_everything(norm: NormName) -> None:
    model, x, labels = linear_problem(n=8)
    square = Square(eps=0.05, norm=norm, n_queries=10)
    first, second = (square(model, x, labels, rng=rng()).x_adv for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (square(model, x, labels, rng=np.random.default_rng(9)).x_adv != first).any()


@pytest.mark.parametrize("settings", [{"n_queries": 0}, {"p_init": 0.0}, {"p_init": 1.5}, {"eps": None}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Square(**{"eps": 0.1, **settings})  # type: ignore[arg-type]
