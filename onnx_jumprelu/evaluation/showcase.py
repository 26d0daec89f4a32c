"""Examples for a report's gallery: what an attack on the patched model did to a few inputs."""

from __future__ import annotations

import numpy as np

from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.evaluation.gallery import Example, is_image
from onnx_jumprelu.evaluation.validate import Question
from onnx_jumprelu.evaluation.verdict import MODELS

N_TRIED = 24  # inputs
N_SHOWN = 6
SURROGATE = "relu"


def examples(question: Question) -> list[Example]:
    """A few inputs before and after PGD on the patched model, fooled ones first; none without images."""
    x, labels = question.data.x[:N_TRIED], question.data.required_labels()[:N_TRIED]
    if not is_image(x.shape[1:]):
        return []
    classifiers = {model: question.target(model).classifier() for model in MODELS}
    attack = PGD(eps=question.eps, norm=question.norm)
    rng = np.random.default_rng(question.seed)
    result = attack(classifiers["patched"].with_surrogate(SURROGATE), x, labels, rng=rng)
    before = {model: classifier.predict(x) for model, classifier in classifiers.items()}
    after = {model: classifier.predict(result.x_adv) for model, classifier in classifiers.items()}
    fooled = result.success & result.correct
    order = [*np.flatnonzero(fooled), *np.flatnonzero(~fooled & result.correct)]
    return [
        Example(
            index=int(index),
            clean=x[index],
            perturbed=result.x_adv[index],
            label=int(labels[index]),
            predictions={model: (int(before[model][index]), int(after[model][index])) for model in MODELS},
            attack=f"pgd ({SURROGATE}) on the patched model",
            bounds=question.patched.bounds,
        )
        for index in order[:N_SHOWN]
    ]
