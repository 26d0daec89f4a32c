"""The attacks on the real network, against figures measured with the reference codes; skipped where it is not at hand.

Robust accuracy: an attack must be as strong as its reference, within 0.02; lower is stronger. The paper's protocol must
give the same accuracy within 0.02.
"""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_jumprelu import OnnxClassifier, patch_model
from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks import APGDCE, Attack, AttackResult, AutoAttack, Square, TargetedAPGD, TargetedFAB
from onnx_jumprelu.classifier.normalization import normalized
from onnx_jumprelu.data.reading import load_data
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS

MEAN, STD = [0.1307], [0.3081]
TOLERANCE = 0.02
EXACT, RELU = "exact", "relu"

# eps, jump, gradient: apgd-ce, apgd-t, fab-t, square. The first 200 images, Linf, data space; the reference AutoAttack
# with 1 restart, 3 target classes and 2,000 queries.
AUTOATTACK = {
    (0.1, 0.0, EXACT): (0.700, 0.710, 0.725, 0.875),
    (0.1, 1.0, EXACT): (0.820, 0.810, 0.995, 0.860),
    (0.1, 1.0, RELU): (0.815, 0.810, 0.840, 0.860),
    (0.2, 0.0, EXACT): (0.000, 0.000, 0.000, 0.110),
    (0.2, 1.0, EXACT): (0.235, 0.030, 0.775, 0.195),
    (0.2, 1.0, RELU): (0.015, 0.005, 0.030, 0.195),
}
# jump: white-box and gray-box accuracy under IFGSM, DeepFool-inf, DeepFool-2 and trust region, the first 1,000 images.
# None: the authors' code divides by a gradient that the jump made zero, and counts the resulting NaN images as fooled.
PAPER = {
    0.0: ((0.646, 0.000, 0.000, 0.992), (0.646, 0.000, 0.000, 0.992)),
    0.5: ((0.730, None, 0.000, 0.991), (0.841, 0.604, 0.527, 0.991)),
    1.0: ((0.810, None, None, 0.988), (0.901, 0.799, 0.523, 0.989)),
    1.5: ((0.807, None, None, 0.984), (0.918, 0.827, 0.636, 0.987)),
}

pytestmark = pytest.mark.slow


@cache
def network(path: Path, jump: float) -> onnx.ModelProto:
    model = onnx.load(path)
    return patch_model(model, jump).model if jump else model


@cache
def images(path: Path, count: int) -> tuple[Floats, Labels]:
    data = load_data(path).first(count)
    return data.x, data.required_labels()


@cache
def attacked(shared: Path, jump: float, surrogate: str, attack: Attack) -> AttackResult:
    """An attack on the first 200 images in data space."""
    model = network(shared / "models" / "mnist_lenet.onnx", jump)
    classifier = OnnxClassifier(model, mean=MEAN, std=STD, surrogate=surrogate)
    x, labels = images(shared / "data" / "mnist_test.npz", 200)
    return attack(classifier, x, labels, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("eps", "jump", "surrogate"), AUTOATTACK, ids=str)
@pytest.mark.parametrize("index", range(4), ids=["apgd-ce", "apgd-t", "fab-t", "square"])
def test_each_attack_is_as_strong_as_its_reference(
    shared: Path, eps: float, jump: float, surrogate: str, index: int
) -> None:
    attacks = (
        APGDCE(eps=eps),
        TargetedAPGD(eps=eps, n_target_classes=3),
        TargetedFAB(eps=eps, n_target_classes=3),
        Square(eps=eps, n_queries=2000),
    )
    # Square never asks for a gradient: one run serves both.
    result = attacked(shared, jump, EXACT if index == 3 else surrogate, attacks[index])
    assert result.robust_accuracy <= AUTOATTACK[eps, jump, surrogate][index] + TOLERANCE
    assert result.nan_gradients == 0
    assert result.max_perturbation <= eps + 1e-6


def test_the_truth_at_a_large_budget(shared: Path) -> None:
    """At eps 0.2 a jump of 1 gives nothing: what exact gradients cannot fool, the gradients of ReLU can."""
    ensemble = AutoAttack(eps=0.2, n_target_classes=3, n_queries=2000)
    assert attacked(shared, 1.0, RELU, ensemble).robust_accuracy <= 0.005


@cache
def as_in_the_paper(shared: Path, jump: float, name: str) -> tuple[OnnxClassifier, AttackResult]:
    """An attack of the authors on the first 1,000 images in normalized space, and what it attacked."""
    x, labels = images(shared / "data" / "mnist_test.npz", 1000)
    x = normalized(x, MEAN, STD)
    model = network(shared / "models" / "mnist_lenet.onnx", jump)
    classifier = OnnxClassifier(model, bounds=(float(x.min()), float(x.max())))
    return classifier, PAPER_ATTACKS[name]()(classifier, x, labels, rng=np.random.default_rng(0))


@pytest.mark.parametrize("jump", PAPER)
@pytest.mark.parametrize("index", range(4), ids=list(PAPER_ATTACKS))
def test_the_papers_protocol(shared: Path, jump: float, index: int) -> None:
    """White-box, and gray-box: examples made on the original."""
    name = list(PAPER_ATTACKS)[index]
    patched, white = as_in_the_paper(shared, jump, name)
    gray, labels = as_in_the_paper(shared, 0.0, name)[1].x_adv, white.labels
    expected_white, expected_gray = (row[index] for row in PAPER[jump])
    assert np.isfinite(white.x_adv).all()
    if expected_white is not None:
        assert white.robust_accuracy == pytest.approx(expected_white, abs=TOLERANCE)
    else:  # a real number, and the failed steps are counted
        assert 0 <= white.robust_accuracy <= 1
        assert white.zero_gradients > 0
    assert float((patched.predict(gray) == labels).mean()) == pytest.approx(expected_gray, abs=TOLERANCE)
