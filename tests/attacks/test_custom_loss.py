"""A loss of the caller's own: a function that appends nodes, or a new entry of the registry."""

from typing import Any

import numpy as np
import pytest

from onnx_jumprelu import DataError, GradientError, OnnxClassifier, OptionError, build_gradient_model
from onnx_jumprelu.attacks import FGSM, PGD
from onnx_jumprelu.gradient.core.losses import LOSSES, Loss, LossLike, Scores
from onnx_jumprelu.gradient.core.values import Value
from tests.models import f32, parse

# Logits are x itself, so that every derivative can be written down.
NET = """<ir_version: 8, opset_import: ["" : 18]>
net (float[N, 3] x) => (float[N, 3] y) { y = Identity(x) }"""
X = f32([[0.6, 0.5, 0.1], [0.2, 0.7, 0.3]])
LABELS = np.asarray([0, 1])


def mean_gap(scores: Scores) -> Value:
    """The mean of the other logits minus the label's."""
    label = scores.at(scores.labels)
    return (scores.logits.sum([1], keepdims=False) - label) / (scores.n_classes - 1) - label


def to_target(scores: Scores) -> Value:
    return scores.target() * 2.0


def expected() -> tuple[Any, Any]:
    unit = np.eye(3)[LABELS]
    return ((1 - unit) * X).sum(1) / 2 - (unit * X).sum(1), (1 - unit) / 2 - unit


@pytest.mark.parametrize("form", ["function", "loss", "registered"])
def test_a_loss_of_ones_own(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "toy", Loss(mean_gap))
    forms: dict[str, LossLike] = {"function": mean_gap, "loss": Loss(mean_gap), "registered": "toy"}
    loss = forms[form]
    model = OnnxClassifier(parse(NET))
    values, gradient = model.loss_and_grad(X, LABELS, loss)
    wanted_values, wanted_gradient = expected()
    assert np.allclose(values, wanted_values)
    assert np.allclose(gradient, wanted_gradient)
    for attack in (PGD(eps=0.2, loss=loss), FGSM(eps=0.2, loss=loss)):
        result = attack(model, X, LABELS, rng=np.random.default_rng(0))
        assert result.success.tolist() == [True, False]
    # The whole budget goes where the loss rises: down for the label, up for all others.
    x_adv = FGSM(eps=0.05, loss=loss)(model, X, LABELS, rng=np.random.default_rng(0)).x_adv
    assert np.allclose(x_adv, X + 0.05 * np.sign(wanted_gradient), atol=1e-6)


def test_its_session_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[LossLike] = []

    def counted(model: Any, loss: LossLike, *args: Any, **given: Any) -> Any:  # noqa: ANN401
        built.append(loss)
        return build_gradient_model(model, loss, *args, **given)

    monkeypatch.setattr("onnx_jumprelu.classifier.classifier.build_gradient_model", counted)
    model = OnnxClassifier(parse(NET))
    for loss in (mean_gap, mean_gap, Loss(mean_gap), "ce", "ce"):
        model.loss_and_grad(X, LABELS, loss)
    assert len(built) == 2


def test_a_targeted_loss_of_ones_own() -> None:
    model, targets = OnnxClassifier(parse(NET)), np.asarray([2, 0])
    loss = Loss(to_target, targeted=True)
    values, gradient = model.loss_and_grad(X, LABELS, loss, targets)
    assert np.allclose(values, 2 * X[[0, 1], targets])
    assert np.allclose(gradient, 2 * np.eye(3)[targets])
    with pytest.raises(OptionError, match="loss to_target needs targets"):
        model.loss_and_grad(X, LABELS, loss)
    with pytest.raises(OptionError, match=r"loss to_target: a loss that reads targets must be Loss\(write, targeted"):
        model.loss_and_grad(X, LABELS, to_target)
    with pytest.raises(OptionError, match="pgd: loss to_target needs targets, which this attack does not choose"):
        PGD(eps=0.1, loss=loss)


def test_how_many_classes_a_loss_needs_is_its_own_field() -> None:
    model, loss = OnnxClassifier(parse(NET)), Loss(mean_gap, n_classes=4)
    with pytest.raises(GradientError, match="loss mean_gap needs at least 4 classes; the model has 3"):
        model.loss_and_grad(X, LABELS, loss)
    with pytest.raises(DataError, match="pgd: loss mean_gap needs a model with at least 4 classes; this one has 3"):
        PGD(eps=0.1, loss=loss)(model, X, LABELS, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda scores: scores.logits, r"must have one value per example, shape \(N,\), not 2 dimensions"),
        (lambda scores: scores.at(scores.labels).sum([0], keepdims=False), "not 0 dimensions"),
        (lambda scores: scores.labels, "must be float32, as the logits are, not int64"),
        (lambda _: None, "its function must return a Value, not NoneType"),
    ],
)
def test_what_is_not_a_loss_is_refused(write: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(OptionError, match=f"loss <lambda>: .*{message}"):
        OnnxClassifier(parse(NET)).loss_and_grad(X, LABELS, write)


def test_names_that_are_not_there() -> None:
    for loss in ("mse", "logit", "difference"):
        with pytest.raises(OptionError, match=f"pgd: loss '{loss}' is unknown; choose ce, dlr, margin, or pass a func"):
            PGD(eps=0.1, loss=loss)
