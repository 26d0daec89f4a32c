"""Which attacks a verdict runs: the same ones on every model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Union

from onnx_jumprelu.activation.derivatives import SURROGATES
from onnx_jumprelu.attacks import APGDDLR, ATTACKS, Attack, TargetedAPGD, attack_named
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.gradient.core.losses import LOSSES
from onnx_jumprelu.names import Kind, NormName
from onnx_jumprelu.verdict.findings import EXACT

QUERY = 0.5  # a query takes about this share of the time of a gradient
NEARLY_ALL = 0.95  # an attack with this share of its gradients 0 did not adapt to anything

# A set's name, a list with commas, or names, instances, and pairs of one of these and a surrogate.
Choice = Union[str, Sequence[Union[str, Attack, tuple[Union[str, Attack], str]]]]  # noqa: UP007 - for Python 3.10 too


@dataclass(frozen=True)
class Plan:
    """One planned attack.

    Attributes:
        attack: The attack with its settings.
        surrogate: The derivative at JumpReLU sites that it uses.
    """

    attack: Attack
    surrogate: str = EXACT

    @property
    def label(self) -> str:
        """The attack, and its surrogate unless that is the exact gradient."""
        return self.attack.name if self.surrogate == EXACT else f"{self.attack.name} ({self.surrogate})"

    def kind(self, jump_sites: int, zero_gradients: float | None = None) -> Kind:
        """What the attack knows of a model.

        It is adaptive only where something was adapted: the surrogate had a site to act on, or the attack sees past
        jumps by itself, and its gradients were not nearly all 0.

        Args:
            jump_sites: Number of the model's JumpReLU sites whose gradient a surrogate replaces.
            zero_gradients: Share of the attack's gradients that were 0, where that is known.
        """
        if not self.attack.needs_gradients:
            return "black-box"
        adapted = self.attack.sees_past_jumps or (self.surrogate != EXACT and jump_sites > 0)
        return "adaptive" if adapted and (zero_gradients or 0.0) < NEARLY_ALL else "white-box"

    def most_gradients(self, n_classes: int) -> float:
        """The most gradients per example that the attack takes, or as many queries as take as long."""
        return self.attack.n_steps(n_classes) * (1.0 if self.attack.needs_gradients else QUERY)


@dataclass(frozen=True)
class Entry:
    """One line of a set: an attack's name, its surrogate, and the settings that are not its defaults."""

    name: str
    surrogate: str = EXACT
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def entry(name: str, surrogate: str = EXACT, **settings: float) -> Entry:
    """An entry of a set. Settings that are not given are the attack's defaults."""
    return Entry(name, surrogate, MappingProxyType(settings))


SETS: dict[str, tuple[Entry, ...]] = {
    "standard": (
        entry("fgsm"),
        entry("pgd"),
        entry("apgd-ce"),
        entry("apgd-t"),
        entry("fab-t"),
        entry("apgd-ce", "relu"),
        entry("apgd-t", "relu"),
        entry("fab-t", "relu"),
        entry("apgd-ce", "smooth", n_restarts=3),
        entry("apgd-t", "smooth"),
        entry("pgd-noise", n_iter=20, n_samples=8),
        entry("square"),
    ),
    "quick": (
        entry("fgsm"),
        entry("pgd", n_iter=20),
        entry("apgd-ce", n_iter=40),
        entry("apgd-ce", "relu", n_iter=40),
        entry("apgd-ce", "smooth", n_iter=60),
        entry("apgd-t", "relu", n_iter=40, n_target_classes=3),
        entry("square", n_queries=1000),
    ),
}


def planned(choice: Choice, eps: float, norm: NormName, n_classes: int | None = None) -> list[Plan]:
    """The attacks of a set or of a list.

    Args:
        choice: The name of a set; a list such as `pgd,apgd-ce:relu,square`; or a sequence of names (`pgd`,
            `apgd-ce:relu`), attacks, and pairs of an attack and a surrogate.
        eps: Largest perturbation, in data space.
        norm: Norm of the perturbations.
        n_classes: Number of classes of the model, None for enough of them. A set leaves out attacks whose loss needs
            more classes.

    Raises:
        OptionError: there is no such set, attack or surrogate, an attack is given twice, or an attack has another eps
            or norm.
    """
    if isinstance(choice, str) and choice in SETS:
        entries = [suited for line in SETS[choice] for suited in _suited(line, n_classes)]
        return [_plan(line, eps, norm) for line in entries]
    items: Iterable[object] = choice.split(",") if isinstance(choice, str) else choice
    plans = [_given(item, eps, norm) for item in items]
    if not plans:
        raise OptionError(f"attacks: give a set ({', '.join(SETS)}) or at least one attack ({', '.join(ATTACKS)})")
    _check_each_once(plans)
    return plans


