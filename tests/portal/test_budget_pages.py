"""The list of budgets and the page of one: how they stand, what happened, who was told."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from uuid import uuid4

import pytest
from django.utils import timezone

from apps.budgets import outlook_sql
from apps.budgets.ahead import cross_forecasts
from apps.budgets.forecast import run_rate
from apps.budgets.models import Budget, Crossing
from apps.budgets.services import end_budget, report_ungoverned
from apps.core.tenancy import tenant
from apps.organizations.selectors import principal_for
from apps.organizations.services import touch_facts
from apps.teams.services import create_team
from tests.alerts.desk import Desk
from tests.portal.conftest import HOSTILE_NAME
from tests.portal.reading import Page, attribute, find, get, number_of, text_of
from tests.portal.shop import (
    COST,
    FORM,
    amounts_in,
    ask,
    budget,
    finance,
    get_posted,
    hold,
    send,
    shop,
    stored,
    viewer,
)
from tests.world import make_event

__all__ = ["finance", "shop", "viewer"]  # fixtures


def test_an_empty_list_offers_the_first_budget_to_who_may_make_it(shop, viewer, finance):
    page = get(viewer, shop.url("budgets"))
    assert "budgets/new" not in page.html
    assert "budgets/new" in get(finance, shop.url("budgets")).html


@pytest.mark.parametrize(
    ("mode", "events", "held", "state"),
    [
        ("notify", 1, "0", "fine"),
        ("notify", 2, "0", "at risk"),
        ("notify", 3, "0", "over"),
        ("downgrade", 3, "0", "over"),
        ("block", 1, "0.004", "at risk"),
        ("block", 2, "0.001", "refusing"),
    ],
)
def test_the_list_says_how_a_budget_stands(shop, viewer, mode, events, held, state):
    downgrade = {"downgrade_to": {"provider": "openai", "model": "gpt-5-mini"}} if mode == "downgrade" else {}
    budget(
        shop, name="Search", scope={"team": "search"}, period="year", amount_usd=Decimal("0.01"), mode=mode, **downgrade
    )
    for _ in range(events):
        send(shop)
    if held != "0":
        assert hold(shop, held).decision == "allow"
    (cells,) = [cells for cells in get(viewer, shop.url("budgets")).rows() if "Search" in text_of(cells[0])]
    # The run rate of a year can put any spend at risk.
    assert text_of(cells[1]) in ({state, "at risk"} if state == "fine" else {state})
    spent, left = events * COST, Decimal("0.01") - events * COST - Decimal(held)
    assert amounts_in(cells[4]) == [spent]
    assert amounts_in(cells[5]) == [Decimal(held)]
    assert amounts_in(cells[6]) == ([left] if left >= 0 else [0, -left])
    assert amounts_in(cells[8]) == [Decimal("0.01")]
    widths = [attribute(bar, "width") for bar in find(cells[3], "rect")][1:]
    assert (widths[0] != "0.0%", widths[1] != "0.0%") == (True, held != "0")


def around_now(**fields):
    """A period of twenty days, half of which is over, so that its picture is half full."""
    now = timezone.now()
    return {"period": "range", "starts_at": now - timedelta(days=10), "ends_at": now + timedelta(days=10), **fields}


def drawn(page, name):
    """The lines of a row's picture, as points, by class; what stands in for them where nothing is drawn."""
    (cells,) = [cells for cells in page.rows() if name in text_of(cells[0])]
    lines = {
        attribute(line, "class"): [tuple(map(float, point.split(","))) for point in attribute(line, "points").split()]
        for line in find(cells[2], "polyline")
    }
    limits = [float(attribute(line, "y1")) for line in find(cells[2], "line")]
    return lines, limits, text_of(cells[2])


def test_a_row_of_the_list_draws_its_period_held_and_run_rate(shop, viewer):
    one = budget(shop, name="Search", scope={"team": "search"}, **around_now(amount_usd=4 * COST, mode="block"))
    for days in (7, 2):
        send(shop, ago=timedelta(days=days))
    assert hold(shop, str(COST)).decision == "allow"
    lines, limits, words = drawn(get(viewer, shop.url("budgets")), "Search")
    # Half of the limit is spent after half of the period: the run rate ends at the limit, a pixel below the top.
    assert limits == [pytest.approx(1, abs=0.2)]
    heights = list(dict.fromkeys(y for _, y in lines["spent"]))
    assert heights == [47, pytest.approx(35.5, abs=0.1), pytest.approx(24, abs=0.1)]
    assert lines["spent"][0][0] == 0
    assert lines["spent"][-1] == (80, heights[-1])
    assert lines["held"] == [(80, heights[-1]), (80, pytest.approx(12.5, abs=0.1))]
    assert lines["rate"] == [(80, heights[-1]), (160, pytest.approx(1, abs=0.2))]
    assert "0.009000 of 0.01800 USD spent, 0.004500 USD held; 0.01800 USD at the run rate." in words
    day = next(x for x, y in lines["spent"] if y == heights[-1])
    begins = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    assert day == pytest.approx((begins - one.starts_at) / timedelta(days=20) * 160, abs=1)


