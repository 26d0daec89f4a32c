"""Tuning on the sample models: what it promises on the validation split holds on the test split; else it says so."""

from pathlib import Path

import pytest

from onnx_jumprelu import OnnxClassifier, evaluate, load_data, patch_file
from onnx_jumprelu.tuning import run as tuning
from onnx_jumprelu.tuning.run import tune

EPS, MAX_DROP = 0.1, 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_cnn.onnx", "digits_cnn_adv.onnx", "digits_relu6.onnx"])
def test_the_budget_and_the_gain_hold(
    name: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "QUICK_STEPS", 10)
    monkeypatch.setattr(tuning, "THOROUGH_STEPS", 40)
    found = tune(samples / name, samples / "digits.npz", eps=EPS, max_drop=MAX_DROP, n_trials=16, per_channel=True)
    patch_file(samples / name, tmp_path / name, recipe=found.recipe)
    test = load_data(samples / "digits.npz")
    before, after = (
        (OnnxClassifier(folder / name).predict(test.x) == test.required_labels()).mean()
        for folder in (samples, tmp_path)
    )
    assert before - after <= MAX_DROP
    verdict = evaluate(samples / name, tmp_path / name, test.first(100), eps=EPS, attacks="quick")
    if found.gain_shown:
        assert verdict.gain is not None
        assert verdict.gain.value > 0
    else:
        assert not any(found.jumps.values())
        assert not verdict.gain_shown
        assert found.to_text().startswith("No jump gains anything on these data")
