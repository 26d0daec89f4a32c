"""Inputs worth looking at: before and after an attack, with what the models say to both."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnx_jumprelu.attacks import PGD
from onnx_jumprelu.classifier.classifier import OnnxClassifier
from onnx_jumprelu.names import ModelName
from onnx_jumprelu.verdict.experiment import Experiment
from onnx_jumprelu.verdict.findings import Example, is_image
from onnx_jumprelu.verdict.suite import Plan

N_TRIED = 24  # inputs
N_SHOWN = 6
SURROGATE = "relu"


def examples(experiment: Experiment, classifiers: Mapping[ModelName, OnnxClassifier]) -> tuple[Example, ...]:
    """A few inputs before and after PGD on the model that the verdict is about, fooled ones first; none unless images.

    Args:
        experiment: The data, the budget, the seed, and how many inputs to show.
        classifiers: The models of the experiment.
    """
    x, labels = experiment.data.x[:N_TRIED], experiment.data.required_labels()[:N_TRIED]
    if not is_image(x.shape[1:]):
        return ()
    subject = experiment.subject
    plan = Plan(PGD(eps=experiment.eps, norm=experiment.norm), SURROGATE)
    rng = np.random.default_rng(experiment.seed)
    result = plan.attack(classifiers[subject].with_surrogate(plan.surrogate), x, labels, rng=rng)
    before = {model: classifier.predict(x) for model, classifier in classifiers.items()}
    after = {model: classifier.predict(result.x_adv) for model, classifier in classifiers.items()}
    fooled = result.success & result.correct
    order = [*np.flatnonzero(fooled), *np.flatnonzero(~fooled & result.correct)]
    target = "the model" if subject == "model" else f"the {subject} model"
    return tuple(
        Example(
            index=int(index),
            clean=x[index],
            perturbed=result.x_adv[index],
            label=int(labels[index]),
            predictions={model: (int(before[model][index]), int(after[model][index])) for model in classifiers},
            attack=f"{plan.label} on {target}",
            bounds=experiment.targets[subject].bounds,
        )
        for index in order[: experiment.n_shown]
    )