@pytest.mark.parametrize(
    ("scope", "steps"),
    [
        ({}, 3),
        ({"team": "sea*"}, 2),
        ({"team": "search", "model": "claude-*"}, 2),
        ({"user": "a*"}, 1),
        # Of each, the one with the least left: ann has none of bob's.
        ({"user": "*"}, 1),
        ({"team": "nobody"}, 0),
        ({"tags.tier": "pro"}, None),
        ({"user": "ann", "task_type": "coding"}, None),
    ],
)
def test_a_row_of_the_list_draws_what_its_scope_names(shop, viewer, scope, steps):
    create_team(org=shop.org, slug="nobody")
    budget(shop, name="One", scope=scope, **around_now(amount_usd=Decimal(1)))
    budget(shop, name="Other", scope={"environment": "prod"}, **around_now(amount_usd=Decimal(1)))
    send(shop, ago=timedelta(days=6), user="bob", tags={"tier": "pro"})
    for _ in range(2):
        send(shop, ago=timedelta(days=4), user="ann", task_type="coding", tags={"tier": "pro"})
    other = make_event(occurred_at=(datetime.now(UTC) - timedelta(days=2)).isoformat(), model="claude-sonnet-4-5")
    assert shop.api.send({**other, "team": None, "user": None})["accepted"] == 1
    lines, _, words = drawn(get(viewer, shop.url("budgets")), "One")
    if steps is None:
        assert (lines, "drawn on its page only" in words) == ({}, True)
    else:
        heights = [y for _, y in lines["spent"]]
        assert len(set(heights)) - 1 == steps, lines
        assert heights == sorted(heights, reverse=True)


def test_pictures_are_left_out_where_they_are_too_much(shop, viewer, monkeypatch):
    budget(shop, name="Search", scope={"team": "search"})
    send(shop)
    monkeypatch.setattr(outlook_sql, "ROWS_MAX", 0)
    lines, _, words = drawn(get(viewer, shop.url("budgets")), "Search")
    assert (lines, "drawn on its page only" in words) == ({}, True)


def test_the_page_of_a_budget_draws_what_it_says(shop, viewer):
    one = budget(shop, name="Search", scope={"team": "search"}, amount_usd=Decimal(1), mode="block")
    send(shop)
    assert hold(shop, "0.4").decision == "allow"
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    (data,) = [json.loads(text_of(node)) for node in page.find("script", id="burn-down")]
    bars, held = data["datasets"]["bars"], data["datasets"]["held"]
    assert Decimal(bars[-1]["high"]) == COST
    assert (Decimal(held[0]["low"]), Decimal(held[0]["high"])) == (COST, COST + Decimal("0.4"))
    assert Decimal(data["datasets"]["rules"][0]["y"]) == 1
    assert "0.004500 USD spent and 0.4000 USD held of 1.00 USD" in page.text
    (link,) = [attribute(a, "href") for a in page.find("a") if text_of(a) == "Open in the explorer"]
    assert "team=search" in link
    assert "0.0045" in get(viewer, link).text


def test_a_budget_for_each_lists_whose_limits_there_are(shop, viewer):
    one = budget(shop, scope={"user": "*"}, amount_usd=Decimal("0.005"), period="day")
    for user, events in (("ann", 1), ("<b>bob", 2)):
        for _ in range(events):
            send(shop, user=user)
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    table = next(page.find("section", aria_labelledby="subjects"))
    rows = [(text_of(cells[0]), text_of(cells[1]), number_of(cells[-1]).value) for cells in page.rows_of(table)]
    assert rows == [("user <b>bob", "over", 2 * COST), ("user ann", "at risk", COST)]
    assert "user <b>bob, with the least left of 2" in get(viewer, shop.url("budgets")).text


def test_overrun_is_explained_where_a_cap_could_not_refuse(shop, viewer):
    one = budget(shop, scope={"team": "search"}, amount_usd=Decimal("0.001"), mode="block")
    send(shop)
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    assert "0.004500 USD overrun" in page.text
    assert "made without asking" in page.text
    assert hold(shop, "0.1").decision == "deny"
    assert "First call refused" in get(viewer, shop.url(f"budgets/{one.pk}")).text


