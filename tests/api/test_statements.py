"""GET /api/v1/statements: the month's first draft of a chargeback, JSON and CSV."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from apps.core.meters import METERS
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.reports import statements as reports
from apps.teams.selectors import project_by_slug, team_by_slug
from apps.teams.services import create_project, create_team, create_workflow, move_project
from tests.api.tenants import make_api, make_org
from tests.usage.ledger import as_owner, month_start, reconcile, roll
from tests.world import Api, make_event

LAST_MONTH = month_before(datetime.now(UTC).date().replace(day=1))
MIDDLE = month_start(LAST_MONTH) + timedelta(days=14)
MONTH = f"{LAST_MONTH:%Y-%m}"
# What a line of usage has nothing of.
NOTHING_BESIDE = {"name": "", "of_month": None, "driver": "", "share": None, "source": "", "refers_to": ""}


def statements(api: Api, month: date = LAST_MONTH, **query: str) -> list[dict[str, Any]]:
    response = api.get("statements", month=f"{month:%Y-%m}", **query)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["data"]
    return found


def lines(api: Api, month: date = LAST_MONTH) -> list[tuple[Any, ...]]:
    """(kind, team, project, workflow, model, events, cost) of every line."""
    names = ("kind", "team", "project", "workflow", "model", "events", "cost_usd")
    return [tuple(line[name] for name in names) for one in statements(api, month) for line in one["lines"]]


def booked(api: Api, org: Organization, month: date = LAST_MONTH) -> dict[str, Any]:
    """The month's total as /spend says it."""
    with tenant(org):
        clock = calendar(org)
    bounds = {
        "from": clock.month_start(month).isoformat(),
        "to": clock.month_start(next_month(month)).isoformat(),
    }
    total: dict[str, Any] = api.get("spend", basis="booked", **bounds).json()["total"]
    return total


def check_totals(api: Api, org: Organization, month: date = LAST_MONTH) -> None:
    """Statements add up to /spend, and lines to their statement, to the last decimal and the last token."""
    found, total = statements(api, month), booked(api, org, month)
    assert sum(Decimal(one["total_usd"] or 0) for one in found) == Decimal(total["cost_usd"] or 0)
    for one in found:
        assert sum(Decimal(line["cost_usd"] or 0) for line in one["lines"]) == Decimal(one["total_usd"] or 0)
        for name in ("events", "unpriced_events"):
            assert sum(line[name] for line in one["lines"]) == one[name]
    every_line = [line for one in found for line in one["lines"]]
    for meter in METERS:
        assert sum(line["meters"].get(meter, 0) for line in every_line) == total[meter]
    for name in ("events", "unpriced_events"):
        assert sum(line[name] for line in every_line) == total[name]


@pytest.fixture
def company(org: Organization) -> Organization:
    """Search owns the project web with its workflow rag; ads owns nothing yet."""
    search = create_team(org=org, slug="search")
    create_team(org=org, slug="ads")
    web = create_project(org=org, slug="web", team=search)
    create_workflow(org=org, slug="rag", project=web)
    return org


# --- lines ----------------------------------------------------------------------------------------------


def test_a_line_for_each_team_project_workflow_and_model(company: Organization, api: Api) -> None:
    for fields in (
        {"workflow": "rag"},
        {"workflow": "rag", "status": "error", "user": "u", "environment": "prod"},
        {"workflow": "rag", "model": "claude-haiku-4-5"},
        {"project": "web"},
        {"team": "search"},
        {"team": "ads"},
        {"team": "ads", "provider": "aws", "model": "claude-sonnet-4-5"},
    ):
        api.send(make_event(occurred_at=MIDDLE.isoformat(), **fields))
    found = statements(api)
    assert [(one["id"], one["team"], one["status"]) for one in found] == [
        (f"{MONTH}:ads", "ads", "draft"),
        (f"{MONTH}:search", "search", "draft"),
    ]
    assert [(line["project"], line["workflow"], line["model"], line["events"]) for line in found[1]["lines"]] == [
        ("web", "rag", "claude-haiku-4-5", 1),
        ("web", "rag", "claude-sonnet-4-5", 2),
        ("web", None, "claude-sonnet-4-5", 1),
        (None, None, "claude-sonnet-4-5", 1),
    ]
    assert found[1]["lines"][1] == {
        **NOTHING_BESIDE,
        "kind": "usage",
        "team": "search",
        "project": "web",
        "workflow": "rag",
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "events": 2,
        "unpriced_events": 0,
        "meters": {"input_tokens": 2000, "output_tokens": 200},
        "cost_usd": "0.009000000000",
        "amount": "0.01",
    }
    assert len(found[0]["lines"]) == 2
    check_totals(api, company)


