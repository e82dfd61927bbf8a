"""The home of each kind of person: which cards it has, what they say and where they lead."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.template.loader import get_template
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.budgets.forecast import run_rate
from apps.budgets.models import Budget, Crossing
from apps.budgets.services import end_budget
from apps.core.ids import time_ordered_id
from apps.core.tenancy import tenant
from apps.organizations.permissions import ROLE_LABELS, Role
from apps.organizations.services import add_member
from apps.portal.homes import HOMES
from apps.portal.views.overview import CARDS
from apps.teams.models import Workflow
from apps.teams.selectors import workflow_by_slug
from apps.teams.services import create_project, create_team, create_workflow, set_workflow_owner
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import THIN, Page, attribute, find, get, text_of
from tests.portal.shop import COST, budget, finance, hold, member, send, shop, viewer
from tests.portal.test_doors import check, numbers_of
from tests.world import make_event

__all__ = ["finance", "shop", "viewer"]  # fixtures

OTHER = "growthcanary"


@pytest.fixture
def owner(shop):
    return client_of(shop.alice)


@pytest.fixture
def lead(shop):
    return member(shop, Role.LEAD, teams=["search"])


def person_and_client(shop, role):
    person = make_person(role)
    add_member(org=shop.org, user=person, role=role, actor=None)
    return person, client_of(person)


@pytest.fixture
def other_team(shop):
    """Another team with a project and a workflow, all called alike."""
    project = create_project(org=shop.org, slug=OTHER, team=create_team(org=shop.org, slug=OTHER))
    create_workflow(org=shop.org, slug=OTHER, project=project)


def cards(page):
    """The headings of the page's cards, in their order."""
    main = next(page.find("main"))
    return [text_of(heading) for heading in find(main, "h2")]


def card(page, name):
    return next(page.find("section", aria_labelledby=name))


def sentences(page):
    return [text_of(item) for item in find(card(page, "changes"), "li")]


def risks(page):
    """Each budget's name, why it is listed, and its links."""
    return [
        (
            attribute(name, "title").partition(": ")[0],
            text_of(next(find(why, "span"))),
            [attribute(link, "href") for link in find(name, "a")],
        )
        for name, why in Page.rows_of(card(page, "at-risk"))
    ]


def at(monkeypatch, instant):
    """Pages are looked at then."""
    monkeypatch.setattr("apps.portal.access.timezone", SimpleNamespace(now=lambda: instant))


def middle_of_a_month():
    """The latest fifteenth at noon: at most a month ago."""
    now = datetime.now(UTC)
    this = now.replace(day=15, hour=12, minute=0, second=0, microsecond=0)
    return this if this < now else (this.replace(day=1) - timedelta(days=1)).replace(day=15)


def around_now(**fields):
    """Of a period of twenty days, eighteen of which are over: the run rate is little more than what is spent."""
    now = timezone.now()
    return {"period": "range", "starts_at": now - timedelta(days=18), "ends_at": now + timedelta(days=2), **fields}


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
    assert "Forecast" not in page.text
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


# --- budgets at risk ---------------------------------------------------------------------------------


def test_without_budgets_there_is_no_card_of_them(shop, owner):
    send(shop)
    ended = budget(shop, amount_usd=Decimal("0.001"))
    end_budget(org=shop.org, budget_id=ended.pk, actor="tests")
    assert "Budgets at risk" not in get(owner, shop.url()).text


def test_budgets_of_which_none_is_at_risk_are_one_line(shop, owner):
    for name in ("One", "Two"):
        budget(shop, name=name, **around_now(amount_usd=Decimal(100)))
    send(shop)
    found = card(get(owner, shop.url()), "at-risk")
    assert "All 2 budgets are within their limits, run rates and thresholds." in text_of(found)
    assert [attribute(link, "href") for link in find(found, "a")] == [shop.url("budgets")]


