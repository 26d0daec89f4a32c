"""Every attack tells how far it is: in its own steps, never backwards, and all of it at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from onnx_jumprelu.arrays import Floats, Labels
from onnx_jumprelu.attacks import ATTACKS, base
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.probe import Classifier, Probe
from onnx_jumprelu.gradient.core.losses import LossLike
from onnx_jumprelu.paper.attacks import PAPER_ATTACKS
from tests.attacks.classifiers import Linear, WithGradient, linear_problem
from tests.attacks.test_attacks import built

Built = Callable[[float], Attack]
# More runs of the model than these without a word, and a bar stands still: no step needs more, nor does what comes
# before the first one and after the last.
MOST_SILENT_RUNS = 6


def built_as_in_the_paper(name: str, eps: float) -> Attack:
    return replace(PAPER_ATTACKS[name](), eps=eps)


EVERY_ATTACK: dict[str, Built] = {
    **{name: partial(built, name, norm="Linf") for name in ATTACKS},
    **{f"paper-{name}": partial(built_as_in_the_paper, name) for name in PAPER_ATTACKS},
}
every_attack = pytest.mark.parametrize("name", EVERY_ATTACK)


@dataclass
class Log:
    """Shares that were told, and between them the runs of the model."""

    shares: list[float] = field(default_factory=list)
    silent: list[int] = field(default_factory=lambda: [0])

    def tell(self, share: float) -> None:
        self.shares.append(share)
        self.silent.append(0)

    def ran(self) -> None:
        self.silent[-1] += 1


@dataclass
class Logged:
    """A classifier whose runs are counted."""

    model: Linear | WithGradient
    log: Log

    @property
    def n_classes(self) -> int:
        return self.model.n_classes

    @property
    def bounds(self) -> tuple[float, float]:
        return self.model.bounds

    def logits(self, x: Floats) -> Floats:
        self.log.ran()
        return self.model.logits(x)

    def evaluate(
        self, x: Floats, labels: Labels, loss: LossLike = "ce", targets: Labels | None = None
    ) -> tuple[Floats, Floats, Floats]:
        self.log.ran()
        return self.model.evaluate(x, labels, loss, targets)

    def jacobian(self, x: Floats, classes: Labels | None = None) -> tuple[Floats, Floats]:
        self.log.ran()
        return self.model.jacobian(x, classes)


def attacked(attack: Attack, classifier: Classifier, x: Floats, labels: Labels, **given: Any) -> AttackResult:  # noqa: ANN401
    return attack(classifier, x, labels, rng=np.random.default_rng(0), **given)


def check_every_step(build: Built) -> None:
    """Where nothing falls, every step is made on all examples, and there are as many as announced."""
    model, x, labels = linear_problem()
    log, steps, attack = Log(), list[int](), build(1e-6)
    # Without gradients, attacks that know no budget get nowhere either. A probe hears the steps themselves.
    blind = Probe(Logged(WithGradient(model, 0.0), log), on_step=steps.append)
    result = attacked(attack, blind, x, labels, on_progress=log.tell)
    assert not result.success.any()
    n_steps = attack.n_steps(model.n_classes)
    assert steps == n_steps * [len(x)]
    assert log.shares == [step / n_steps for step in range(n_steps + 1)]
    assert max(log.silent) <= MOST_SILENT_RUNS


def check_falls(build: Built) -> list[float]:
    """Where examples fall in between, the share runs ahead, and never back. Returns the shares."""
    model, x, labels = linear_problem()
    log, attack = Log(), build(float(np.median(model.distances(x, labels, "Linf"))))
    result = attacked(attack, Logged(model, log), x, labels, on_progress=log.tell)
    assert result.success.any()
    assert log.shares[0] == 0
    assert log.shares[-1] == 1
    assert (np.diff(log.shares) > 0).all()
    assert max(log.silent) <= MOST_SILENT_RUNS
    return log.shares


@every_attack
def test_a_share_for_every_step(name: str) -> None:
    check_every_step(EVERY_ATTACK[name])


@every_attack
def test_examples_that_fall_bring_the_end_nearer(name: str) -> None:
    shares, n_steps = check_falls(EVERY_ATTACK[name]), EVERY_ATTACK[name](0.1).n_steps(5)
    if n_steps > 1:
        assert max(np.diff(shares)) > 1.01 / n_steps


@every_attack
def test_who_looks_changes_nothing(name: str) -> None:
    model, x, labels = linear_problem()
    attack = EVERY_ATTACK[name](float(np.median(model.distances(x, labels, "Linf"))))
    alone = attacked(attack, model, x, labels)
    watched = attacked(attack, model, x, labels, on_progress=lambda _: None)
    np.testing.assert_array_equal(watched.x_adv, alone.x_adv)
    assert watched.n_queries == alone.n_queries


@dataclass(frozen=True, kw_only=True)
class Silent(Attack):
    """Asks the model again and again, and tells nothing of it."""

    name = "silent"

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del rng
        for _ in range(2 * MOST_SILENT_RUNS):
            model.evaluate(x, labels)
        return x


@dataclass(frozen=True, kw_only=True)
class Overdue(Silent):
    """Makes more steps than it announces."""

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del rng
        for _ in range(20):
            model.evaluate(x, labels)
            model.step(len(x))
        return x

    def n_steps(self, n_classes: int) -> int:
        del n_classes
        return 10


@dataclass(frozen=True, kw_only=True)
class Hasty(Overdue):
    """Announces more steps than it makes."""

    def n_steps(self, n_classes: int) -> int:
        del n_classes
        return 30


@pytest.mark.parametrize("planted", [Silent, Overdue, Hasty])
def test_the_check_finds_attacks_that_tell_nothing_or_miscount(planted: type[Attack]) -> None:
    with pytest.raises(AssertionError):
        check_every_step(lambda eps: planted(eps=eps))


@pytest.mark.parametrize("planted", [Silent, Overdue, Hasty])
def test_even_these_begin_at_0_and_end_at_1(planted: type[Attack]) -> None:
    model, x, labels = linear_problem()
    log = Log()
    attacked(planted(eps=0.1), model, x, labels, on_progress=log.tell)
    assert (log.shares[0], log.shares[-1]) == (0, 1)
    assert (np.diff(log.shares) > 0).all()


@dataclass(frozen=True, kw_only=True)
class Falling(Attack):
    """Three steps: on all, on half, on a quarter of the examples."""

    name = "falling"

    def run(self, model: Probe, x: Floats, labels: Labels, rng: np.random.Generator) -> Floats:
        del labels, rng
        for part in (1, 2, 4):
            model.step(len(x) // part)
        return x

    def n_steps(self, n_classes: int) -> int:
        del n_classes
        return 4


def test_the_share_is_work_done_over_work_done_and_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, labels = linear_problem(n=16)
    log = Log()
    attacked(Falling(eps=0.1), model, x, labels, on_progress=log.tell)
    assert log.shares == [0, 16 / (16 + 3 * 16), 24 / (24 + 2 * 8), 28 / (28 + 4), 1]

    # In two pieces, each counts as much as it has examples.
    monkeypatch.setattr(base, "LARGEST_PIECE", 12)
    log = Log()
    attacked(Falling(eps=0.1), model, x, labels, on_progress=log.tell)
    piece = [0.25, 0.6, 0.875, 1]
    assert log.shares == pytest.approx([0, *(0.75 * share for share in piece), *(0.75 + 0.25 * at for at in piece)])


def test_nothing_to_attack_is_done_at_once() -> None:
    model, x, labels = linear_problem()
    log = Log()
    attacked(Falling(eps=0.1), model, x, (labels + 1) % 5, on_progress=log.tell)
    assert log.shares == [0, 1]
