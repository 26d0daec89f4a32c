"""Attacks on classifiers: one file each, all with the same call."""

from __future__ import annotations

from dataclasses import fields

from onnx_jumprelu.attacks.apgd import APGD, APGDCE, APGDDLR, TargetedAPGD
from onnx_jumprelu.attacks.base import Attack, AttackResult
from onnx_jumprelu.attacks.deepfool import DeepFool
from onnx_jumprelu.attacks.ensemble import AutoAttack
from onnx_jumprelu.attacks.fab import FAB, TargetedFAB
from onnx_jumprelu.attacks.fgsm import FGSM
from onnx_jumprelu.attacks.noise import NoisyPGD
from onnx_jumprelu.attacks.pgd import PGD
from onnx_jumprelu.attacks.probe import Classifier
from onnx_jumprelu.attacks.square import Square
from onnx_jumprelu.attacks.trust_region import TrustRegion
from onnx_jumprelu.errors import OptionError
from onnx_jumprelu.names import NormName

__all__ = [
    "APGD",
    "APGDCE",
    "APGDDLR",
    "ATTACKS",
    "FAB",
    "FGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "Classifier",
    "DeepFool",
    "NoisyPGD",
    "Square",
    "TargetedAPGD",
    "TargetedFAB",
    "TrustRegion",
    "attack_named",
    "settings_of",
]


def __dir__() -> list[str]:
    return __all__


# From the simplest to the whole ensemble: the order in which lists and tables show them.
ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        FGSM,
        PGD,
        NoisyPGD,
        APGDCE,
        APGDDLR,
        TargetedAPGD,
        FAB,
        TargetedFAB,
        Square,
        DeepFool,
        TrustRegion,
        AutoAttack,
    )
}


def settings_of(name: str) -> list[str]:
    """Names of an attack's settings. Raises OptionError where there is no such attack."""
    if name not in ATTACKS:
        raise OptionError(f"attack '{name}' is unknown; choose {', '.join(ATTACKS)}")
    return [field.name for field in fields(ATTACKS[name])]


def attack_named(
    name: str, *, eps: float | None, norm: NormName = "Linf", **settings: float | str | bool | None
) -> Attack:
    """The attack of this name, with these settings; one that is None keeps the attack's default.

    Raises:
        OptionError: no attack has this name, it does not have this setting, or the value is out of range.
    """
    known = settings_of(name)
    given = {setting: value for setting, value in settings.items() if value is not None}
    for setting in given:
        if setting not in known:
            raise OptionError(f"attack {name} has no setting '{setting}'; it has {', '.join(known)}")
    return ATTACKS[name](eps=eps, norm=norm, **given)