def told(client, url, section="told"):
    """What was told of each crossing of a page, with the links of it: by the first number of the sentence."""
    rows = Page(client.get(url)).rows_of(next(get(client, url).find("section", aria_labelledby=section)))
    return {
        next(word for word in text_of(cells[1]).split() if word.isdigit()): (
            text_of(cells[2]),
            [attribute(link, "href").replace("&amp;", "&") for link in find(cells[2], "a")],
        )
        for cells in rows
    }


def test_crossings_say_why_nobody_was_told(shop, viewer):
    one = budget(shop, name="Search", scope={"team": "search"}, amount_usd=Decimal("0.005"))
    url = shop.url(f"budgets/{one.pk}")
    send(shop)
    assert told(viewer, url) == dict.fromkeys(("50", "80"), ("Nobody: there is no channel", [shop.url("alerts")]))
    desk = Desk(shop.org)
    desk.channel("email", "a@example.com")
    assert {words for words, _ in told(viewer, url).values()} == {"Waiting to be sent"}
    desk.work()
    assert told(viewer, url)["80"] == ("Nobody: no channel was told of it", [shop.url("alerts")])
    with tenant(shop.org):
        Crossing.objects.for_org(shop.org).update(dispatched_at=timezone.now() - timedelta(days=91))
    assert told(viewer, url)["80"] == ("The log goes back 90 days", [])


def test_crossings_say_what_became_of_them_at_each_channel(shop, viewer, hook, mail):
    desk = Desk(shop.org, now=timezone.now() - timedelta(minutes=1))
    desk.channel("email", "a@example.com", name="All")
    desk.channel("email", "b@example.com", name="In the morning", digest="daily")
    desk.channel("webhook", hook.url, name="Grave", min_severity="warning")
    hook.will_answer(410)
    one = budget(shop, name="Search", scope={"team": "search"}, amount_usd=Decimal("0.005"), thresholds=[50, 80])
    send(shop)
    desk.now = timezone.now()
    desk.work()
    url = shop.url(f"budgets/{one.pk}")
    half, most = told(viewer, url)["50"], told(viewer, url)["80"]
    assert "All sent" in half[0]
    assert "In the morning held until" in half[0]
    assert "Grave" not in half[0]
    assert "Grave failed" in most[0]
    log = get(viewer, most[1][0])
    assert [text_of(cells[1]) for cells in log.rows()] in (
        list(order) for order in permutations(("All", "In the morning", "Grave"))
    )
    assert {"80 %" in text_of(cells[0]) for cells in log.rows()} == {True}
    assert len(get(viewer, half[1][0]).rows()) == 2
    assert len(get(viewer, shop.url("alerts/deliveries?crossing=none")).rows()) == 5
    assert "No deliveries like that" in get(viewer, shop.url(f"alerts/deliveries?crossing={uuid4()}")).text


def test_crossings_of_earlier_periods_are_folded_below(shop, viewer):
    one = budget(shop, scope={"team": "search"}, period="day", amount_usd=Decimal("0.005"), thresholds=[50])
    with tenant(shop.org):  # as if it were a week old
        Budget.objects.for_org(shop.org).update(created_at=timezone.now() - timedelta(days=7))
        touch_facts(shop.org)
    for days in (1, 3, 2):
        send(shop, ago=timedelta(days=days))
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    section = next(page.find("section", aria_labelledby="told"))
    assert "Nothing in this period yet" in text_of(section)
    (fold,) = find(section, "details")
    assert "3 of earlier periods" in text_of(next(find(fold, "summary")))
    days = [timezone.now() - timedelta(days=days) for days in (1, 2, 3)]
    said = [text_of(cells[1]) for cells in page.rows_of(fold)]
    assert [f"{day:%a} {day.day} {day:%b}" in words for day, words in zip(days, said, strict=True)] == [True] * 3
    send(shop)
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    assert len(page.rows_of(next(page.find("section", aria_labelledby="told")))) == 4
    assert len(page.rows_of(next(find(next(page.find("section", aria_labelledby="told")), "details")))) == 3