def described(choice: Choice) -> str:
    """The choice as text, such as `standard` or `pgd,apgd-ce:relu`, with the settings of attacks given as instances."""
    if isinstance(choice, str):
        return choice
    items = map(_as_text, choice)
    return ",".join(item if isinstance(item, str) else _described(*_pair(item)) for item in items)


def _described(attack: Attack, surrogate: str) -> str:
    settings = ", ".join(f"{name}={value!r}" for name, value in attack.settings.items())
    return f"{attack.name}{'' if surrogate == EXACT else f':{surrogate}'}({settings})"


def _plan(line: Entry, eps: float, norm: NormName) -> Plan:
    return Plan(attack_named(line.name, eps=eps, norm=norm, **line.settings), line.surrogate)


def _suited(line: Entry, n_classes: int | None) -> list[Entry]:
    """An attack of a set in the form that the number of classes allows: its ratio of logits needs some."""
    if line.name != TargetedAPGD.name or n_classes is None or n_classes >= LOSSES[TargetedAPGD.loss].n_classes:
        return [line]
    if n_classes < LOSSES[APGDDLR.loss].n_classes:
        return []  # with two classes, cross-entropy and margin rise together
    settings = {name: value for name, value in line.settings.items() if name != "n_target_classes"}
    return [entry(APGDDLR.name, line.surrogate, **settings)]


def _as_text(item: object) -> object:
    """A pair of names such as `("pgd", "relu")` as `pgd:relu`; anything else as it is."""
    if not isinstance(item, tuple) or len(item) != len(("name", "surrogate")):
        return item
    return ":".join(item) if all(isinstance(part, str) for part in item) else item


def _given(item: object, eps: float, norm: NormName) -> Plan:
    item = _as_text(item)
    if isinstance(item, str):
        return _plan(_parsed(item.strip()), eps, norm)
    attack, surrogate = _pair(item)
    if surrogate not in SURROGATES:
        raise OptionError(
            f"attacks: surrogate '{surrogate}' of {attack.name} is unknown; choose {', '.join(SURROGATES)}"
        )
    if (attack.eps, attack.norm) != (eps, norm):
        raise OptionError(
            f"attacks: {attack.name} has eps={attack.eps} and norm={attack.norm}; the verdict needs eps={eps:g} and "
            f"norm={norm}"
        )
    return Plan(attack, surrogate)


def _pair(item: object) -> tuple[Attack, str]:
    """An attack given as an instance, alone or with its surrogate."""
    attack, surrogate = item if isinstance(item, tuple) and len(item) == len(("attack", "surrogate")) else (item, EXACT)
    if not isinstance(attack, Attack) or not isinstance(surrogate, str):
        raise OptionError(
            f"attacks: {item!r} is not an attack; give names, attacks, or pairs of an attack and a surrogate"
        )
    return attack, surrogate


def _parsed(item: str) -> Entry:
    name, _, surrogate = item.partition(":")
    if name not in ATTACKS:
        raise OptionError(
            f"attacks: '{name}' is neither a set ({', '.join(SETS)}, paper) nor an attack ({', '.join(ATTACKS)})"
        )
    if surrogate and surrogate not in SURROGATES:
        raise OptionError(f"attacks: surrogate '{surrogate}' of {name} is unknown; choose {', '.join(SURROGATES)}")
    return Entry(name, surrogate or EXACT)


def _check_each_once(plans: Sequence[Plan]) -> None:
    """Refuse an attack that is given twice: it would be one more run with another seed, not another attack."""
    for number, plan in enumerate(plans):
        if plan in plans[:number]:
            name = plan.attack.name
            exact = plan.surrogate == EXACT
            shown = f"'{name}' (or '{name}:{EXACT}')" if exact else f"'{name}:{plan.surrogate}'"
            raise OptionError(f"attacks: {shown} is given more than once")
