"""Which attacks a verdict runs, and what each of them knows."""

import pytest

from onnx_jumprelu import OptionError
from onnx_jumprelu.attacks import APGDCE, ATTACKS, PGD, NoisyPGD, Square
from onnx_jumprelu.verdict.suite import SETS, Plan, described, planned


@pytest.mark.parametrize(
    ("attacks", "repeated"),
    [
        ("fgsm,square,square", "'square' (or 'square:exact')"),
        ("pgd:exact,pgd", "'pgd' (or 'pgd:exact')"),
        ("pgd:relu, pgd ,pgd:relu", "'pgd:relu'"),
    ],
)
def test_an_attack_is_given_once(attacks: str, repeated: str) -> None:
    with pytest.raises(OptionError) as refused:
        planned(attacks, 0.1, "Linf")
    assert str(refused.value) == f"attacks: {repeated} is given more than once"
    assert [plan.label for plan in planned("pgd:exact,pgd:relu", 0.1, "Linf")] == ["pgd", "pgd (relu)"]


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_each_kind(name: str) -> None:
    kinds = {plan.kind(jump_sites=1) for plan in planned(name, 0.1, "Linf")}
    assert kinds == {"white-box", "adaptive", "black-box"}


@pytest.mark.parametrize("name", SETS)
def test_sets_for_few_classes(name: str) -> None:
    """The targeted ratio of logits needs four classes, the plain one three."""
    four, three, two = ([plan.label for plan in planned(name, 0.1, "Linf", count)] for count in (4, 3, 2))
    assert four == [plan.label for plan in planned(name, 0.1, "Linf")]
    assert "apgd-t (relu)" in four
    assert three == [plan.replace("apgd-t", "apgd-dlr") for plan in four]
    assert two == [plan for plan in four if "apgd-t" not in plan]


def test_attacks_may_be_instances_with_their_surrogates() -> None:
    apgd = APGDCE(eps=0.1, n_iter=7)
    plans = planned(["pgd", "pgd:relu", Square(eps=0.1), (apgd, "smooth"), apgd], 0.1, "Linf")
    assert [plan.label for plan in plans] == ["pgd", "pgd (relu)", "square", "apgd-ce (smooth)", "apgd-ce"]
    assert plans[3].attack is apgd
    # The same attack with other settings is another one.
    assert len(planned([apgd, APGDCE(eps=0.1, n_iter=8)], 0.1, "Linf")) == 2


def test_instances_are_described_with_their_settings() -> None:
    found = described(["pgd:relu", (Square(eps=0.1, n_queries=9), "relu"), Square(eps=0.1)])
    assert found == "pgd:relu,square:relu(n_queries=9, p_init=0.8),square(n_queries=5000, p_init=0.8)"
    assert described("quick") == "quick"


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ([], "give a set"),
        ([PGD(eps=0.2)], "pgd has eps=0.2 and norm=Linf; the verdict needs eps=0.1 and norm=Linf"),
        ([PGD(eps=0.1, norm="L2")], "pgd has eps=0.1 and norm=L2"),
        ([(PGD(eps=0.1), "magic")], "surrogate 'magic' of pgd is unknown"),
        ([3], "3 is not an attack"),
        ([PGD], "is not an attack"),
        ([PGD(eps=0.1), PGD(eps=0.1)], "is given more than once"),
        (["magic"], "'magic' is neither a set"),
    ],
)
def test_what_is_not_an_attack_is_refused(attacks: list[object], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        planned(attacks, 0.1, "Linf")  # type: ignore[arg-type]
    assert message in str(refused.value)


def test_adaptive_only_where_something_was_adapted() -> None:
    smooth = Plan(PGD(eps=0.1), "smooth")
    assert smooth.kind(jump_sites=2, zero_gradients=0.5) == "adaptive"
    assert smooth.kind(jump_sites=0, zero_gradients=0.5) == "white-box"
    assert smooth.kind(jump_sites=2, zero_gradients=1.0) == "white-box"
    assert Plan(PGD(eps=0.1)).kind(jump_sites=2) == "white-box"
    assert Plan(NoisyPGD(eps=0.1)).kind(jump_sites=0) == "adaptive"
    assert Plan(NoisyPGD(eps=0.1)).kind(jump_sites=0, zero_gradients=0.97) == "white-box"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacks_class_says_what_it_knows(name: str) -> None:
    """No list of names elsewhere: an attack with the opposite facts is planned with the opposite kind."""
    attack = ATTACKS[name]
    other = type("Other", (attack,), {"needs_gradients": not attack.needs_gradients, "sees_past_jumps": False})
    assert (Plan(attack(eps=0.1)).kind(0) == "black-box") != (Plan(other(eps=0.1)).kind(0) == "black-box")
