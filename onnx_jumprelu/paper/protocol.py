"""One attack as JumpReLU's authors ran it: steps in normalized space, no eps, clipped to the range of the inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnx_jumprelu.attacks.base import Attack
from onnx_jumprelu.classifier.normalization import mean_and_std, normalized
from onnx_jumprelu.classifier.target import Target
from onnx_jumprelu.data.reading import Data, check_scale
from onnx_jumprelu.errors import DataError, OptionError, naming
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
from onnx_jumprelu.verdict.single_attack import AttackRun


def paper_attack_named(name: str, **settings: object) -> Attack:
    """The authors' attack of this name.

    Args:
        name: A key of `PAPER_ATTACKS`.
        **settings: Must all be None: the protocol fixes every setting.

    Raises:
        OptionError: the paper has no such attack, or a setting is not None.
    """
    if name not in PAPER_ATTACKS:
        raise OptionError(f"the paper's protocol has no attack '{name}'; choose {', '.join(PAPER_ATTACKS)}")
    given = [setting for setting, value in settings.items() if value is not None]
    if given:
        raise OptionError(f"the paper's protocol fixes every setting; leave out {', '.join(given)}")
    return PAPER_ATTACKS[name]()


def attack_as_authors(
    target: Target,
    data: Data,
    attack: Attack,
    *,
    seed: int = 0,
    on_progress: Callable[[float], None] = lambda _: None,
) -> AttackRun:
    """Normalize the inputs, attack them within their own smallest and largest value, and undo the normalization.

    Args:
        target: The model.
        data: Inputs in data space, and labels.
        attack: The attack, from `paper_attack_named`.
        seed: Seed of all randomness.
        on_progress: Called with the share of the work that is done, from 0 to 1, in rising order.

    Raises:
        DataError: the data have no labels, or do not fit the model.
        GradientError: the model is not a classifier with gradients.
    """
    check_scale(data, target.bounds)
    labels = data.required_labels()
    with naming(data.name, DataError):
        x = normalized(data.x, target.mean, target.std)
        shift, scale = mean_and_std(target.mean, target.std, x.shape[1] if x.ndim > 1 else None, x.ndim)
        classifier = target.classifier(bounds=(float(x.min()), float(x.max())), in_data_space=False)
        result = attack(classifier, x, labels, rng=np.random.default_rng(seed), on_progress=on_progress)
    x_adv = (result.x_adv * scale + shift).astype(np.float32)
    return AttackRun(target, "paper", result, x_adv, classifier.n_jumprelus)