def test_the_unattributed_and_the_unpriced_have_lines_of_their_own(company: Organization, api: Api) -> None:
    for fields in ({"team": "ads"}, {"team": "ads", "model": "nobody"}, {"team": "lost"}, {"model": "nobody"}):
        api.send(make_event(occurred_at=MIDDLE.isoformat(), **fields))
    for _ in range(2):
        assert lines(api) == [
            ("usage", "ads", None, None, "claude-sonnet-4-5", 1, "0.004500000000"),
            ("unpriced", "ads", None, None, "nobody", 1, None),
            ("unattributed", None, None, None, "claude-sonnet-4-5", 1, "0.004500000000"),
            ("unpriced", None, None, None, "nobody", 1, None),
        ]
        assert [(one["id"], one["unpriced_events"]) for one in statements(api)] == [
            (f"{MONTH}:ads", 1),
            (f"{MONTH}:", 1),
        ]
        check_totals(api, company)
        roll(company)


def test_one_model_with_and_without_a_price_has_two_lines(company: Organization, api: Api) -> None:
    """A price may be known from an instant on only: the events before it stay unpriced."""
    api.send(*(make_event(event_id=name, team="ads", occurred_at=MIDDLE.isoformat()) for name in ("a", "b")))
    as_owner(
        "UPDATE usage_delta SET priced = false, cost_usd = 0, unpriced_events = 2 WHERE organization_id = %s",
        company.pk,
    )
    api.send(make_event(team="ads", occurred_at=MIDDLE.isoformat()))
    assert [line[0] for line in lines(api)] == ["usage", "unpriced"]
    check_totals(api, company)


# --- months ---------------------------------------------------------------------------------------------


def test_a_month_holds_what_happened_in_it(company: Organization, api: Api) -> None:
    start, end = month_start(LAST_MONTH), month_start(next_month(LAST_MONTH))
    tick = timedelta(microseconds=1)
    api.send(*(make_event(occurred_at=at.isoformat()) for at in (start - tick, start, end - tick, end)))
    for _ in range(2):
        for month, events in ((month_before(LAST_MONTH), 1), (LAST_MONTH, 2), (next_month(LAST_MONTH), 1)):
            assert booked(api, company, month)["events"] == events
            check_totals(api, company, month)
        roll(company)


def test_a_month_without_usage_is_empty(api: Api) -> None:
    assert statements(api) == []
    assert rows_of(api.get("statements.csv", month=MONTH)) == []


def test_the_month_is_this_one_by_default(api: Api) -> None:
    api.send(make_event())
    [one] = api.get("statements").json()["data"]
    assert one["month"] == f"{datetime.now(UTC):%Y-%m}"


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "2026-00", "", "1970-12", "2026-01-01", "２026-01"])
def test_it_refuses_what_is_no_month(api: Api, month: str) -> None:
    for path in ("statements", "statements.csv"):
        response = api.get(path, month=month)
        assert response.status_code == 400
        assert (response.json()["code"], response.json()["param"]) == ("month_invalid", "month")


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"team": "a\0"}, "parameter_invalid", "team"),
        ({"team": ["a", "b"]}, "parameter_repeated", "team"),
    ],
)
def test_it_refuses_other_parameters(api: Api, query: dict[str, Any], code: str, param: str) -> None:
    for path in ("statements", "statements.csv"):
        response = api.get(path, month=MONTH, **query)
        assert response.status_code == 400, response.content
        assert (response.json()["code"], response.json()["param"]) == (code, param)


# --- totals stay equal ----------------------------------------------------------------------------------


