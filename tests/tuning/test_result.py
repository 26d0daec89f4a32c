"""A tuning as a value: it does not change, it names the model that was opened, and it renders itself."""

import copy
import csv
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from onnx_jumprelu.activation.parameters import Parameters
from onnx_jumprelu.tuning.result import TrialPoint, Tuning
from onnx_jumprelu.tuning.run import TuneSettings, tune
from onnx_jumprelu.tuning.sweep import Sweep
from tests.report import tunings
from tests.tuning.networks import EPS, GAINING, data, examples, saved


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    return tune(saved(tmp_path_factory.mktemp("result"), GAINING), data(40), eps=EPS, n_trials=60)


def schema(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(resources.files("onnx_jumprelu.report").joinpath(f"schemas/{name}.json").read_text("utf-8"))


class TestHash:
    """The recorded hash is that of the model that was tuned, whatever happens to the file later."""

    def test_a_file_that_changes_during_tuning(self, tmp_path: Path) -> None:
        path = saved(tmp_path, GAINING)
        opened = hashlib.sha256(path.read_bytes()).hexdigest()

        def change(_: int) -> None:
            path.write_bytes(b"something else")

        result = tune(path, data(40), eps=EPS, n_trials=3, on_done=change)
        assert path.read_bytes() == b"something else"
        assert result.model_sha256 == result.to_dict()["model_sha256"] == opened

    def test_a_file_that_is_removed_before_rendering(self, tmp_path: Path) -> None:
        path = saved(tmp_path, GAINING)
        opened = hashlib.sha256(path.read_bytes()).hexdigest()
        result = tune(path, data(40), eps=EPS, n_trials=3)
        path.unlink()
        assert result.to_dict()["model_sha256"] == opened

    def test_it_is_taken_before_the_model_is_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = saved(tmp_path, GAINING)
        opened = hashlib.sha256(path.read_bytes()).hexdigest()
        measured = Sweep.preactivations

        def change(self: Sweep, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the method takes them
            path.write_bytes(b"something else")
            return measured(self, *args, **kwargs)

        monkeypatch.setattr(Sweep, "preactivations", change)
        assert tune(path, data(40), eps=EPS, n_trials=3).model_sha256 == opened


class TestValue:
    def test_nothing_can_be_changed(self, found: Tuning) -> None:
        assert all(isinstance(each, tuple) for each in (found.trials, found.finalists, found.sites, found.skipped))
        with pytest.raises(FrozenInstanceError):
            found.eps = 1.0  # type: ignore[misc]
        with pytest.raises(TypeError):
            found.finalists[0].parameters["first"] = Parameters(1.0)  # type: ignore[index]

    def test_a_candidate_keeps_its_own_parameters(self) -> None:
        given = {"a": Parameters(1.0)}
        point = TrialPoint(given, 0.9, 0.8, chosen=True, family="sites")
        given["a"] = Parameters(2.0)
        assert point.jumps == {"a": 1.0}

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
    def test_it_can_be_copied_and_pickled(self, found: Tuning, copied: Callable[[Tuning], Tuning]) -> None:
        again = copied(found)
        assert again.to_dict() == found.to_dict()
        assert again.finalists == found.finalists
        assert again.original.withstood.tolist() == found.original.withstood.tolist()


class TestRendering:
    def test_json_follows_its_schema(self, found: Tuning) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        validator = jsonschema.Draft202012Validator(schema("tuning"))
        content = json.loads(json.dumps(found.to_dict("r.json"), allow_nan=False))
        assert list(validator.iter_errors(content)) == []
        nothing = replace(found, proposed=found.original, uniform=None)
        assert list(validator.iter_errors(json.loads(json.dumps(nothing.to_dict())))) == []
        # The schema names each key of the output, and refuses wrong ones.
        assert set(content) == set(schema("tuning")["properties"]) == set(schema("tuning")["required"])
        for key, wrong in [("schema", "onnx-jumprelu/tuning/2"), ("finalists", []), ("eps", 0), ("model_sha256", "")]:
            assert list(validator.iter_errors({**content, key: wrong})), key

    def test_repr_is_short(self, found: Tuning) -> None:
        assert repr(found).startswith(f"<Tuning of {found.model}: gain shown, Linf eps 0.1, worst case 0.")
        assert len(repr(found)) < len(found.model) + 160
        assert "no gain" in repr(replace(found, proposed=found.original))

    def test_a_notebook_shows_the_outcome_and_every_site(self, found: Tuning) -> None:
        html = replace(found, model="<script>")._repr_html_()
        assert "<script" not in html
        assert "Gain shown on 20 examples" in html
        for site, parameters in found.parameters.items():
            assert f"<td>{site}</td><td>{parameters.shown()}</td>" in html

    def test_text(self, found: Tuning) -> None:
        text = found.to_text("r.json")
        assert text.startswith("Gain shown on 20 examples that the search never attacked")
        assert "Recipe: r.json" in text
        assert "Recipe:" not in found.to_text()
        assert "The jump of each site" in text

    def test_text_without_a_gain_lists_no_jumps_of_0(self, found: Tuning) -> None:
        text = replace(found, proposed=found.original).to_text()
        assert "there is nothing to patch" in text
        assert "The jump of each site" not in text
        assert "0 everywhere" in text

    def test_dicts_and_csv_say_the_same(self, found: Tuning) -> None:
        rows = list(csv.DictReader(found.to_csv().splitlines()))
        dicts = found.trials_as_dicts()
        assert len(rows) == len(dicts) == len(found.trials) + len(found.finalists)
        assert sum(row["front"] for row in dicts) == len(found.pareto_front)
        for row, flat in zip(rows, dicts, strict=True):
            assert (row["family"], row["stage"]) == (flat["family"], flat["stage"])
            assert float(row["worst_case"]) == pytest.approx(flat["worst_case"], abs=1e-6)
            assert (row["front"], row["chosen"]) == (str(int(flat["front"])), str(int(flat["chosen"])))
            assert float(row["first"]) == flat["jump:first"]

    def test_plot(self, found: Tuning) -> None:
        pytest.importorskip("matplotlib")
        pytest.importorskip("jinja2")
        axes = found.plot().axes[0]
        assert axes.get_xlabel() == "clean accuracy (validation)"
        assert "front" in axes.get_legend_handles_labels()[1]
        assert "<svg" in found.to_svg()


class TestLibrary:
    def test_every_form_of_a_model_and_of_data(self, found: Tuning, tmp_path: Path) -> None:
        import onnx  # noqa: PLC0415 - for this test only

        path = saved(tmp_path, GAINING)
        x, labels = examples(40)
        for model, given in ((str(path), (x, labels)), (onnx.load(path), data(40))):
            again = tune(model, given, eps=EPS, n_trials=60, seed=0)
            assert again.recipe == found.recipe
            assert again.trials == found.trials
        assert again.model == "model 'net'"

    def test_progress_as_a_function(self, tmp_path: Path) -> None:
        shares: list[float] = []
        steps: list[int] = []
        tune(saved(tmp_path, GAINING), data(40), eps=EPS, n_trials=5, progress=shares.append, on_done=steps.append)
        assert shares == sorted(shares)
        assert 0 < shares[0] == 1 / TuneSettings(n_trials=5).n_steps
        assert shares[-1] == 1
        assert len(shares) == len(steps) + 1

    def test_progress_on_stderr(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = saved(tmp_path, GAINING)
        tune(path, data(40), eps=EPS, n_trials=3)
        assert capsys.readouterr().err == ""
        tune(path, data(40), eps=EPS, n_trials=3, progress=True)
        captured = capsys.readouterr()
        assert captured.err.startswith(f"tuning {path}: at most {TuneSettings(n_trials=3).n_steps} steps\n")
        assert captured.err.endswith("100%\n")
        assert captured.out == ""


def test_a_gain_whose_interval_includes_0_is_not_recommended(tmp_path: Path) -> None:
    shown = tunings.tuning(saved(tmp_path, GAINING))
    assert shown.gain_shown
    assert shown.chosen is shown.proposed
    n_fooled = int((~shown.original.withstood).sum())
    one_more = shown.original.withstood.copy()
    one_more[len(one_more) - n_fooled] = True
    doubtful = replace(shown, proposed=replace(shown.proposed, withstood=one_more))
    assert doubtful.gain.value > 0
    assert not doubtful.gain_shown
    assert doubtful.chosen is doubtful.original