def test_the_worst_budgets_come_first_and_at_most_five(shop, owner):
    for place, amount in enumerate(("0.0046", "0.0048", "0.005")):
        budget(shop, name=f"Near {place}", **around_now(amount_usd=Decimal(amount)))
    over = budget(shop, name="Over", **around_now(amount_usd=Decimal("0.004")))
    cap = budget(shop, name="Cap", mode="block", **around_now(amount_usd=Decimal("0.0042")))
    budget(shop, name="Half", **around_now(amount_usd=COST * 100 / 60))
    budget(shop, name="Fine", **around_now(amount_usd=Decimal(1)))
    send(shop)
    page = get(owner, shop.url())
    found = risks(page)
    assert [(name, state) for name, state, _ in found] == [
        ("Cap", "refusing"), ("Over", "over"), ("Near 0", "at risk"), ("Near 1", "at risk"), ("Near 2", "at risk"),
    ]  # fmt: skip
    assert [links for *_, links in found[:2]] == [[shop.url(f"budgets/{one.pk}")] for one in (cap, over)]
    assert "5 of 6 at risk" in text_of(card(page, "at-risk"))


def test_a_budget_past_a_threshold_says_which(shop, owner):
    budget(shop, name="Half", thresholds=[20, 50, 70], **around_now(amount_usd=COST * 100 / 60))
    send(shop)
    ((name, state, _),) = risks(get(owner, shop.url()))
    assert (name, state.replace(THIN, " ")) == ("Half", "past 50 %")


def test_what_is_held_is_taken_too(shop, owner):
    budget(shop, name="Cap", mode="block", **around_now(amount_usd=Decimal("0.5")))
    send(shop)
    assert hold(shop).decision == "allow"
    ((name, state, _),) = risks(get(owner, shop.url()))
    assert (name, state) == ("Cap", "at risk")


def test_a_lead_knows_of_budgets_within_the_team_alone(shop, lead, owner, other_team):
    small = Decimal("0.0001")
    budget(shop, name="Ours", scope={"team": "search"}, amount_usd=small)
    budget(shop, name="Our users", scope={"team": "search", "user": "*"}, amount_usd=small)
    not_ours = {
        "All": {}, "Theirs": {"team": OTHER}, "Beginnings": {"team": "s*"}, "Each": {"team": "*"},
        "Workflow": {"workflow": "rag"}, "Project": {"project": "answers"}, "Users": {"user": "*"},
    }  # fmt: skip
    for name, scope in not_ours.items():
        budget(shop, name=name, scope=scope, amount_usd=small)
    send(shop, workflow="rag", user="ann")
    shop.api.send(make_event(team=OTHER, workflow=OTHER, user=OTHER))
    page = get(lead, shop.url())
    assert {name for name, *_ in risks(page)} == {"Ours", "Our users"}
    assert OTHER not in page.html
    for *_, links in risks(page):
        (link,) = links
        assert lead.get(link.replace("&amp;", "&")).status_code == 200
    assert shop.url("budgets") not in page.html
    assert len(risks(get(owner, shop.url()))) == 5


def test_a_slug_that_reads_as_a_beginning_gives_a_lead_no_budget(shop):
    create_team(org=shop.org, slug="s*")
    budget(shop, name="Beginnings", scope={"team": "s*"}, amount_usd=Decimal("0.0001"))
    send(shop)
    page = get(member(shop, Role.LEAD, teams=["s*"]), shop.url())
    assert "Beginnings" not in page.html


def test_a_lead_of_two_teams_stays_in_the_one_that_is_asked_for(shop):
    create_team(org=shop.org, slug="answers")
    both = member(shop, Role.LEAD, teams=["search", "answers"])
    for ago in (timedelta(0), timedelta(days=8)):
        shop.api.send(make_event(team="answers", occurred_at=(datetime.now(UTC) - ago).isoformat()))
    page = get(both, shop.url("?range=7d&team=answers"))
    main = next(page.find("main"))
    links = [attribute(link, "href") for link in find(main, "a")]
    inner = [link for link in links if (link and "/spend" in link) or (link and "/events" in link)]
    assert len(inner) > 5
    assert all("team=answers" in link for link in inner)
    check(both, page.doors())


# --- stops -------------------------------------------------------------------------------------------