def test_a_reorganization_in_mid_month_splits_the_project(company: Organization, api: Api) -> None:
    before, after = MIDDLE - timedelta(microseconds=1), MIDDLE
    api.send(*(make_event(workflow="rag", occurred_at=at.isoformat()) for at in (before, before)))
    roll(company)
    first = booked(api, company)
    with tenant(company):
        web, ads = project_by_slug(company, "web"), team_by_slug(company, "ads")
    assert web is not None
    assert ads is not None
    move_project(org=company, project=web, team=ads, at=MIDDLE, actor="tests")
    assert booked(api, company) == first
    api.send(*(make_event(workflow="rag", occurred_at=at.isoformat()) for at in (before, after, after, after)))
    for _ in range(2):
        assert [(line[1], line[2], line[5]) for line in lines(api)] == [("ads", "web", 3), ("search", "web", 3)]
        check_totals(api, company)
        roll(company)
    assert reconcile(company) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("UTC", "America/New_York"),
        ("UTC", "Asia/Kolkata"),
        ("Asia/Tokyo", "America/Los_Angeles"),
        ("America/New_York", "Pacific/Auckland"),
    ],
)
def test_a_change_of_zone_at_the_start_of_a_month_loses_and_doubles_nothing(first: str, second: str) -> None:
    org = make_org(first)
    as_owner(
        "INSERT INTO organizations_zone (organization_id, effective_month, name) VALUES (%s, %s, %s)",
        org.pk, LAST_MONTH, second,
    )  # fmt: skip
    as_owner("UPDATE organizations_organization SET facts_version = facts_version + 1 WHERE id = %s", org.pk)
    api = make_api(org)
    with tenant(org):
        clock = calendar(org)
    start = month_start(LAST_MONTH)
    instants = [start + timedelta(hours=n, minutes=17) for n in range(-30, 30)]
    api.send(*(make_event(occurred_at=at.isoformat()) for at in instants))
    months = (month_before(LAST_MONTH), LAST_MONTH)
    for _ in range(2):
        for month in months:
            assert booked(api, org, month)["events"] == sum(clock.month_of(at) == month for at in instants)
            check_totals(api, org, month)
        for granularity in ("hour", "day", "week", "month"):
            answer = api.get(
                "spend",
                **{"from": instants[0].isoformat(), "to": (instants[-1] + timedelta(hours=1)).isoformat()},
                granularity=granularity,
            ).json()
            found = {datetime.fromisoformat(row["bucket"]): row["events"] for row in answer["rows"]}
            assert found == Counter(clock.start(granularity, at) for at in instants)
        roll(org)
    assert reconcile(org) == []


def test_what_comes_after_the_close_is_booked_in_the_first_open_month(company: Organization, api: Api) -> None:
    api.send(make_event(team="ads", occurred_at=MIDDLE.isoformat()))
    roll(company)
    closed = lines(api)
    this_month = next_month(LAST_MONTH)
    as_owner("UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", this_month, company.pk)
    api.send(make_event(event_id="late", team="ads", occurred_at=MIDDLE.isoformat()))
    api.send(make_event(event_id="now", team="ads"))
    for _ in range(2):
        assert lines(api) == closed
        assert [(line[0], line[5]) for line in lines(api, this_month)] == [("usage", 1), ("late", 1)]
        [late] = [line for line in statements(api, this_month)[0]["lines"] if line["kind"] == "late"]
        assert late["of_month"] == MONTH
        for month in (LAST_MONTH, this_month):
            check_totals(api, company, month)
        # What happened when is another question.
        asked = {"from": month_start(LAST_MONTH).isoformat(), "to": month_start(this_month).isoformat()}
        assert api.get("spend", **asked).json()["total"]["events"] == 2
        roll(company)
    [event] = api.get("events", event_id="late").json()["data"]
    assert event["booked_month"] == f"{this_month:%Y-%m}"
    assert reconcile(company) == []


# --- one statement --------------------------------------------------------------------------------------

TEAMS = ("search/europe", 'says "hi"', "Füße & 漢字", "a b", "50%", "a?b#c", "a;b,c", "..", "it's")


