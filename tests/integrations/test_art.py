"""The adapter for the Adversarial Robustness Toolbox; skipped where ART is not installed."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from onnx_jumprelu import OnnxClassifier
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.errors import OptionError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ART imports what is deprecated elsewhere
    pytest.importorskip("art")
    from art.attacks.evasion import (
        CarliniL2Method,
        DeepFool,
        FastGradientMethod,
        HopSkipJump,
        ProjectedGradientDescent,
        SquareAttack,
    )

    from onnx_jumprelu.integrations.art import OnnxEstimator

pytestmark = pytest.mark.filterwarnings("ignore")
EPS = 0.2


@pytest.fixture(scope="module")
def classifier(samples: Path) -> OnnxClassifier:
    return OnnxClassifier(samples / "digits_cnn.onnx")


@pytest.fixture(scope="module")
def data(samples: Path, classifier: OnnxClassifier) -> tuple[Floats, Labels]:
    """Examples that the model gets right."""
    whole = load_data(samples / "digits.npz").first(60)
    x, labels = whole.x, whole.required_labels()
    if x.ndim == 3:
        x = x[:, None]
    right = classifier.predict(x) == labels
    return x[right][:24], labels[right][:24]


@pytest.mark.parametrize(
    "attack",
    [
        lambda estimator: FastGradientMethod(estimator, eps=EPS),
        lambda estimator: ProjectedGradientDescent(estimator, eps=EPS, eps_step=0.02, max_iter=20, verbose=False),
        lambda estimator: SquareAttack(estimator, eps=EPS, max_iter=200, verbose=False),
        lambda estimator: DeepFool(estimator, max_iter=30, verbose=False),
        lambda estimator: CarliniL2Method(
            estimator, max_iter=10, learning_rate=0.1, initial_const=10, binary_search_steps=1, verbose=False
        ),
        lambda estimator: HopSkipJump(estimator, max_iter=3, max_eval=200, init_eval=20, verbose=False),
    ],
    ids=["fgsm", "pgd", "square", "deepfool", "carlini-wagner", "hop-skip-jump"],
)
def test_arts_attacks_fool_an_onnx_model(  # type: ignore[no-untyped-def]
    attack,  # noqa: ANN001 - ART has no types
    classifier: OnnxClassifier,
    data: tuple[Floats, Labels],
) -> None:
    x, labels = data
    np.random.seed(0)  # noqa: NPY002 - ART draws from the global generator
    x_adv = attack(OnnxEstimator(classifier)).generate(x)
    assert x_adv.shape == x.shape
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (classifier.predict(x_adv) != labels).mean() > 0.5


def test_gradients_are_the_classifiers_own(classifier: OnnxClassifier, data: tuple[Floats, Labels]) -> None:
    x, labels = data
    estimator = OnnxEstimator(classifier)
    expected = classifier.loss_and_grad(x, labels)[1]
    one_hot = np.eye(10, dtype=np.float32)[labels]
    assert np.array_equal(estimator.loss_gradient(x, labels), expected)
    assert np.array_equal(estimator.loss_gradient(x, one_hot), expected)
    assert np.allclose(
        estimator.compute_loss(x, labels, reduction="mean"), classifier.loss_and_grad(x, labels)[0].mean()
    )
    all_classes = estimator.class_gradient(x)
    assert all_classes.shape == (len(x), 10, *x.shape[1:])
    assert np.allclose(estimator.class_gradient(x, 3)[:, 0], all_classes[:, 3], atol=1e-6)
    picked = all_classes[np.arange(len(x)), labels]
    assert np.allclose(estimator.class_gradient(x, labels)[:, 0], picked, atol=1e-6)


def test_it_cannot_be_trained(classifier: OnnxClassifier, data: tuple[Floats, Labels]) -> None:
    with pytest.raises(OptionError, match="cannot be trained"):
        OnnxEstimator(classifier).fit(*data)
