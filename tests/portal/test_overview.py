"""The home of each kind of person: which cards it has, the forecast and what changed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template.loader import get_template
from django.utils import timezone

from apps.budgets.forecast import run_rate
from apps.organizations.permissions import ROLE_LABELS, Role
from apps.portal.homes import HOMES
from apps.portal.views.overview import CARDS
from tests.portal.conftest import client_of, make_shop
from tests.portal.homes import (
    OTHER,
    at,
    card,
    cards,
    lead,
    middle_of_a_month,
    other_team,
    owner,
    sentences,
)
from tests.portal.reading import THIN, attribute, find, get, text_of
from tests.portal.shop import COST, budget, finance, member, send, shop, viewer
from tests.world import make_event

__all__ = ["finance", "lead", "other_team", "owner", "shop", "viewer"]  # fixtures


# --- who sees what -----------------------------------------------------------------------------------


def test_every_role_has_a_home_of_cards_that_there_are():
    assert set(HOMES) == set(Role) == set(ROLE_LABELS)
    shown = {name for rows in HOMES.values() for row in rows for name in row}
    assert shown == set(CARDS)
    for name in shown:
        get_template(f"portal/overview/{name}.html")


SPEND = ["Workflows", "Models"]
FIRST = {Role.FINANCE: ["before it is charged back"], Role.ENGINEER: ["Your workflows"]}


@pytest.mark.parametrize("role", list(Role))
def test_a_home_begins_with_what_the_role_is_there_for(shop, role):
    send(shop)
    teams = {"teams": ["search"]} if role == Role.LEAD else {}
    found = cards(get(member(shop, role, **teams), shop.url()))
    first = FIRST.get(role, [])
    assert all(words in heading for words, heading in zip(first, found, strict=False))
    rest = found[len(first) :]
    assert "by team" in rest[0]
    assert rest[1:] == (SPEND if role == Role.LEAD else ["Teams", *SPEND])


@pytest.mark.parametrize("role", list(Role))
def test_before_the_first_event_there_is_the_way_to_it_and_nothing_else(shop, role):
    budget(shop)
    teams = {"teams": ["search"]} if role == Role.LEAD else {}
    page = get(member(shop, role, **teams), shop.url())
    if role == Role.LEAD:
        assert "No events in" in page.text
    else:
        assert cards(page)[0] == "Spend appears here with the first usage event"
        assert "Budgets at risk" not in page.text
        assert "Your workflows" not in page.text


def test_a_range_without_events_keeps_what_is_of_no_range(shop, owner):
    send(shop)
    budget(shop, name="Search", scope={"team": "search"})
    page = get(owner, shop.url("?from=2020-01-01&to=2020-01-02"))
    assert cards(page) == ["No events in 1 to 2 Jan 2020", "Budgets at risk"]


def test_a_stranger_and_a_member_elsewhere_see_nothing(shop):
    elsewhere = make_shop()
    send(shop)
    for person in (shop.charlie, elsewhere.alice):
        assert client_of(person).get(shop.url()).status_code == 404


# --- forecast ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.OWNER, Role.LEAD])
def test_the_month_is_held_against_its_forecast_and_its_budget(shop, owner, lead, monkeypatch, role):
    now = middle_of_a_month()
    scope = {} if role == Role.OWNER else {"team": "search"}
    one = budget(shop, name="The limit", scope=scope, amount_usd=2 * COST)
    budget(shop, name="Wider", scope=scope, amount_usd=Decimal(9))
    budget(shop, name="Another", scope={"workflow": "rag"}, amount_usd=COST / 2)
    budget(shop, name="Of a week", scope=scope, amount_usd=COST / 2, period="week")
    event = make_event(occurred_at=(now - timedelta(hours=3)).isoformat(), team="search")
    assert shop.api.send(event)["accepted"] == 1
    at(monkeypatch, now)
    page = get(owner if role == Role.OWNER else lead, shop.url())
    start = now.replace(day=1, hour=0)
    forecast = run_rate(COST, start, (start + timedelta(days=32)).replace(day=1), now)
    figure = text_of(next(page.find("dl", **{"class": "figures"})))
    assert "Forecast to" in figure
    assert f"{forecast.normalize():f}"[:6] in figure
    assert "of The limit" in " ".join(figure.split())
    assert (shop.url(f"budgets/{one.pk}") in page.html) is (role == Role.OWNER)
    (chart,) = page.find("script", id="spend-over-time")
    assert all(words in text_of(chart) for words in ("forecast", "The limit"))
    assert "added up" in cards(page)[0]


def test_a_month_that_has_just_begun_has_no_forecast_yet(shop, owner, monkeypatch):
    now = middle_of_a_month().replace(day=1, hour=6)
    if datetime.now(UTC) - now > timedelta(days=34):
        now = datetime.now(UTC).replace(day=1, hour=6)
    assert shop.api.send(make_event(occurred_at=(now - timedelta(hours=3)).isoformat()))["accepted"] == 1
    at(monkeypatch, now)
    page = get(owner, shop.url())
    assert "Too little of the month has passed" in page.text
    assert '"rate"' not in page.html


@pytest.mark.parametrize("asked", ["range=7d", "range=30d", "range=24h", "from=2026-01-01&to=2026-12-31"])
def test_any_other_range_has_none(shop, owner, asked):
    send(shop)
    page = get(owner, shop.url(f"?{asked}"))
    assert "Forecast to" not in page.text
    assert "by team per" in cards(page)[0]


# --- what changed ------------------------------------------------------------------------------------


def test_what_changed_is_said_in_dollars_and_opens_the_explorer(shop, owner):
    for ago, times in ((timedelta(0), 3), (timedelta(days=8), 1)):
        for _ in range(times):
            send(shop, ago=ago, workflow="rag")
    page = get(owner, shop.url("?range=7d"))
    said = " ".join(" ".join(sentences(page)).split())
    assert "Team search cost $0.009000 more (+200" in said
    assert "3 times as many calls, each at the same cost." in said
    links = [attribute(link, "href").replace("&amp;", "&") for link in find(card(page, "changes"), "a")]
    asked = [parse_qs(urlsplit(link).query) for link in links]
    assert all(one["compare"] == ["previous"] and one["range"] == ["7d"] for one in asked)
    assert [one.get("team") for one in asked[1:] if "team" in one] == [["search"]]
    for link in links[1:]:
        behind = get(owner, link).text.replace(THIN, " ")
        assert "+$0.009000 (+200 %)" in behind


def test_without_a_period_before_nothing_is_said_of_changes(shop, owner):
    send(shop)
    page = get(owner, shop.url("?range=7d"))
    assert "What changed" not in page.text
    assert "nothing to compare with" in page.text


def test_a_period_that_is_like_the_one_before_says_so(shop, owner):
    for ago in (timedelta(0), timedelta(days=7, minutes=5)):
        send(shop, ago=ago)
    page = get(owner, shop.url("?range=7d"))
    assert "changed by 1" in text_of(card(page, "changes"))


def test_where_the_period_before_is_deleted_the_rest_is_shown(shop, owner, monkeypatch):
    send(shop)
    monkeypatch.setattr("apps.reports.selectors.sealed_before", lambda org: timezone.now() - timedelta(days=10))
    page = get(owner, shop.url("?range=30d"))
    assert "What changed" not in page.text
    assert "Teams" in cards(page)


def test_a_lead_is_told_of_the_team_alone(shop, lead, owner, other_team):
    for ago, times in ((timedelta(0), 3), (timedelta(days=8), 1)):
        for _ in range(times):
            send(shop, ago=ago, workflow="rag")
            shop.api.send(make_event(team=OTHER, workflow=OTHER, occurred_at=(datetime.now(UTC) - ago).isoformat()))
    page = get(lead, shop.url("?range=7d"))
    assert "Team " not in " ".join(sentences(page))
    assert "cost $0.009000 more" in " ".join(sentences(page))
    assert any(OTHER in said for said in sentences(get(owner, shop.url("?range=7d"))))
