"""What people do about budgets on the pages: making, previewing, raising, stopping, bounding, and what is held."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.budgets import outlook_sql
from apps.budgets.decisions import Asked, decide
from apps.budgets.forecast import run_rate
from apps.budgets.models import Budget, Crossing, Raise, RunBound, Stop
from apps.budgets.outlook import cross_forecasts
from apps.budgets.services import BudgetTerms, create_budget, end_budget, report_ungoverned
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.selectors import principal_for
from apps.organizations.services import add_member, touch_facts
from apps.teams.services import create_project, create_team, create_workflow
from tests.alerts.desk import Desk
from tests.portal.conftest import HOSTILE_NAME, client_of, make_person, make_shop
from tests.portal.reading import THIN, Page, attribute, find, get, number_of, text_of
from tests.world import make_event, unique

# What one event of `send` costs.
COST = Decimal("0.0045")
HUGE = "9" * 400
NUL = "a\0b"


@pytest.fixture
def shop():
    shop = make_shop()
    team = create_team(org=shop.org, slug="search")
    project = create_project(org=shop.org, slug="answers", team=team)
    create_workflow(org=shop.org, slug="rag", project=project)
    return shop


def member(shop, role):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None)
    return client_of(person)


@pytest.fixture
def finance(shop):
    return member(shop, Role.FINANCE)


@pytest.fixture
def viewer(shop):
    return client_of(shop.bob)


def text(response):
    return response.content.decode()


def send(shop, *, ago=timedelta(0), **fields):
    event = make_event(occurred_at=(datetime.now(UTC) - ago).isoformat(), team="search", **fields)
    assert shop.api.send(event)["accepted"] == 1
    return event


def budget(shop, **fields):
    terms = {"name": unique("budget"), "period": "month", "amount_usd": Decimal(1), **fields}
    return create_budget(org=shop.org, terms=BudgetTerms(**terms), actor="tests")


def hold(shop, usd="0.4", **fields):
    asked = {
        "request_id": unique("request"),
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "team": "search",
        "estimate_usd": Decimal(usd),
        "fingerprint": uuid4().bytes,
        **fields,
    }
    return decide(principal_for(shop.api.secret, at=timezone.now()), Asked(**asked))


def stored(shop, model):
    with tenant(shop.org):
        return list(model.objects.for_org(shop.org))


FORM = {
    "name": "Search",
    "amount_usd": "500.00",
    "scope.team": "search",
    "period": "month",
    "mode": "block",
    "thresholds": "50, 80 %, 100",
    "forecast_thresholds": "100",
}


# --- the editor ---


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
    page = Page(_as_200(response))
    (alert,) = [one for one in page.find("p") if attribute(one, "role") == "alert"]
    assert said in text_of(alert)
    assert attribute(named(page, "scope.user")[0], "value") == "ann&<b>"
    if field is not None and "\0" not in given.get(field, ""):
        assert named(page, field)
    assert stored(shop, Budget) == []


def amounts_in(cell):
    """Every amount that a cell says, exact."""
    numbers = find(cell, "span", **{"class": "n"})
    exact = [attribute(number, "data-exact") or text_of(number) for number in numbers]
    return [Decimal(one.replace(THIN, "").removesuffix("USD")) for one in exact]


def named(page, name):
    """The fields of that name."""
    fields = (*page.find("input"), *page.find("select"))
    return [field for field in fields if attribute(field, "name") == name]


def _as_200(response):
    response.status_code = 200
    return response


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


def get_posted(client, url, given):
    return Page(client.post(url, given))


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


# --- the list and the page of one ---


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


# --- raises ---


def ask(client, shop, one, **given):
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    fields = {"amount_usd": "5", "until": tomorrow, "reason": "A launch", **given}
    return client.post(shop.url(f"budgets/{one.pk}"), fields)


@pytest.mark.parametrize(("act", "limit"), [("approve", 6), ("refuse", 1)])
def test_a_raise_is_asked_for_by_anybody_and_decided_once(shop, viewer, finance, act, limit):
    one = budget(shop)
    assert ask(viewer, shop, one).status_code == 302
    (asked,) = stored(shop, Raise)
    assert asked.state == "asked"
    assert "Approve" not in get(viewer, shop.url(f"budgets/{one.pk}")).text
    assert viewer.post(shop.url(f"budgets/raises/{asked.pk}/{act}")).status_code == 403
    assert "A launch" in get(finance, shop.url(f"budgets/{one.pk}")).text
    for _ in range(2):
        assert finance.post(shop.url(f"budgets/raises/{asked.pk}/{act}")).status_code == 302
    other = {"approve": "refuse", "refuse": "approve"}[act]
    again = finance.post(shop.url(f"budgets/raises/{asked.pk}/{other}"))
    assert again.status_code == 400
    (cells,) = [cells for cells in get(viewer, shop.url("budgets")).rows() if one.name in text_of(cells[0])]
    assert amounts_in(cells[-1]) == [limit]
    assert finance.post(shop.url(f"budgets/raises/{asked.pk}/explode")).status_code == 404


def test_a_raise_of_somebody_who_may_counts_at_once(shop, finance):
    one = budget(shop)
    assert ask(finance, shop, one).status_code == 302
    assert stored(shop, Raise)[0].state == "approved"
    assert "6.00 USD" in get(finance, shop.url(f"budgets/{one.pk}")).text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount_usd": "much"}, "amount_usd is &#x27;much&#x27;"),
        ({"amount_usd": HUGE}, "amount_usd is"),
        ({"amount_usd": NUL}, "amount_usd is"),
        ({"until": "someday"}, "&#x27;someday&#x27; is no day"),
        ({"until": "2020-01-01"}, "within a year from now"),
        ({"until": "2199-12-31"}, "within a year from now"),
        ({"until": NUL}, "is no day"),
        ({"reason": ""}, "reason has 1 to 500"),
        ({"reason": NUL}, "reason has 1 to 500"),
    ],
)
def test_a_wrong_raise_is_said_and_kept(shop, viewer, wrong, said):
    one = budget(shop)
    response = ask(viewer, shop, one, **{"reason": "<as typed>", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert "reason" in wrong or "&lt;as typed&gt;" in text(response)
    assert stored(shop, Raise) == []


def test_no_more_is_asked_for_a_budget_that_ended(shop, viewer):
    one = budget(shop)
    end_budget(org=shop.org, budget_id=one.pk, actor="tests")
    assert ask(viewer, shop, one).status_code == 400


# --- reservations ---


def test_reservations_show_what_is_held_first(shop, viewer):
    held = hold(shop, "0.4", run_id="run-<i>")
    send(shop, reservation_id=hold(shop, "0.001").reservation_id)
    page = get(viewer, shop.url("reservations"))
    states = [text_of(cells[1]).split()[0] for cells in page.rows()]
    assert states == ["held", "settled"]
    assert attribute(page.rows()[0][0], "title") == held.reservation_id
    assert [number_of(page.rows()[1][place]).value for place in (4, 5, 6, 7)] == [
        Decimal("0.001"), Decimal(0), COST - Decimal("0.001"), COST,
    ]  # fmt: skip
    (only,) = get(viewer, shop.url("reservations?state=held")).rows()
    assert "run-<i>" in text_of(only[2])
    assert len(get(viewer, shop.url("reservations?run_id=run-%3Ci%3E")).rows()) == 1
    for query in ("state=released", "run_id=other", "state=settled&run_id=run-%3Ci%3E"):
        assert "None of these" in get(viewer, shop.url(f"reservations?{query}")).text
    for query in ("state=%00", "run_id=%00", f"run_id={HUGE}", "state=nonsense"):
        assert len(get(viewer, shop.url(f"reservations?{query}")).rows()) == 2


# --- emergency stop ---


@pytest.mark.parametrize(
    ("kind", "target"),
    [("organization", ""), ("team", "search"), ("workflow", "rag"), ("key", "{key}"), ("run", "r 1")],
)
def test_what_is_stopped_is_refused_until_it_is_lifted(shop, kind, target):
    engineer, viewer = member(shop, Role.ENGINEER), client_of(shop.bob)
    target = target.format(key=principal_for(shop.api.secret, at=timezone.now()).key_id)
    call = {"project": "answers", "workflow": "rag", "run_id": "r 1"}
    assert hold(shop, **call).decision == "allow"
    asked = Page(engineer.get(shop.url("stop"), {"kind": kind, "target": target}))
    assert "This stops" in asked.text
    assert "1 live reservation of 0.4000 USD" in asked.text
    assert stored(shop, Stop) == []
    given = {"kind": kind, "target": target, "reason": "A loop"}
    assert viewer.post(shop.url("stop"), given).status_code == 403
    assert engineer.post(shop.url("stop"), given).status_code == 302
    assert hold(shop, **call).reasons[0]["code"] == "stopped"
    page = get(viewer, shop.url("stop"))
    assert "A loop" in page.text
    assert "Lift" not in [text_of(button) for button in page.find("button")]
    assert "1 stop in force" in get(viewer, shop.url("budgets")).text
    (row,) = stored(shop, Stop)
    assert viewer.post(shop.url(f"stop/{row.pk}/lift")).status_code == 403
    assert engineer.post(shop.url(f"stop/{row.pk}/lift")).status_code == 302
    assert hold(shop, **call).decision == "allow"
    assert "60 seconds at most" in page.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "planet"}, "&#x27;planet&#x27; cannot be stopped"),
        ({"target": "nobody"}, "There is no team &#x27;nobody&#x27;"),
        ({"target": ""}, "There is no team"),
        ({"target": NUL}, "There is no team"),
        ({"kind": "key", "target": HUGE}, "There is no key"),
        ({"kind": "run", "target": NUL}, "There is no run"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_wrong_stop_is_said_and_stops_nothing(shop, finance, wrong, said, method):
    response = getattr(finance, method)(shop.url("stop"), {"kind": "team", "target": "search", "reason": "x", **wrong})
    assert response.status_code == 400
    assert said in text(response) or "kind is &#x27;planet&#x27;" in text(response)
    assert stored(shop, Stop) == []


@pytest.mark.parametrize("reason", ["", NUL, "x" * 501])
def test_a_stop_says_why(shop, finance, reason):
    response = finance.post(shop.url("stop"), {"kind": "team", "target": "search", "reason": reason})
    assert response.status_code == 400
    assert "This stops team search." in text(response)
    assert stored(shop, Stop) == []


# --- run bounds ---


def test_bounds_are_set_shown_changed_and_removed(shop, finance, viewer):
    url = shop.url("run-bounds")
    given = {"workflow": "rag", "max_cost_usd": "2.50", "max_steps": "40"}
    assert viewer.post(url, given).status_code == 403
    assert finance.post(url, given).status_code == 302
    (cells,) = get(viewer, url).rows()
    assert [text_of(cell) for cell in cells[:4]] == ["rag", "2.50", "40", "—"]
    form = Page(finance.get(url, {"workflow": "rag"}))
    assert attribute(named(form, "max_cost_usd")[0], "value") == "2.5"
    assert finance.post(url, {"workflow": "rag", "max_seconds": "60"}).status_code == 302
    (row,) = stored(shop, RunBound)
    assert (row.max_cost_usd, row.max_steps, row.max_seconds) == (None, None, 60)
    assert viewer.post(shop.url("run-bounds/rag/remove")).status_code == 403
    assert finance.post(shop.url("run-bounds/rag/remove")).status_code == 302
    assert finance.post(shop.url("run-bounds/rag/remove")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workflow": "nothing"}, "There is no workflow"),
        ({"workflow": NUL}, "There is no workflow"),
        ({"max_steps": "-1"}, "max_steps is &#x27;-1&#x27;"),
        ({"max_steps": "1.5"}, "max_steps is &#x27;1.5&#x27;"),
        ({"max_steps": "9" * 12}, "max_steps is 9999"),
        ({"max_steps": "²"}, "max_steps is &#x27;²&#x27;"),
        ({"max_cost_usd": "dear"}, "max_cost_usd is &#x27;dear&#x27;"),
        ({"max_cost_usd": HUGE}, "max_cost_usd is"),
        ({"max_seconds": ""}, "Give at least one of"),
    ],
)
def test_a_wrong_bound_is_said_and_kept(shop, finance, wrong, said):
    response = finance.post(shop.url("run-bounds"), {"workflow": "rag", "max_seconds": "60", **wrong})
    assert response.status_code == 400
    assert said in text(response)
    assert "max_seconds" in wrong or 'value="60"' in text(response)
    assert stored(shop, RunBound) == []


def test_a_run_that_reached_its_bound_is_listed(shop, finance, viewer):
    finance.post(shop.url("run-bounds"), {"workflow": "rag", "max_steps": "1"})
    for step in (0, 1):
        send(shop, project="answers", workflow="rag", run_id="run-1", step=step)
    assert "Run run-1 of rag reached its bound on steps: 1" in get(viewer, shop.url("run-bounds")).text


# --- unpriced policy, roles, counts ---


def test_the_unpriced_policy_is_chosen(shop, finance, viewer):
    url = shop.url("budgets/unpriced-policy")
    assert viewer.post(url, {"unpriced_policy": "allow"}).status_code == 403
    assert finance.post(url, {"unpriced_policy": "allow"}).status_code == 302
    radios = named(get(finance, shop.url("budgets")), "unpriced_policy")
    assert [attribute(radio, "value") for radio in radios if "checked" in dict(radio.attributes)] == ["allow"]
    shown = get(viewer, shop.url("budgets"))
    assert "Allow and flag" in shown.text
    assert named(shown, "unpriced_policy") == []
    for wrong in ("", "maybe", NUL, HUGE):
        assert finance.post(url, {"unpriced_policy": wrong}).status_code == 400
    shop.org.refresh_from_db()
    assert shop.org.unpriced_policy == "allow"


@pytest.mark.parametrize(
    ("role", "may_manage", "may_stop"),
    [
        (Role.OWNER, True, True),
        (Role.ADMIN, True, True),
        (Role.FINANCE, True, True),
        (Role.ENGINEER, False, True),
        (Role.VIEWER, False, False),
    ],
)
def test_each_role_may_what_the_matrix_says(shop, role, may_manage, may_stop):
    one = budget(shop)
    client = member(shop, role)
    manages = {
        "budgets/new": FORM,
        f"budgets/{one.pk}/edit": {**FORM, "name": "Other"},
        "run-bounds": {"workflow": "rag", "max_steps": "5"},
        "run-bounds/rag/remove": {},
        "budgets/unpriced-policy": {"unpriced_policy": "refuse"},
        f"budgets/{one.pk}/end": {},
    }
    for path, given in manages.items():
        assert client.post(shop.url(path), given).status_code == (302 if may_manage else 403), path
    assert client.get(shop.url("budgets/new")).status_code == (200 if may_manage else 403)
    stop = {"kind": "team", "target": "search", "reason": "x"}
    assert client.post(shop.url("stop"), stop).status_code == (302 if may_stop else 403)
    for path in ("budgets", f"budgets/{one.pk}", "reservations", "run-bounds", "stop"):
        page = get(client, shop.url(path))
        posts = [attribute(form, "action") for form in find(next(page.find("main")), "form", method="post")]
        # Anybody who sees a budget may ask for a raise.
        if role == Role.VIEWER:
            assert posts == ([None] if path == f"budgets/{one.pk}" and not may_manage else []), path


@pytest.mark.parametrize(
    ("path", "title"),
    [("budgets/new", "Budgets"), ("run-bounds", "Run bounds"), ("stop", "Emergency stop")],
)
def test_who_may_not_is_told_which_permission_it_takes_and_who_gives_it(shop, viewer, path, title):
    answer = viewer.get(shop.url(path)) if path == "budgets/new" else viewer.post(shop.url(path), {})
    assert answer.status_code == 403
    page = Page(_as_200(answer))
    assert text_of(next(page.find("h1"))) == title
    assert f"below {title} needs the permission" in page.text
    assert shop.alice.email in page.text


def test_the_list_asks_as_often_for_many_budgets_as_for_one(shop, viewer):
    budget(shop, scope={"user": "*"})
    send(shop, user="ann")
    few = queries(viewer, shop.url("budgets"))
    key = str(principal_for(shop.api.secret, at=timezone.now()).key_id)
    for period in ("day", "week", "month", "quarter", "year"):
        for scope in ({"team": "search"}, {"user": "*"}):
            budget(shop, scope=scope, period=period)
    for number in range(20):
        send(shop, user=f"user-{number}")
    assert queries(viewer, shop.url("budgets")) == few <= 24
    budget(shop, scope={"api_key": key})
    # The names of keys are read once.
    assert queries(viewer, shop.url("budgets")) <= few + 4


def test_a_page_of_a_budget_asks_as_often_for_much_as_for_little(shop, viewer):
    one = budget(shop, scope={"user": "*"}, period="day")
    send(shop, user="ann")
    few = queries(viewer, shop.url(f"budgets/{one.pk}"))
    for days in range(4):
        for number in range(5):
            send(shop, ago=timedelta(days=days), user=f"user-{number}")
    ask(viewer, shop, one)
    assert queries(viewer, shop.url(f"budgets/{one.pk}")) == few <= 30


def queries(client, url):
    with CaptureQueriesContext(connection) as asked:
        assert client.get(url).status_code == 200
    return len(asked)


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
