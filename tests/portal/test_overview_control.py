"""The home of each kind of person: what to act on, and what is somebody's own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.budgets.models import Budget, Crossing
from apps.budgets.services import end_budget
from apps.core.ids import time_ordered_id
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.teams.models import Workflow
from apps.teams.selectors import workflow_by_slug
from apps.teams.services import create_team, set_workflow_owner
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import client_of
from tests.portal.homes import (
    OTHER,
    around_now,
    card,
    cards,
    lead,
    other_team,
    owner,
    person_and_client,
    risks,
)
from tests.portal.reading import THIN, Page, attribute, find, get, text_of
from tests.portal.shop import COST, budget, finance, hold, member, send, shop, viewer
from tests.portal.test_doors import check, numbers_of
from tests.world import make_event

__all__ = ["finance", "lead", "other_team", "owner", "shop", "viewer"]  # fixtures


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
    assert "All 2 budgets are within their limits, forecasts and thresholds." in text_of(found)
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
    monkeypatch.setattr("apps.reports.contract_lines.DAYS_MAX", 0)
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
    assert max(few.values()) <= 73