def test_stops_and_reached_bounds_stand_above_everything(shop, owner, finance, lead):
    send(shop)
    assert "in force" not in get(owner, shop.url()).text
    finance.post(shop.url("stop"), {"kind": "run", "target": "r1", "reason": "Runs away"})
    with tenant(shop.org):
        for ago in (timedelta(hours=1), timedelta(hours=25)):
            Crossing.objects.for_org(shop.org).create(
                organization_id=shop.org.pk,
                crossing_id=time_ordered_id(),
                kind="run_bound",
                subject=str(ago),
                severity="warning",
                run_id="r1",
                crossed_at=timezone.now() - ago,
                facts={"bound": "steps", "limit": "5"},
            )
    page = get(owner, shop.url())
    assert "1 stop in force" in page.text
    assert "Runs reached a bound 1 time in the last 24 hours" in page.text
    assert shop.url("stop") in [attribute(link, "href") for link in find(next(page.find("main")), "a")]
    assert "in force" not in get(lead, shop.url()).text


# --- an engineer's workflows -------------------------------------------------------------------------


def own(shop, person, *slugs):
    for slug in slugs:
        with tenant(shop.org):
            found = workflow_by_slug(shop.org, slug)
        set_workflow_owner(org=shop.org, workflow=found, email=person.email, actor=shop.alice)


def test_an_engineer_who_owns_nothing_is_told_how_that_changes(shop):
    send(shop)
    page = get(member(shop, Role.ENGINEER), shop.url())
    found = card(page, "own-workflows")
    assert "You own no workflow yet" in text_of(found)
    assert [attribute(link, "href") for link in find(found, "a")] == [shop.url("workflows")]


def test_an_engineer_sees_the_workflows_they_own(shop, other_team):
    person, client = person_and_client(shop, Role.ENGINEER)
    colleague, _ = person_and_client(shop, Role.ENGINEER)
    own(shop, person, "rag")
    own(shop, colleague, OTHER)
    for fields in ({"attempt": 2}, {"escalated_from": "gpt-5-mini"}, {}, {}):
        send(shop, workflow="rag", run_id="r1", **fields)
    send(shop, ago=timedelta(days=8), workflow="rag")
    shop.api.send(make_event(workflow=OTHER))
    with as_worker():
        roll_up(shop.org)
    page = get(client, shop.url("?range=7d"))
    assert cards(page)[0] == "Your workflows"
    (cells,) = Page.rows_of(card(page, "own-workflows"))
    said = [" ".join(text_of(cell).replace(THIN, " ").split()) for cell in cells]
    assert said[1:] == ["4", "25.0 %", "25.0 %", "↑ +$0.01350 (+300 %)", "0.01800"]
    links = {attribute(link, "href").replace("&amp;", "&") for cell in cells for link in find(cell, "a")}
    assert shop.url("workflows/rag") in links
    assert all("range=7d" in link for link in links if "/workflows/" not in link)
    assert {client.get(link).status_code for link in links} == {200}
    (run,) = (link for link in links if "with=retries" in link)
    assert "r1" in get(client, run).text
    check(client, page.doors())


def test_a_workflow_without_calls_and_one_without_a_period_before_have_no_change(shop, other_team):
    person, client = person_and_client(shop, Role.ENGINEER)
    own(shop, person, "rag", OTHER)
    send(shop, workflow="rag")
    busy, idle = Page.rows_of(card(get(client, shop.url("?range=7d")), "own-workflows"))
    assert [text_of(cell) for cell in busy][1:] == ["1", "0\u202f%", "0\u202f%", "—", "0.004500"]
    assert [text_of(cell) for cell in idle][1:] == ["0", "—", "—", "—", "0"]


# --- the month of finance ----------------------------------------------------------------------------


def last_month(days=1):
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first - timedelta(days=days) + timedelta(hours=12)


def month_figures(page):
    (figures,) = find(card(page, "month-status"), "dl")
    return {
        text_of(next(find(one, "dt"))): (text_of(next(find(one, "a"))), attribute(next(find(one, "a")), "href"))
        for one in figures.children
        if not isinstance(one, str)
    }


