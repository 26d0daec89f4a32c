"""Quantiles of what reaches the sites, against NumPy."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import find_activations
from onnx_jumprelu.arrays import Floats
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data
from onnx_jumprelu.errors import DataError
from onnx_jumprelu.tuning.preactivations import PreActivations, measure, measure_file, observable, pooled_quantile
from tests.models import NESTED, RELU, parse
from tests.tuning.networks import INSIDE_A_FUNCTION, ONE_SITE, saved


def inputs(count: int = 40) -> Floats:
    return np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32)


def measured(model: onnx.ModelProto, x: Floats) -> list[PreActivations]:
    return measure(model, find_activations(model), x, Target(Path("m.onnx")), rng=np.random.default_rng(0))


def test_quantiles() -> None:
    x = inputs()
    (site,) = measured(parse(RELU), x)  # its input is the graph's own
    positive = x[x > 0]
    assert site.positive == pytest.approx(positive.size / x.size)
    assert site.count == positive.size
    for level in (0.1, 0.5, 0.9):
        assert site.quantile(level) == pytest.approx(np.quantile(positive, level), rel=0.01)
    assert site.quantile(0) == 0
    assert site.silenced(float(np.median(positive))) == pytest.approx(0.5, abs=0.02)
    assert site.silenced(0) == 0


def test_a_jump_at_a_value_silences_it() -> None:
    site = PreActivations("a", 1.0, 4, np.array([1, 2, 3, 4], np.float32))
    assert [site.silenced(jump) for jump in (0.5, 1.0, 1.5, 4.0)] == [0, 0.25, 0.25, 1]


def test_three_digits() -> None:
    site = PreActivations("a", 1.0, 1, np.array([0.123456], np.float32))
    assert site.quantile(0.5) == 0.123


def test_sites_are_pooled_by_their_sizes() -> None:
    """Equal samples, but one of a site that is nine times as large."""
    large = PreActivations("large", 1.0, 900, np.full(100, 1, np.float32))
    small = PreActivations("small", 1.0, 100, np.full(100, 5, np.float32))
    assert pooled_quantile([large, small], 0.8) == 1
    assert pooled_quantile([large, small], 0.95) == 5
    assert pooled_quantile([large, small], 0) == 0


def test_each_channel_on_its_own() -> None:
    x = np.abs(inputs()) * np.array([1, 10, 100, 0], np.float32)
    model = parse(RELU)
    sites, target = find_activations(model), Target(Path("m.onnx"))
    (alone,) = measure(model, sites, x, target, rng=np.random.default_rng(0))
    (site,) = measure(model, sites, x, target, rng=np.random.default_rng(0), per_channel=True)
    jumps = site.channel_quantiles(0.5)
    assert jumps == pytest.approx((*np.median(x[:, :3], axis=0), 0), rel=0.01)
    assert site.silenced(jumps) == pytest.approx(0.5, abs=0.02)
    assert site.silenced((0.0, 0.0, 1e9, 0.0)) == pytest.approx(1 / 3)
    assert site.channel_quantiles(0.0) == 0
    assert alone.channels == ()
    np.testing.assert_array_equal(alone.sample, site.sample)  # looking closer does not change what was seen


def test_channels_of_an_image() -> None:
    model = parse(RELU.replace("float[N, 4]", "float[N, 4, 3, 3]"))
    x = np.random.default_rng(0).normal(size=(50, 4, 3, 3)).astype(np.float32) + np.arange(4)[None, :, None, None]
    x = x.astype(np.float32)
    (site,) = measure(
        model, find_activations(model), x, Target(Path("m.onnx")), rng=np.random.default_rng(0), per_channel=True
    )
    expected = [np.median(channel[channel > 0]) for channel in x.swapaxes(0, 1)]
    assert site.channel_quantiles(0.5) == pytest.approx(tuple(expected), rel=0.02)


def test_nothing_positive() -> None:
    (site,) = measured(parse(RELU), -np.abs(inputs()) - 1)
    assert site.positive == site.quantile(0.5) == site.silenced(1.0) == pooled_quantile([site], 0.5) == 0


def test_normalization() -> None:
    x, model = inputs(), parse(RELU)
    sites = find_activations(model)
    (site,) = measure(model, sites, x, Target(Path("m.onnx"), mean=[0.5], std=[2.0]), rng=np.random.default_rng(0))
    shifted = (x - 0.5) / 2
    assert site.quantile(0.5) == pytest.approx(np.median(shifted[shifted > 0]), rel=0.01)


def test_a_model_of_one_batch_size() -> None:
    x = inputs(30)
    (site,) = measured(parse(RELU.replace("float[N, 4]", "float[7, 4]")), x)
    assert site.quantile(0.5) == pytest.approx(np.median(x[x > 0]), rel=0.1)


def test_only_the_main_graph_can_be_seen() -> None:
    seen = [site for site in find_activations(parse(NESTED)) if observable(site) is None]
    assert [site.scope for site in seen] == ["main"]
    reasons = [observable(site) or "" for site in find_activations(parse(NESTED)) if site.scope != "main"]
    assert reasons
    assert all("cannot be seen from outside" in reason for reason in reasons)


def test_the_model_is_not_changed() -> None:
    model = parse(ONE_SITE)
    before = model.SerializeToString()
    measured(model, np.abs(inputs()))
    assert model.SerializeToString() == before


class TestFile:
    def test_same_draw(self, tmp_path: Path) -> None:
        path, data = saved(tmp_path, ONE_SITE), Data(np.abs(inputs()), None, Path("d.npz"))
        first, again = (measure_file(Target(path), data)[0].quantile(0.3) for _ in range(2))
        assert first == again > 0

    def test_no_site(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"model\.onnx: has no activation site"):
            measure_file(Target(saved(tmp_path, INSIDE_A_FUNCTION)), Data(inputs(), None, Path("d.npz")))
