"""What plans say that workflows will spend: kept plan by plan, and only its own organization's."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.usage.planned import ROWS_OF_PLAN_MAX, Planned, planned_spend, set_planned_spend
from tests.api.tenants import make_org

LAUNCH = Planned(
    kind="launch",
    workflow="triage",
    first_day=date(2026, 11, 10),
    low_usd=Decimal(5),
    likely_usd=Decimal(10),
    high_usd=Decimal(20),
)


def said(org, first=date(2026, 11, 1), last=date(2026, 11, 30)):
    with tenant(org):
        return [(row.plan_id, row.kind, row.likely_usd) for row in planned_spend(org, first, last)]


def test_a_plan_says_its_own_lines_anew(org):
    set_planned_spend(org, 1, [LAUNCH, replace(LAUNCH, kind="price", low_usd=Decimal(-3), likely_usd=Decimal(-2))])
    set_planned_spend(org, 2, [LAUNCH])
    assert said(org) == [(1, "launch", 10), (1, "price", -2), (2, "launch", 10)]
    set_planned_spend(org, 1, [replace(LAUNCH, likely_usd=Decimal(11))])
    assert said(org) == [(1, "launch", 11), (2, "launch", 10)]
    set_planned_spend(org, 1, [])
    assert said(org) == [(2, "launch", 10)]


def test_what_another_organization_plans_is_not_seen(org):
    set_planned_spend(org, 1, [LAUNCH])
    assert said(make_org()) == []


@pytest.mark.parametrize(
    ("last_day", "first", "last", "is_within"),
    [
        (None, date(2027, 1, 1), date(2027, 1, 31), True),
        (None, date(2026, 11, 1), date(2026, 11, 9), False),
        (None, date(2026, 11, 1), date(2026, 11, 10), True),
        (date(2026, 11, 12), date(2026, 11, 12), date(2026, 11, 30), True),
        (date(2026, 11, 12), date(2026, 11, 13), date(2026, 11, 30), False),
    ],
)
def test_lines_of_the_days_that_are_asked_for(org, last_day, first, last, is_within):
    set_planned_spend(org, 1, [replace(LAUNCH, last_day=last_day)])
    assert bool(said(org, first, last)) is is_within


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([replace(LAUNCH, kind="wish")], "planned_kind_unknown"),
        ([replace(LAUNCH, last_day=date(2026, 11, 9))], "planned_days_reversed"),
        ([replace(LAUNCH, low_usd=Decimal(11))], "planned_amounts_invalid"),
        ([replace(LAUNCH, low_usd=Decimal(-1))], "planned_amounts_invalid"),
        ([replace(LAUNCH, high_usd=Decimal("NaN"))], "planned_amounts_invalid"),
        ([replace(LAUNCH, high_usd=Decimal("Infinity"))], "planned_amounts_invalid"),
        ([LAUNCH] * (ROWS_OF_PLAN_MAX + 1), "planned_rows_too_many"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(org, rows, code):
    set_planned_spend(org, 1, [LAUNCH])
    with pytest.raises(DomainError) as refused:
        set_planned_spend(org, 1, rows)
    assert refused.value.code == code
    assert said(org) == [(1, "launch", 10)]
