"""A short part of `python -m tests.killer`, and a sign that it notices what it is there to notice."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.killer.__main__ import summary, trials
from tests.killer.materials import build, scenes
from tests.killer.scene import Known, learn
from tests.killer.trials import full_disk, kill

if sys.platform != "linux":
    pytest.skip("kills and permissions as on Linux", allow_module_level=True)

# A program that writes its output bit by bit under its final name, and that removes nothing.
CARELESS = """
import sys, time
from pathlib import Path
target = Path("out.onnx")
Path("scratch").touch()
with target.open("wb") as file:
    for _ in range(100):
        file.write(bytes(10_000))
        file.flush()
        time.sleep(0.005)
"""


@pytest.mark.slow
def test_a_careless_program_is_noticed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "model.onnx").write_bytes(b"a model")
    (store / "old.onnx").write_bytes(b"an older output")
    (store / "careless.py").write_text(CARELESS)
    scene = scenes(tmp_path / "scenes", store)["patch over"]
    scene = replace(scene, program=(sys.executable, str(store / "careless.py")))
    scene.reset()
    before = scene.states()
    scene.start().end()
    known = Known(before, {**before, "out.onnx": scene.states()["out.onnx"]}, seconds=0.6)
    chance = random.Random(0)  # noqa: S311 - not for secrets
    found = [kill(scene, known, chance) for _ in range(4)]
    assert any("out.onnx is" in violation for trial in found for violation in trial.violations)
    full = full_disk(scene, known, chance)
    assert full.violations
    text = summary([*found, full])
    assert text.splitlines()[0].split() == ["disturbed", "trials", "new", "left", "files", "violations"]


def test_a_few_kills(tmp_path: Path) -> None:
    scene = scenes(tmp_path / "scenes", tmp_path / "store")["patch --in-place"]
    build(tmp_path / "store", 6)
    chance = random.Random(1)  # noqa: S311 - not for secrets
    known = learn(scene)
    for trial in (kill(scene, known, chance), full_disk(scene, known, chance)):
        assert not trial.violations


@pytest.mark.slow
def test_more_kills(tmp_path: Path) -> None:
    done = list(trials(tmp_path, kills=21, seed=2, megabytes=12))
    assert [trial for trial in done if trial.violations] == []
    assert len(done) >= 21
