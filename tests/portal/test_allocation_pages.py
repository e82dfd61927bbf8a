"""Pools of shared cost on their pages: made after a preview, changed, moved, ended, and read in any month."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.reports.models_allocation import AllocationPool
from apps.reports.pool_terms import PoolTerms
from apps.reports.pools import create_pool
from apps.teams.services import create_team
from apps.usage import sql
from apps.usage.models import OpenMonth
from tests.portal.conftest import HOSTILE_NAME, make_shop
from tests.portal.reading import THIN, Page, attribute, find, get, text_of
from tests.portal.shop import HUGE, NUL, amounts_in, as_200, finance, member, named, shop, stored, text, viewer
from tests.world import make_event

__all__ = ["finance", "shop", "viewer"]  # fixtures

MONTH = datetime.now(UTC).date().replace(day=1)
LAST, NEXT = month_before(MONTH), next_month(MONTH)
FORM = {
    "name": "Gateway",
    "source": "amount",
    "amount_usd": "100",
    "method": "usage",
    "driver": "events",
    "from_month": f"{MONTH:%Y-%m}",
}


@pytest.fixture(autouse=True)
def teams(shop):
    create_team(org=shop.org, slug="legal")
    shop.api.send(*(make_event(team=team) for team in ("search", "search", "search", "legal")))


def pool(shop, name="Gateway", **fields):
    terms = {"source": "amount", "method": "even", "amount_usd": "100", **fields}
    from_month = terms.pop("from_month", MONTH)
    return create_pool(org=shop.org, terms=PoolTerms(name, **terms), from_month=from_month, actor="tests")


def close_until(shop, month):
    with tenant(shop.org):
        sql.open_month(shop.org.pk)
        OpenMonth.objects.for_org(shop.org).update(first_open_month=month)


def rows_of(page):
    """Of every table, the cells as text."""
    return [[text_of(cell) for cell in cells] for cells in page.rows()]


def said(response):
    """The error of a form, and the fields that it marks."""
    assert response.status_code == 400, response.content
    page = Page(as_200(response))
    (alert,) = page.find("p", role="alert")
    wrong = [
        name
        for field in page.find("div")
        if "wrong" in (attribute(field, "class") or "").split()
        for tag in ("input", "select")
        for one in find(field, tag)
        if (name := attribute(one, "name"))
    ]
    return text_of(alert), wrong


# --- the list ---


def test_a_pool_says_what_is_shared_by_what_and_who_bears_it(shop, viewer):
    pool(shop, method="usage", driver="tokens")
    page = get(viewer, shop.url("allocations"))
    assert "100.00 USD a month, by tokens" in page.text
    assert f"since {MONTH:%B %Y}" in page.text
    (search, legal) = page.rows()
    assert [text_of(cell) for cell in search[:3]] == ["search", f"tokens 3{THIN}300 of 4{THIN}400", f"75.0{THIN}%"]
    assert amounts_in(search[3]) == [75]
    assert amounts_in(legal[3]) == [25]
    assert "Together 100.00 USD" in page.text
    assert not list(page.find("form", action=shop.url("allocations/1/end")))


def test_a_viewer_may_read_and_change_nothing(shop, viewer):
    one = pool(shop)
    assert "New pool" not in get(viewer, shop.url("allocations")).text
    for path in ("allocations/new", f"allocations/{one.pk}", f"allocations/{one.pk}/end"):
        assert viewer.post(shop.url(path), FORM).status_code == 403
    assert "Owners, admins and finance make them" in get(viewer, shop.url(f"allocations?month={LAST:%Y-%m}")).text
    assert member(shop, Role.LEAD, teams=["search"]).get(shop.url("allocations")).status_code == 403


def test_what_is_taken_from_a_statement_is_said(shop, finance):
    pool(shop, source="team", team="legal", amount_usd="", method="direct", to_team="search")
    page = get(finance, shop.url("allocations"))
    assert "Everything on the statement of legal, all to search" in page.text
    assert "taken from the statement of legal" in page.text


def test_many_bearers_are_cut_and_the_rest_is_summed(shop, finance):
    shares = {f"t{number}": "4" for number in range(25)}
    for team in shares:
        create_team(org=shop.org, slug=team)
    pool(shop, method="fixed", percents=shares)
    page = get(finance, shop.url("allocations"))
    assert len(page.rows()) == 12
    assert "The 12 largest of 25 parts; the others come to 52.00 USD" in page.text


def test_a_closed_month_is_only_read(shop, finance):
    pool(shop, from_month=LAST)
    close_until(shop, MONTH)
    page = get(finance, shop.url(f"allocations?month={LAST:%Y-%m}"))
    assert "is closed: what was shared in it stays" in page.text
    assert "New pool" not in page.text
    assert "End…" not in page.text
    assert "End…" in get(finance, shop.url("allocations")).text


def test_a_month_that_is_none_is_this_one(shop, finance):
    pool(shop)
    for month in ("", "2026-13", "x" * 500, "%00"):
        assert "Gateway" in get(finance, shop.url(f"allocations?month={month}")).text


def test_the_list_asks_as_often_for_many_pools_as_for_few(shop, finance):
    counted = []
    for numbers in (range(2), range(2, 40)):
        for number in numbers:
            pool(shop, name=f"pool {number}", method="usage", driver="runs")
        with CaptureQueriesContext(connection) as queries:
            get(finance, shop.url("allocations"))
        counted.append(len(queries))
    assert counted[0] == counted[1]


# --- the form ---


def test_a_pool_is_looked_at_then_made(shop, finance):
    form = get(finance, shop.url("allocations/new"))
    assert "Make the pool" not in form.text
    looked = Page(as_200(finance.post(shop.url("allocations/new"), {**FORM, "act": "preview"})))
    assert "Who would bear it in" in looked.text
    by_team = {row[0]: row[1:] for row in rows_of(looked) if len(row) == 4}
    assert by_team["search"][2] == "+ 75.00"
    assert by_team["legal"][2] == "+ 25.00"
    assert "All together" in looked.text
    assert stored(shop, AllocationPool) == []
    assert "Make the pool" in looked.text
    made = finance.post(shop.url("allocations/new"), {**FORM, "until_month": f"{NEXT:%Y-%m}"})
    assert (made.status_code, made["Location"]) == (302, shop.url(f"allocations?month={MONTH:%Y-%m}"))
    (one,) = stored(shop, AllocationPool)
    assert (one.name, one.amount_usd, one.driver, one.until_month) == ("Gateway", 100, "events", NEXT)


def test_fields_of_what_was_not_chosen_do_not_count(shop, finance):
    """As without styles, where all are in sight."""
    other = {"team": "legal", "contract": "7", "to_team": "search", "base": "direct_usage", "capacity": "9",
             "share_team.1": "legal", "share_percent.1": "100"}  # fmt: skip
    assert finance.post(shop.url("allocations/new"), {**FORM, **other}).status_code == 302


def test_percentages_come_with_their_teams_and_are_kept(shop, finance):
    shares = {"share_team.1": "search", "share_percent.1": "62.5 %", "share_team.4": "legal", "share_percent.4": "37.5"}
    assert finance.post(shop.url("allocations/new"), {**FORM, "method": "fixed", **shares}).status_code == 302
    (one,) = stored(shop, AllocationPool)
    assert one.percents == {"legal": "37.5", "search": "62.5"}
    edit = get(finance, shop.url(f"allocations/{one.pk}"))
    assert attribute(named(edit, "share_team.1")[0], "value") == "legal"
    assert attribute(named(edit, "share_percent.2")[0], "value") == "62.5"
    assert named(edit, "share_team.6")


def test_a_pool_is_changed_from_a_month_on(shop, finance):
    one = pool(shop, from_month=LAST)
    edit = get(finance, shop.url(f"allocations/{one.pk}?month={MONTH:%Y-%m}"))
    assert attribute(named(edit, "amount_usd")[0], "value") == "100"
    assert attribute(named(edit, "from_month")[0], "value") == f"{MONTH:%Y-%m}"
    looked = Page(as_200(finance.post(shop.url(f"allocations/{one.pk}"), {**FORM, "act": "preview"})))
    assert "All together" in looked.text
    changed = finance.post(shop.url(f"allocations/{one.pk}"), {**FORM, "amount_usd": "7", "order": "3"})
    assert changed.status_code == 302
    old, new = sorted(stored(shop, AllocationPool), key=lambda row: row.pk)
    assert (old.until_month, new.from_month, new.amount_usd, new.position) == (MONTH, MONTH, 7, 3)
    assert "100.00 USD a month" in get(finance, shop.url(f"allocations?month={LAST:%Y-%m}")).text


def test_a_pool_is_moved_and_ended(shop, finance):
    first, second = pool(shop, name="first"), pool(shop, name="second")
    month = {"month": f"{MONTH:%Y-%m}"}
    assert finance.post(shop.url(f"allocations/{second.pk}/up"), month).status_code == 302
    shown = get(finance, shop.url("allocations")).text
    assert shown.index("second") < shown.index("first")
    ended = finance.post(shop.url(f"allocations/{first.pk}/end"), {"month": f"{NEXT:%Y-%m}", "back": f"{MONTH:%Y-%m}"})
    assert ended.status_code == 400, "it was ended by the move, which put another in its place"
    moved = next(row for row in stored(shop, AllocationPool) if row.replaces_id == first.pk)
    ended = finance.post(shop.url(f"allocations/{moved.pk}/end"), {"month": f"{NEXT:%Y-%m}", "back": f"{MONTH:%Y-%m}"})
    assert ended["Location"] == shop.url(f"allocations?month={MONTH:%Y-%m}")
    assert "first" not in get(finance, shop.url(f"allocations?month={NEXT:%Y-%m}")).text
    assert finance.post(shop.url(f"allocations/{second.pk}/dance"), month).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"name": ""}, "name", "name has 1 to 100"),
        ({"name": NUL}, "name", "name has 1 to 100"),
        ({"amount_usd": ""}, "amount_usd", "needs amount_usd"),
        ({"amount_usd": "1,200"}, "amount_usd", "amount_usd is '1,200'"),
        ({"amount_usd": HUGE}, "amount_usd", "amount_usd is '999"),
        ({"source": "team"}, "team", "needs team"),
        ({"source": "team", "team": "nobody"}, "team", "There is no team 'nobody'"),
        ({"source": "team", "team": NUL}, "team", "There is no team"),
        ({"source": "contract", "contract": "7"}, "contract", "There is no contract 7"),
        ({"source": "contract", "contract": HUGE}, "contract", "There is no contract"),
        ({"source": "contract", "contract": "seven"}, "contract", "There is no contract seven"),
        ({"source": "moon"}, None, "source is 'moon'"),
        ({"method": "dice"}, None, "method is 'dice'"),
        ({"driver": "kilowatts"}, "driver", "driver is 'kilowatts'"),
        ({"method": "direct"}, "to_team", "needs to_team"),
        ({"method": "fixed"}, "share_team.1", "needs percents"),
        ({"method": "fixed", "share_team.1": "search", "share_percent.1": "99"}, "share_percent.1", "add up to 99"),
        ({"method": "fixed", "share_team.1": "search", "share_percent.1": "x"}, "share_percent.1", "'search' is 'x'"),
        (
            {"method": "fixed", "share_team.1": "search", "share_percent.1": "50", "share_team.2": "search"},
            "share_team.2",
            "two percentages",
        ),
        ({"order": "many"}, "order", "order is many"),
        ({"order": "0"}, "order", "order is 0"),
        ({"from_month": ""}, "from_month", "write it as YYYY-MM"),
        ({"from_month": "2026-13"}, "from_month", "write it as YYYY-MM"),
    ],
)
@pytest.mark.parametrize("act", ["", "preview"])
def test_a_wrong_pool_is_said_kept_and_not_stored(shop, finance, wrong, field, words, act):
    response = finance.post(shop.url("allocations/new"), {**FORM, "base": "direct_usage", **wrong, "act": act})
    alert, marked = said(response)
    assert words in alert
    if field is not None:
        assert field in marked
    page = Page(response)
    if "name" not in wrong:
        assert attribute(named(page, "name")[0], "value") == "Gateway"
    assert stored(shop, AllocationPool) == []


def test_an_until_before_the_beginning_is_said(shop, finance):
    until = {"until_month": FORM["from_month"]}
    assert said(finance.post(shop.url("allocations/new"), {**FORM, **until}))[1] == ["until_month"]


def test_a_closed_month_is_said_by_its_field(shop, finance):
    close_until(shop, MONTH)
    alert, marked = said(finance.post(shop.url("allocations/new"), {**FORM, "from_month": f"{LAST:%Y-%m}"}))
    assert "is closed" in alert
    assert marked == ["from_month"]


def test_a_name_of_any_kind_is_only_text(shop, finance):
    assert finance.post(shop.url("allocations/new"), {**FORM, "name": HOSTILE_NAME}).status_code == 302
    for path in ("allocations", f"allocations/{stored(shop, AllocationPool)[0].pk}"):
        assert "<script>alert" not in text(finance.get(shop.url(path)))


def test_another_organization_has_no_such_pool(shop, finance):
    other = make_shop()
    one = pool(other)
    month = {"month": f"{MONTH:%Y-%m}"}
    assert finance.get(shop.url(f"allocations/{one.pk}")).status_code == 404
    assert finance.post(shop.url(f"allocations/{one.pk}"), FORM).status_code == 404
    assert finance.post(shop.url(f"allocations/{one.pk}/end"), month).status_code == 404
