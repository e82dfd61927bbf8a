"""Making, previewing, changing and ending a budget on the pages."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from apps.budgets.models import Budget, Stop
from apps.organizations.selectors import principal_for
from tests.portal.conftest import HOSTILE_NAME, make_shop
from tests.portal.reading import Page, attribute, get, number_of, text_of
from tests.portal.shop import (
    COST,
    FORM,
    HUGE,
    NUL,
    as_200,
    budget,
    finance,
    get_posted,
    named,
    send,
    shop,
    stored,
    text,
    viewer,
)

__all__ = ["finance", "shop", "viewer"]  # fixtures


def test_a_budget_is_made_changed_and_ended(shop, finance):
    send(shop)
    made = finance.post(shop.url("budgets/new"), {**FORM, "tag.0": "tier", "tag_value.0": "*", "rollover": "1"})
    assert made.status_code == 302
    (one,) = stored(shop, Budget)
    assert one.scope == {"tags.tier": "*", "team": "search"}
    assert (one.amount_usd, one.mode, one.thresholds, one.rollover) == (500, "block", [50, 80, 100], True)
    assert "team search" in get(finance, shop.url("budgets")).text
    edit = get(finance, made["Location"] + "/edit")
    assert attribute(named(edit, "amount_usd")[0], "value") == "500"
    assert not list(named(edit, "scope.team"))
    changed = {**FORM, "name": "Search, less", "amount_usd": "20", "mode": "notify", "thresholds": ""}
    assert finance.post(made["Location"] + "/edit", changed).status_code == 302
    (one,) = stored(shop, Budget)
    assert (one.name, one.amount_usd, one.thresholds, one.scope["team"]) == ("Search, less", 20, [], "search")
    assert finance.post(made["Location"] + "/end").status_code == 302
    assert "This budget has ended" in text(finance.get(made["Location"]))
    assert finance.get(made["Location"] + "/edit").status_code == 400
    assert "Search, less" in get(finance, shop.url("budgets")).text


def test_a_budget_for_fixed_days_ends_after_the_last(shop, finance):
    days = {"period": "range", "starts": "2026-11-01", "ends": "2026-11-30"}
    assert finance.post(shop.url("budgets/new"), {**FORM, **days}).status_code == 302
    (one,) = stored(shop, Budget)
    assert (one.starts_at, one.ends_at) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"name": ""}, "name", "name has 1 to 100"),
        ({"name": NUL}, "name", "name has 1 to 100"),
        ({"name": "x" * 101}, "name", "name has 1 to 100"),
        ({"amount_usd": "ten"}, "amount_usd", "amount_usd is 'ten'"),
        ({"amount_usd": HUGE}, "amount_usd", "amount_usd is '999"),
        ({"amount_usd": "-1"}, "amount_usd", "amount_usd is '-1'"),
        ({"amount_usd": "NaN"}, "amount_usd", "amount_usd is 'NaN'"),
        ({"amount_usd": NUL}, "amount_usd", "amount_usd is "),
        ({"scope.team": "nobody"}, "scope.team", "There is no team 'nobody'"),
        ({"scope.team": NUL}, "scope.team", "team is 'a"),
        ({"scope.team": "x" * 300}, "scope.team", "team is 'xxx"),
        ({"scope.api_key": "17"}, "scope.api_key", "There is no API key"),
        ({"tag_value.0": "no key"}, None, "is no dimension of a budget"),
        ({"period": "fortnight"}, "period", "period is 'fortnight'"),
        ({"period": "range", "starts": "soon", "ends": "2026-11-30"}, "starts", "'soon' is no day"),
        ({"period": "range", "starts": "2026-11-30", "ends": "2026-11-01"}, "ends", "must come after"),
        ({"mode": "explode"}, None, "mode is 'explode'"),
        ({"mode": "downgrade"}, "to_model", "downgrade_to is"),
        ({"mode": "downgrade", "to_provider": "openai", "to_model": "gpt-none"}, "to_model", "No price is known for"),
        ({"thresholds": "50, many"}, "thresholds", "thresholds are at most 12"),
        ({"thresholds": HUGE}, "thresholds", "thresholds are at most 12"),
        ({"forecast_thresholds": "0"}, "forecast_thresholds", "forecast_thresholds are at most 12"),
    ],
)
@pytest.mark.parametrize("act", ["", "preview"])
def test_a_wrong_budget_is_said_kept_and_not_stored(shop, finance, wrong, field, said, act):
    given = {**FORM, "scope.user": "ann&<b>", "act": act, **wrong}
    response = finance.post(shop.url("budgets/new"), given)
    if act and response.status_code == 200:
        # What a preview does not need to know is said when the budget is made.
        assert set(wrong) & {"name", "mode", "forecast_thresholds", "to_model"}
        return
    assert response.status_code == 400
    page = Page(as_200(response))
    (alert,) = [one for one in page.find("p") if attribute(one, "role") == "alert"]
    assert said in text_of(alert)
    assert attribute(named(page, "scope.user")[0], "value") == "ann&<b>"
    if field is not None and "\0" not in given.get(field, ""):
        assert named(page, field)
    assert stored(shop, Budget) == []


def test_a_key_of_another_organization_is_no_scope_and_no_target(shop, finance):
    key = str(principal_for(make_shop().api.secret, at=timezone.now()).key_id)
    scoped = finance.post(shop.url("budgets/new"), {**FORM, "scope.api_key": key})
    stopped = finance.post(shop.url("stop"), {"kind": "key", "target": key, "reason": "x"})
    assert [scoped.status_code, stopped.status_code] == [400, 400]
    assert f"There is no API key with the id &#x27;{key}&#x27;" in text(scoped)
    assert stored(shop, Budget) == stored(shop, Stop) == []


def test_a_name_is_taken_once(shop, finance):
    budget(shop, name="Search")
    response = finance.post(shop.url("budgets/new"), FORM)
    assert response.status_code == 400
    assert "There is a budget" in text(response)


def test_a_preview_says_what_it_would_have_done_and_stores_nothing(shop, finance):
    for days in (0, 40, 41, 70):
        send(shop, ago=timedelta(days=days), usage={"input_tokens": 1_000_000})
    given = {**FORM, "amount_usd": "4", "act": "preview", "scope.team": "search"}
    page = get_posted(finance, shop.url("budgets/new"), given)
    shown = page.text
    assert "What it would have done" in shown
    spent = [number_of(cells[-1]).value for cells in page.rows()]
    assert sum(spent) == 24
    assert "refused" in shown
    assert attribute(named(page, "amount_usd")[0], "value") == "4"
    assert stored(shop, Budget) == []


@pytest.mark.parametrize(
    "scope",
    [
        {"scope.user": "*"},
        {"scope.team": "*", "scope.model": "claude-*"},
        {"scope.user": "ann", "scope.environment": "prod"},
        {"tag.0": "tier", "tag_value.0": "*"},
        {"tag.0": HOSTILE_NAME[:200], "tag_value.0": "100%"},
        {"scope.workflow": "rag", "scope.user": "a*"},
    ],
)
@pytest.mark.parametrize("period", ["day", "week", "month", "quarter", "year"])
def test_a_preview_finds_what_its_scope_names(shop, finance, scope, period):
    tags = {"tier": "pro", HOSTILE_NAME[:200]: "100%"}
    known = {"user": "ann", "environment": "prod", "project": "answers", "workflow": "rag", "tags": tags}
    for hours in (1, 2):
        send(shop, ago=timedelta(hours=hours), **known)
    given = {"name": "x", "amount_usd": "0.004", "mode": "block", "period": period, "act": "preview", **scope}
    page = get_posted(finance, shop.url("budgets/new"), given)
    assert "The limit would have been reached in" in page.text
    assert sum(number_of(cells[-1]).value for cells in page.rows()) == 2 * COST