@pytest.mark.parametrize("slug", TEAMS)
def test_a_statement_is_found_by_its_id_whatever_its_team_is_called(org: Organization, api: Api, slug: str) -> None:
    create_team(org=org, slug=slug)
    api.send(make_event(team=slug, occurred_at=MIDDLE.isoformat()), make_event(occurred_at=MIDDLE.isoformat()))
    one, unattributed = statements(api)
    assert (one["id"], one["team"]) == (f"{MONTH}:{slug}", slug)
    for statement in (one, unattributed):
        path = f"statements/{quote(statement['id'], safe='')}"
        assert api.get(path).json() | {"as_of": None} == statement | {"as_of": None}
        response = api.get(f"{path}.csv")
        assert re.fullmatch(r'attachment; filename="[\w.-]+\.csv"', response["Content-Disposition"], re.ASCII)
        rows = rows_of(response)
        assert [row["team"] for row in rows] == [statement["team"] or ""] * 2
    assert [found["id"] for found in statements(api, team=slug)] == [one["id"]]
    assert [found["id"] for found in statements(api, team="")] == [unattributed["id"]]


@pytest.mark.parametrize(
    "statement_id", [f"{MONTH}:nobody", f"{MONTH}:", MONTH, "2026-13:ads", "nonsense", ":", f"{MONTH}:a%00b", "1"]
)
def test_an_id_that_names_nothing_is_not_found(api: Api, statement_id: str) -> None:
    for path in (f"statements/{statement_id}", f"statements/{statement_id}.csv"):
        response = api.get(path)
        assert response.status_code == 404, response.content
        assert response.json()["code"] == "not_found"


def test_a_month_of_too_many_lines_says_what_to_do(
    company: Organization, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "ROWS_MAX", 2)
    api.send(*(make_event(team="ads", model=f"m{n}", occurred_at=MIDDLE.isoformat()) for n in range(3)))
    for path in (f"statements?month={MONTH}", f"statements.csv?month={MONTH}", f"statements/{MONTH}:ads"):
        response = api.get(path)
        assert response.status_code == 422, response.content
        assert (response.json()["code"], response.json()["param"]) == ("too_many_lines", "month")


# --- CSV ------------------------------------------------------------------------------------------------


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))


def test_the_csv_says_what_the_json_says(company: Organization, api: Api) -> None:
    for fields in ({"workflow": "rag"}, {"team": "ads", "model": "nobody"}, {"team": "lost", "usage": {"images": 3}}):
        api.send(make_event(occurred_at=MIDDLE.isoformat(), **fields))
    response = api.get("statements.csv", month=MONTH)
    assert response["Content-Disposition"] == f'attachment; filename="chargeback-{MONTH}.csv"'
    rows, found = rows_of(response), statements(api)
    assert [row["kind"] for row in rows] == ["unpriced", "total", "usage", "total", "unpriced", "total"]
    flat = [(one, line) for one in found for line in [*one["lines"], None]]
    for row, (one, line) in zip(rows, flat, strict=True):
        assert (row["statement"], row["month"], row["status"]) == (one["id"], MONTH, "draft")
        if line is None:
            assert (row["cost_usd"], row["events"]) == (one["total_usd"] or "", str(one["events"]))
        else:
            assert row == row | texts(line)


def texts(line: Mapping[str, Any]) -> dict[str, str]:
    names = ("kind", "team", "project", "workflow", "provider", "model", "events", "unpriced_events", "cost_usd")
    quantities = {meter: str(line["meters"].get(meter, 0)) for meter in METERS}
    return {name: "" if line[name] is None else str(line[name]) for name in names} | quantities


@pytest.mark.parametrize("name", ["=1+1", "+1", "-2+3", "@SUM(A1)", "=HYPERLINK('//x')", "＝1+1"])
def test_a_name_that_a_spreadsheet_would_run_is_text(org: Organization, api: Api, name: str) -> None:
    create_team(org=org, slug=name)
    api.send(make_event(team=name, model=name, workflow=name, provider=name.lower(), occurred_at=MIDDLE.isoformat()))
    line, total = rows_of(api.get("statements.csv", month=MONTH))
    assert (line["team"], line["model"], total["team"]) == (f"'{name}",) * 3
    assert line["provider"] == f"'{name.lower()}"
    assert statements(api)[0]["team"] == name
