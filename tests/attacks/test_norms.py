import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_jumprelu.arrays import Array, Floats, rows
from onnx_jumprelu.attacks.norms import NORMS, Norm, norm_named
from onnx_jumprelu.errors import OptionError

SHAPE = (6, 2, 3, 4)
both = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
seeds = st.integers(0, 2**32 - 1)
sizes = st.floats(-6, 3).map(lambda power: 10.0**power)


def array(seed: int, size: float) -> Floats:
    """Random numbers, some examples of them with many equal entries and zeros, as images have."""
    rng = np.random.default_rng(seed)
    values = size * rng.standard_normal(SHAPE)
    values[1] = size
    values[2, :, :2] = 0
    return values.astype(np.float32)


def exact_length(norm: Norm, delta: Array) -> Array:
    """The length, from its definition, in float64."""
    flat = rows(delta).astype(np.float64)
    order = np.inf if norm.name == "Linf" else 2
    length: Array = np.linalg.norm(flat, order, axis=1)
    return length


@both
@given(seed=seeds, size=sizes, eps=sizes)
def test_projection_ends_within_the_budget_and_stays_there(norm: Norm, seed: int, size: float, eps: float) -> None:
    once = norm.project(array(seed, size), eps)
    assert once.dtype == np.float32
    assert (exact_length(norm, once) <= eps * (1 + 1e-6)).all()
    np.testing.assert_allclose(norm.project(once, eps), once, rtol=1e-6)


@both
@given(seed=seeds, size=sizes)
def test_projection_leaves_alone_what_lies_within(norm: Norm, seed: int, size: float) -> None:
    delta = array(seed, size)
    np.testing.assert_array_equal(norm.project(delta, 1.001 * float(exact_length(norm, delta).max())), delta)


@both
@given(seed=seeds, size=sizes)
def test_projection_goes_to_the_nearest_point(norm: Norm, seed: int, size: float) -> None:
    delta = array(seed, size)
    eps = 0.3 * float(exact_length(norm, delta).min())
    distance = exact_length(norm, delta - norm.project(delta, eps))
    # By the triangle inequality no point of the ball is nearer than this.
    np.testing.assert_allclose(distance, exact_length(norm, delta) - eps, rtol=1e-5)


@both
@given(seed=seeds, power=st.integers(-30, 15))
def test_direction_has_length_1_and_attains_the_dual_norm(norm: Norm, seed: int, power: int) -> None:
    gradient = array(seed, 10.0**power)
    direction = norm.direction(gradient)
    np.testing.assert_allclose(exact_length(norm, direction), 1, rtol=1e-6)
    product = (rows(gradient).astype(np.float64) * rows(direction)).sum(axis=1)
    dual = np.linalg.norm(rows(gradient).astype(np.float64), 1 if norm.name == "Linf" else 2, axis=1)
    np.testing.assert_allclose(product, dual, rtol=1e-5)
    np.testing.assert_allclose(norm.dual_length(gradient.astype(np.float64)), dual, rtol=1e-6)


@both
def test_a_gradient_of_0_has_no_direction(norm: Norm) -> None:
    np.testing.assert_array_equal(norm.direction(np.zeros(SHAPE, np.float32)), 0)


@both
@given(seed=seeds, size=sizes)
def test_length_is_that_of_the_definition(norm: Norm, seed: int, size: float) -> None:
    delta = array(seed, size)
    np.testing.assert_allclose(norm.length(delta), exact_length(norm, delta), rtol=1e-6)


@both
@settings(deadline=None)
@given(seed=seeds, high=st.sampled_from([1.0, 255.0, 1e4]), eps=sizes, overshoot=sizes)
def test_confine_holds_exactly(norm: Norm, seed: int, high: float, eps: float, overshoot: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, high, SHAPE).astype(np.float32)
    x[0] = high
    x_adv = x + array(seed, overshoot)
    confined = norm.confine(x_adv, x, eps)
    assert confined.dtype == np.float32
    # No tolerance: the norm's own length is what users are shown.
    assert (norm.length(confined.astype(np.float64) - x) <= eps).all()
    within = exact_length(norm, x_adv.astype(np.float64) - x) < 0.999 * eps
    np.testing.assert_array_equal(confined[within], x_adv[within])


@both
def test_confine_uses_the_whole_budget(norm: Norm) -> None:
    x = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    confined = norm.confine(x + 1, x, 0.25)
    np.testing.assert_allclose(exact_length(norm, confined.astype(np.float64) - x), 0.25, rtol=1e-5)


def test_confine_holds_where_the_border_itself_is_rounded() -> None:
    x, eps = np.full((1, 1), 100, np.float32), float(np.nextafter(0.5, 0))
    assert 100 + eps == 100.5, "in float64 this sum rounds up, beyond the budget"
    assert norm_named("Linf").confine(x + 1, x, eps) < 100.5
    assert norm_named("Linf").confine(x - 1, x, eps) > 99.5


def test_confine_ends_where_rounding_undoes_every_small_move() -> None:
    x = np.full((1, 784), 200, np.float32)
    one_up = np.nextafter(x, np.float32(np.inf))
    eps = 0.9 * float(norm_named("L2").length(one_up - x)[0])
    # Between x and its neighbour float32 has nothing: the only way back inside is x.
    np.testing.assert_array_equal(norm_named("L2").confine(one_up, x, eps), x)


@both
@given(seed=seeds)
def test_random_perturbations_lie_in_the_unit_ball(norm: Norm, seed: int) -> None:
    delta = norm.random(np.random.default_rng(seed), SHAPE)
    assert delta.shape == SHAPE
    assert delta.dtype == np.float32
    assert (exact_length(norm, delta) <= 1 + 1e-6).all()


@both
def test_random_perturbations_fill_the_ball_evenly(norm: Norm) -> None:
    delta = norm.random(np.random.default_rng(0), (20_000, 2))
    # In two dimensions a quarter lies within half the radius, and half to the right of the middle.
    assert (exact_length(norm, delta) < 0.5).mean() == pytest.approx(0.25, abs=0.01)
    assert (delta[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.01)


@both
def test_random_perturbations_come_from_the_generator(norm: Norm) -> None:
    first, again, other = (norm.random(np.random.default_rng(seed), SHAPE) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(OptionError, match="norm 'L7' is unknown; choose Linf or L2"):
        norm_named("L7")
