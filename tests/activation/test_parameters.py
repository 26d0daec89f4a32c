"""The parameters of a site: what is accepted, how they are rounded, compared, shown and stored."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from onnx import TensorProto

from onnx_jumprelu import OptionError
from onnx_jumprelu.activation.finder import JumpReLU, check_inputs
from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.activation.values import Jump


@pytest.mark.parametrize(
    ("value", "jump"),
    [(1, 1.0), (-0.0, 0.0), (np.float32(0.5), 0.5), ([1, 2], (1.0, 2.0)), (np.asarray([0.5, 0]), (0.5, 0.0))],
)
def test_checked(value: object, jump: Jump) -> None:
    assert Parameters.checked(value, "the jump") == Parameters(jump)
    assert Parameters.checked(Parameters(jump), "the jump") == Parameters(jump)


@pytest.mark.parametrize("value", [True, "1", None, {}, float("nan"), float("inf"), -1, [], [0.5, -1], 10**400])
def test_refused(value: object) -> None:
    with pytest.raises(OptionError, match="the jump of site 'a'"):
        Parameters.checked(value, "the jump of site 'a'")


@pytest.mark.parametrize("jump", [0.0, 0.3, (0.0, 0.3)])
def test_json_round_trip(jump: Jump) -> None:
    stored = json.dumps(Parameters(jump).to_json())
    assert Parameters.from_json(json.loads(stored), "the jump") == Parameters(jump)


def test_rounded_to_the_type() -> None:
    assert Parameters(0.3).rounded(TensorProto.FLOAT16) == Parameters(float(np.float16(0.3)))
    assert Parameters((0.3, 1.0)).rounded(TensorProto.FLOAT) == Parameters((float(np.float32(0.3)), 1.0))
    assert Parameters(0.3).rounded(None) == Parameters(0.3)


@pytest.mark.parametrize(
    ("jump", "message"),
    [
        (1e6, r"site 'a': jump 1000000\.0 is out of range for float16"),
        (1e-9, "site 'a': jump 1e-09 is 0 in float16; give 0 or a larger one"),
        ((0.5, 1e-9), "jump 1e-09 is 0 in float16"),
    ],
)
def test_what_a_type_cannot_hold(jump: Jump, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Parameters(jump).held_in(TensorProto.FLOAT16, "site 'a'")
    assert Parameters(0.0).held_in(TensorProto.FLOAT16, "site 'a'") == Parameters(0.0)


def test_channels() -> None:
    assert Parameters(0.5).n_channels is None
    assert not Parameters(0.5).per_channel
    assert Parameters((0.5, 1.0)).n_channels == 2
    assert Parameters((0.5,)).simplified() == Parameters(0.5)
    assert Parameters((0.5, 0.5)).simplified() == Parameters((0.5, 0.5))
    assert Parameters(0.5).spread(2) == Parameters((0.5, 0.5))
    assert Parameters((0.5, 1.0)).spread(2) == Parameters((0.5, 1.0))
    assert Parameters(0.5).spread(None) == Parameters(0.5)


def test_arrays_broadcast_along_the_channels() -> None:
    assert {name: value.shape for name, value in Parameters(0.5).arrays(None).items()} == {"jump": ()}
    assert Parameters((0.5, 1.0)).arrays(4)["jump"].shape == (2, 1, 1)
    with pytest.raises(ValueError, match="no channels"):
        Parameters((0.5, 1.0)).arrays(1)


def test_relu() -> None:
    assert Parameters().is_relu
    assert Parameters((0.0, 0.0)).is_relu
    assert not Parameters((0.0, 0.5)).is_relu


def test_text() -> None:
    assert Parameters(0.5).shown() == "0.5"
    assert Parameters((1.5, 0.0)).shown() == "0 to 1.5, per channel"
    assert str(Parameters(0.1)) == "jump 0.1"
    assert Parameters((0.1, 0.0)).cell() == "0.1 0.0"
    assert Parameters((1.0, 0.0)).size == 0.5


@pytest.mark.parametrize("value", [-0.1, float("nan"), np.asarray([0.5, -0.1])])
def test_a_graph_input_that_is_a_jump_cannot_be_negative(value: object) -> None:
    sites = [JumpReLU("x", "y", {"jump": "j"}), JumpReLU("u", "v", {"jump": 0.5})]
    with pytest.raises(OptionError, match="'j' is a jump; it must be at least 0"):
        check_inputs(sites, {"j": np.asarray(value)})
    check_inputs(sites, {"other": np.asarray(-1.0), "j": np.asarray(0.0)})


def test_an_object_gives_several_parameters() -> None:
    given = {"jump": 0.5, "softness": [0.25, 0.5], "center": -1}
    parameters = Parameters.checked(given, "the jump of site 'a'")
    assert parameters == Parameters(0.5, (0.25, 0.5), -1.0)
    assert Parameters.checked(parameters, "it") == parameters
    assert Parameters.from_json(json.loads(json.dumps(parameters.to_json())), "it") == parameters
    assert Parameters.checked({"jump": 0.5}, "it") == Parameters(0.5)
    assert Parameters.checked({"softness": 0.5}, "it").to_json() == {"jump": 0.0, "softness": 0.5}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"jmp": 1}, "the jump of site 'a': unknown key 'jmp'; there are jump, softness, center"),
        ({"jump": -1}, "the jump of site 'a' must be a finite number of at least 0, not -1"),
        ({"softness": -1}, "the softness of site 'a' must be a finite number of at least 0, not -1"),
        ({"softness": [0.5, 0]}, "its softness is 0 in some channels; give 0 for all, or above 0 for all"),
        ({"softness": [0.5, 1], "jump": [1, 2, 3]}, "its lists have different lengths"),
        ({"center": 1}, "a center needs a softness above 0"),
        ({"softness": 1, "center": float("inf")}, "the center of site 'a' must be a finite number, not inf"),
    ],
)
def test_an_object_that_is_refused(value: object, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        Parameters.checked(value, "the jump of site 'a'")


def test_a_soft_site_is_not_relu_and_says_so() -> None:
    soft = Parameters(0.0, 0.1, (0.0, -0.5))
    assert (soft.is_relu, soft.is_soft, soft.n_channels) == (False, True, 2)
    assert soft.names == ("jump", "softness", "center")
    assert soft.shown() == "0, softness 0.1, centered"
    assert str(soft) == "jump 0.0, softness 0.1, center (0.0, -0.5)"
    assert soft.cell() == "0.0; softness 0.1; center 0.0 -0.5"
    assert soft.channels() == (Parameters(0.0, 0.1, 0.0), Parameters(0.0, 0.1, -0.5))
    assert not soft.is_close(Parameters())


def test_a_softness_that_a_type_cannot_hold() -> None:
    with pytest.raises(OptionError, match="softness 1e-60 is 0 in float32"):
        Parameters(0.5, 1e-60).held_in(TensorProto.FLOAT, "site 'a'")
    assert Parameters(0.5, 1.0, 1e-60).held_in(TensorProto.FLOAT, "site 'a'") == Parameters(0.5, 1.0)


def test_a_graph_input_that_is_a_softness_is_above_0() -> None:
    sites = [JumpReLU("x", "y", {"jump": "j", "softness": "t"})]
    with pytest.raises(OptionError, match="'t' is a softness; it must be above 0"):
        check_inputs(sites, {"t": np.asarray(0.0)})
    check_inputs(sites, {"t": np.asarray(0.1), "j": np.asarray(0.0)})
