"""Who is told of a refusal: people, once, of one that a caller was told of too."""

from apps.budgets.models import Crossing
from apps.core.tenancy import tenant
from tests.api.test_decisions import age, allowed, api, budget, decide, denied, org

__all__ = ["api", "org"]  # fixtures


def refusing(org):
    """The budgets that people are told of."""
    with tenant(org):
        return [row.budget_id for row in Crossing.objects.for_org(org).filter(kind="refused")]


def test_each_full_budget_is_told_of_once(org, api):
    small, smaller, _ = budget(org, "1"), budget(org, "0.5"), budget(org, "100")
    for _ in range(3):
        answer = decide(api, estimate_usd="2").json()
        assert [reason["budget_id"] for reason in answer["reasons"]] == [small.pk, smaller.pk]
    assert sorted(refusing(org)) == [small.pk, smaller.pk]


def test_holds_that_are_over_refuse_nobody(org, api):
    budget(org, "1")
    age(org, allowed(api, estimate_usd="1"), 601)
    allowed(api, estimate_usd="1")
    assert refusing(org) == []


def test_a_refusal_beside_holds_that_are_over_is_told(org, api):
    one = budget(org, "1")
    age(org, allowed(api, estimate_usd="0.5"), 601)
    denied(api, "budget_exceeded", estimate_usd="1.5")
    assert refusing(org) == [one.pk]


def test_a_call_that_goes_on_with_a_cheaper_model_was_not_refused(org, api):
    budget(org, "0.5", "downgrade", downgrade_to={"provider": "anthropic", "model": "claude-haiku-4-5"})
    budget(org, "1")
    allowed(api, estimate_usd="0.5")
    assert decide(api, input_tokens=100_000, max_output_tokens=20_000).json()["decision"] == "downgrade"
    assert refusing(org) == []
