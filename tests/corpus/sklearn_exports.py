"""Models of scikit-learn, exported with skl2onnx."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from tests.corpus.subjects import Source, Subject, written

OPSETS = (9, 12, 15, 18)
KINDS = ("mlp", "mlp_binary", "mlp_regressor", "pipeline", "logistic", "forest", "boosting")


def _names() -> list[str]:
    return [f"{kind}/{opset}" for kind in KINDS for opset in OPSETS]


def _make(name: str, folder: Path) -> Subject:
    """Fit a small estimator and export it, named as `_names` does."""
    from skl2onnx import to_onnx  # noqa: PLC0415 - slow to import, and may be missing
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    kind, opset = name.split("/")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6)).astype(np.float32)
    y = np.digitize(x.sum(1), [0.0] if kind == "mlp_binary" else [-1.0, 1.0])
    settings = {"hidden_layer_sizes": (8, 8), "max_iter": 20, "random_state": 0}
    estimators = {
        "mlp": lambda: MLPClassifier(**settings),
        "mlp_binary": lambda: MLPClassifier(**settings),
        "mlp_regressor": lambda: MLPRegressor(**settings),
        "pipeline": lambda: make_pipeline(StandardScaler(), MLPClassifier(**settings)),
        "logistic": LogisticRegression,
        "forest": lambda: RandomForestClassifier(3, random_state=0),
        "boosting": lambda: GradientBoostingClassifier(n_estimators=3, random_state=0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few iterations to converge
        fitted = estimators[kind]().fit(x, y)
        model = to_onnx(fitted, x[:1], target_opset={"": int(opset), "ai.onnx.ml": 2 if int(opset) < 15 else 3})
    return written(model.SerializeToString(), folder, {model.graph.input[0].name: x[:4]})


EXPORTS = Source(_names, _make, needs=("skl2onnx", "sklearn"))