def test_past_periods_stand_beside_the_current_one(shop, viewer):
    one = budget(shop, scope={"team": "search"}, period="day", amount_usd=Decimal("0.005"))
    with tenant(shop.org):  # as if it were a week old
        Budget.objects.for_org(shop.org).update(created_at=timezone.now() - timedelta(days=7))
        touch_facts(shop.org)
    for days, events in ((3, 1), (2, 2), (1, 1)):
        for _ in range(events):
            send(shop, ago=timedelta(days=days))
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    pictures = list(find(next(page.find("section", aria_labelledby="past")), "li"))
    assert [("over" in text_of(picture)) for picture in pictures] == [False, True, False]
    assert all(attribute(next(find(picture, "polyline")), "points") for picture in pictures)


@pytest.mark.parametrize(("days", "state"), [((5, 9), "not begun"), ((-9, -5), "ended"), ((-5, 5), "over")])
def test_a_budget_for_fixed_days_says_whether_they_are_now(shop, viewer, days, state):
    send(shop)
    send(shop, ago=timedelta(days=7))
    starts_at, ends_at = (timezone.now() + timedelta(days=number) for number in days)
    one = budget(shop, period="range", starts_at=starts_at, ends_at=ends_at, amount_usd=Decimal("0.004"))
    page = get(viewer, shop.url(f"budgets/{one.pk}"))
    assert state in text_of(next(page.find("h1")))
    (cells,) = get(viewer, shop.url("budgets")).rows()
    assert text_of(cells[1]) == state


def test_what_is_too_much_to_draw_says_so(shop, finance, monkeypatch):
    one = budget(shop, scope={"team": "search"})
    send(shop)
    monkeypatch.setattr(outlook_sql, "ROWS_MAX", 0)
    assert "too much stored usage" in get(finance, shop.url(f"budgets/{one.pk}")).text
    assert "too much stored usage" in get_posted(finance, shop.url("budgets/new"), {**FORM, "act": "preview"}).text


@pytest.mark.parametrize("number", ["0", "999999999", "9" * 30])
@pytest.mark.parametrize(
    "page", ["budgets/{}", "budgets/{}/edit", "budgets/{}/end", "budgets/raises/{}/approve", "stop/{}/lift"]
)
def test_what_is_not_there_is_not_found(shop, finance, number, page):
    url = shop.url(page.format(number))
    asked = finance.get if page in ("budgets/{}", "budgets/{}/edit") else finance.post
    assert asked(url).status_code == 404


# --- run rate ---


def test_a_forecast_threshold_crosses_once_where_the_run_rate_reaches_it(shop, viewer):
    one = budget(shop, scope={"team": "search"}, amount_usd=Decimal("0.01"), forecast_thresholds=[100, 200, 10_00])
    send(shop)
    start = one.created_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    early = start + timedelta(days=2)
    half = start + timedelta(days=10)
    assert cross_forecasts(shop.org, early) == 0
    assert cross_forecasts(shop.org, half) == 1
    assert cross_forecasts(shop.org.pk, half + timedelta(hours=1)) == 0
    (crossing,) = [row for row in stored(shop, Crossing) if row.kind == "forecast"]
    assert crossing.facts["threshold"] == 100
    end = datetime.fromisoformat(crossing.facts["period_end"])
    assert Decimal(crossing.facts["run_rate_usd"]) == run_rate(COST, start, end, half)
    assert "Run rate reached 100 %" in get(viewer, shop.url(f"budgets/{one.pk}")).text
    end_budget(org=shop.org, budget_id=one.pk, actor="tests")
    assert cross_forecasts(shop.org, start + timedelta(days=4)) == 0


def test_names_are_text_on_every_page(shop, finance):
    name = "<script>alert(1)</script>\"'&"
    one = budget(shop, name=name, scope={"user": HOSTILE_NAME.replace("\u202e", "")})
    send(shop, user=HOSTILE_NAME.replace("\u202e", ""))
    ask(finance, shop, one, reason=name)
    finance.post(shop.url("stop"), {"kind": "run", "target": name, "reason": name})
    for path in ("budgets", f"budgets/{one.pk}", f"budgets/{one.pk}/edit", "stop"):
        page = get(finance, shop.url(path))
        assert "<script>alert" not in page.html
        assert "alert(1)" in page.html


def test_what_clients_let_through_without_a_decision_is_shown(shop, viewer):
    assert "without a decision" not in get(viewer, shop.url("budgets")).text
    principal = principal_for(shop.api.secret, at=timezone.now())
    for minute in range(2):
        at = timezone.now() - timedelta(minutes=minute + 1)
        report_ungoverned(
            principal=principal, events=3, amount_usd=Decimal("1.25"), start=at, end=timezone.now(), reason="away"
        )
    assert "let 6 calls of about 2.50 USD through without a decision" in get(viewer, shop.url("budgets")).text