def test_finance_sees_what_stands_between_the_last_month_and_its_chargeback(shop, finance):
    then = last_month().isoformat()
    shop.api.send(
        make_event(team="search", occurred_at=then),
        make_event(occurred_at=then),
        make_event(team="search", provider="ollama", model="llama", occurred_at=then),
    )
    send(shop)
    one = budget(shop, name="Search", scope={"team": "search"})
    viewer = member(shop, Role.VIEWER)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    asked = {"amount_usd": "5", "until": tomorrow, "reason": "A launch"}
    assert viewer.post(shop.url(f"budgets/{one.pk}"), asked).status_code == 302
    day = last_month().date().isoformat()
    given = {"reason": "Signed late", "from": day, "to": day}
    assert finance.post(shop.url("reratings/new"), given).status_code == 302
    page = get(finance, shop.url())
    found = month_figures(page)
    assert f"{last_month():%B %Y}, before it is charged back" in cards(page)[0]
    assert "4 things to settle" in text_of(card(page, "month-status"))
    assert {name: said for name, (said, _) in found.items()} == {
        "Unpriced": "1",
        "Unattributed": "0.004500",
        "Re-ratings not posted": "1",
        "Raises asked for": "1",
        "Statements": "0.009000",
    }
    assert found["Raises asked for"][1] == shop.url(f"budgets/{one.pk}")
    assert finance.get(found["Re-ratings not posted"][1]).status_code == 200
    month = [door for door in page.doors() if f"{last_month():%Y-%m}" in door.href]
    assert len(month) == 3
    for door in month:
        assert door.number in numbers_of(get(finance, door.href.replace("&amp;", "&"))), door


def test_a_month_with_nothing_to_settle_says_so(shop, finance):
    shop.api.send(make_event(team="search", occurred_at=last_month().isoformat()))
    assert "Nothing stands in the way" in text_of(card(get(finance, shop.url("?range=30d")), "month-status"))


def test_where_the_last_month_had_nothing_it_is_this_one(shop, finance):
    send(shop)
    page = get(finance, shop.url())
    assert f"{datetime.now(UTC):%B %Y} so far, before it is charged back" in cards(page)[0]


def test_a_month_that_is_too_much_is_left_out(shop, finance, monkeypatch):
    monkeypatch.setattr("apps.reports.statements.DAYS_MAX", 0)
    send(shop)
    contract = {"kind": "credit", "name": "Prepaid", "amount_usd": "100", "starts_at": last_month(40).isoformat()}
    assert shop.api.post("contracts", contract).status_code == 201
    page = get(finance, shop.url())
    assert "charged back" not in page.text
    assert "Teams" in cards(page)


# --- cost --------------------------------------------------------------------------------------------


def add_many(shop, person, first, count):
    with tenant(shop.org):
        project = workflow_by_slug(shop.org, "rag").project
        Workflow.objects.for_org(shop.org).bulk_create(
            Workflow(organization=shop.org, slug=f"w{n}", name=f"w{n}", project=project, owner=person)
            for n in range(first, first + count)
        )
        Budget.objects.for_org(shop.org).bulk_create(
            Budget(
                organization=shop.org,
                name=f"b{n}",
                scope={"team": "search", "user": f"u{n}"},
                period="month",
                amount_usd=Decimal(0),
                mode="block",
                thresholds=[50],
                forecast_thresholds=[],
                created_by="tests",
            )
            for n in range(first, first + count)
        )


def test_a_home_asks_as_often_for_a_thousand_as_for_ten(shop):
    person, engineer = person_and_client(shop, Role.ENGINEER)
    people = {
        "engineer": engineer,
        "owner": client_of(shop.alice),
        "finance": member(shop, Role.FINANCE),
        "lead": member(shop, Role.LEAD, teams=["search"]),
    }
    send(shop)

    def asked():
        found = {}
        for name, client in people.items():
            with CaptureQueriesContext(connection) as queries:
                page = get(client, shop.url())
            assert len(risks(page)) == 5
            found[name] = len(queries)
        assert len(Page.rows_of(card(get(engineer, shop.url()), "own-workflows"))) == 5
        return found

    add_many(shop, person, 0, 10)
    few = asked()
    add_many(shop, person, 10, 990)
    assert asked() == few
    assert max(few.values()) <= 58
