"""A month that closes: what it waits for, what is final, and what comes afterwards."""

import hashlib
import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.reports import closing, months
from apps.reports.models_statements import Statement
from apps.reports.papers import PAPERS
from apps.reports.statements import month_total
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.reports.months import (
    MIDDLE,
    MONTH,
    NAME,
    NEXT,
    THIS_MONTH,
    adjust,
    booked,
    close,
    send,
    state,
    statements,
    work,
)
from tests.usage.ledger import as_owner, month_start, reconcile, roll
from tests.world import Api

COST = Decimal("0.0045")


@pytest.fixture
def org() -> Organization:
    org = make_org()
    create_team(org=org, slug="search")
    create_team(org=org, slug="ads")
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


# --- closing --------------------------------------------------------------------------------------------


def test_a_month_becomes_final_numbered_and_hashed(org: Organization, api: Api) -> None:
    send(api, "search", "search", "ads", None)
    draft = statements(api)
    assert {one["status"] for one in draft.values()} == {"draft"}
    found = close(org, api)
    assert (found["state"], found["checks"]) == ("final", [])
    assert [step["step"] for step in found["steps"]] == ["seal", "fence"]
    assert found["steps"][0]["facts"] == {
        "statements": 3, "events": 4, "usage_usd": "0.018000000000", "total_usd": "0.018000000000",
    }  # fmt: skip
    final = statements(api)
    assert [(one["team"], one["number"], one["status"]) for one in final.values()] == [
        ("ads", 1, "final"), ("search", 2, "final"), (None, 3, "final"),
    ]  # fmt: skip
    changing = {"number": None, "status": None, "as_of": None}
    assert [one | changing for one in final.values()] == [one | changing for one in draft.values()]
    assert sum(Decimal(one["usage_usd"]) for one in final.values()) == booked(api) == 4 * COST
    hashes = {row["team"]: row["sha256"] for row in found["statements"]}
    for team, number in ((None, "CS-000003"), ("ads", "CS-000001")):
        for name in (f"{NAME}:{team or ''}", number):
            response = api.get(f"statements/{name}")
            assert hashlib.sha256(response.content).hexdigest() == hashes[team] == response["X-Content-SHA256"]


def test_numbers_go_on_from_month_to_month(org: Organization, api: Api) -> None:
    send(api, "search")
    send(api, "search", at=month_start(NEXT))
    close(org, api)
    assert close(org, api, NEXT)["statements"][0]["number"] == "CS-000002"


def test_closing_again_changes_nothing(org: Organization, api: Api) -> None:
    send(api, "search")
    found = close(org, api)
    assert api.post(f"statements/months/{NAME}/close", {}).json() == found
    assert work(org) == 0
    assert state(api) == found


def test_finalizing_a_statement_closes_its_month(org: Organization, api: Api) -> None:
    send(api, "search", "ads")
    assert api.post(f"statements/{NAME}:search/finalize", {}).status_code == 202
    assert work(org) == 1
    assert {one["status"] for one in statements(api).values()} == {"final"}


def test_a_month_that_nothing_is_booked_in_closes_without_statements(org: Organization, api: Api) -> None:
    assert close(org, api)["statements"] == []


# --- what closing waits for -----------------------------------------------------------------------------


def missing(api: Api, month: Any) -> list[str]:
    return [check["code"] for check in state(api, month)["checks"] if not check["holds"]]


def refused(api: Api, month: Any) -> dict[str, Any]:
    response = api.post(f"statements/months/{month:%Y-%m}/close", {})
    assert (response.status_code, response.json()["code"]) == (409, "month_not_ready"), response.content
    assert state(api, month)["state"] == "open"
    problem: dict[str, Any] = response.json()
    return problem


def test_a_month_that_is_not_over_does_not_close(org: Organization, api: Api) -> None:
    send(api, "search", at=month_start(THIS_MONTH))
    assert missing(api, THIS_MONTH) == ["ended"]
    assert "72 hours after its end" in refused(api, THIS_MONTH)["detail"]
    assert work(org) == 0


def test_the_delay_is_the_organizations_own(org: Organization, api: Api) -> None:
    end = month_start(NEXT)
    for hours in (0, 1, 72, 360):
        api.call("put", "statements/terms", {"close_after_hours": hours})
        for before, waits in ((timedelta(seconds=1), ["ended"]), (timedelta(0), [])):
            with tenant(org):
                checks = months.checks_of(org, MONTH, at=end + timedelta(hours=hours) - before)
            assert [check.code for check in checks if not check.holds] == waits


def test_months_close_in_order(org: Organization, api: Api) -> None:
    send(api, "search", at=month_start(month_before(MONTH)))
    send(api, "search")
    assert missing(api, MONTH) == ["in_order"]
    assert f"{month_before(MONTH):%Y-%m} is open and has something to charge" in refused(api, MONTH)["detail"]
    close(org, api, month_before(MONTH))
    close(org, api)


@pytest.mark.parametrize(
    ("path", "charge"),
    [
        ("contracts", {"kind": "seats", "name": "seats", "amount_usd": "9", "starts_at": MIDDLE.isoformat()}),
        ("allocations", {"name": "gateway", "source": "amount", "amount_usd": "9", "method": "even"}),
    ],
)
def test_a_month_without_a_call_that_charges_something_is_not_passed_over(
    org: Organization, api: Api, path: str, charge: dict[str, Any]
) -> None:
    before, between = month_before(MONTH), MONTH
    send(api, "search", at=month_start(before))
    send(api, "search", at=month_start(NEXT))
    assert missing(api, before) == []
    close(org, api, before)
    assert missing(api, NEXT) == []
    dated = {"from_month": NAME} if path == "allocations" else {}
    assert api.post(path, charge | dated).status_code == 201
    assert missing(api, NEXT) == ["in_order"]
    assert len(close(org, api, between)["statements"]) == 1
    close(org, api, NEXT)


def test_statements_in_a_currency_wait_for_its_rate(org: Organization, api: Api) -> None:
    api.call("put", "statements/terms", {"currency": "EUR"})
    send(api, "search")
    assert missing(api, MONTH) == ["rate"]
    assert "how many EUR one USD was" in refused(api, MONTH)["detail"]
    one = statements(api)["search"]
    assert (one["total"], one["lines"][0]["amount"], one["total_usd"]) == (None, None, "0.004500000000")


def test_a_month_that_does_not_agree_stays_closing_and_says_so(org: Organization, api: Api) -> None:
    send(api, "search")
    roll(org)
    as_owner("UPDATE usage_dayrollup SET cost_usd = cost_usd + 1 WHERE organization_id = %s", org.pk)
    api.post(f"statements/months/{NAME}/close", {})
    for _ in range(2):
        assert work(org) == 0
    found = state(api)
    assert (found["state"], [step["step"] for step in found["steps"]]) == ("closing", ["fail", "fence"])
    assert "differences between events and rollups" in found["steps"][0]["note"]
    with tenant(org):
        assert not Statement.objects.for_org(org).exists()
    as_owner("UPDATE usage_dayrollup SET cost_usd = cost_usd - 1 WHERE organization_id = %s", org.pk)
    assert work(org) == 1
    assert state(api)["state"] == "final"


def test_a_failure_that_is_noted_after_the_seal_opens_nothing(org: Organization, api: Api) -> None:
    send(api, "search")
    before = close(org, api)
    with as_worker():
        closing._fail(org, MONTH, "Another worker looked a moment earlier.")
    assert state(api) == before
    as_owner(
        "INSERT INTO reports_monthstep (organization_id, month, step, at, by, note, facts)"
        " VALUES (%s, %s, 'fail', now(), 'x', '', '{}') RETURNING id",
        org.pk, MONTH,
    )  # fmt: skip
    assert (state(api)["state"], statements(api)["search"]["number"]) == ("final", 1)


def test_a_month_becomes_final_after_those_before_it(org: Organization, api: Api) -> None:
    send(api, "search")
    send(api, "search", at=month_start(NEXT))
    roll(org)
    as_owner("UPDATE usage_dayrollup SET cost_usd = cost_usd + 1 WHERE organization_id = %s", org.pk)
    api.call("put", "statements/terms", {"close_after_hours": 0})
    api.post(f"statements/months/{NAME}/close", {})
    assert work(org) == 0
    assert missing(api, NEXT) == ["in_order"]
    assert f"{NAME} is closing" in refused(api, NEXT)["detail"]
    as_owner("UPDATE usage_dayrollup SET cost_usd = cost_usd - 1 WHERE organization_id = %s", org.pk)
    assert work(org) == 1
    assert missing(api, NEXT) == []


def test_the_year_to_date_counts_a_month_that_is_closing(org: Organization, api: Api) -> None:
    january = date(THIS_MONTH.year - 1, 1, 1)
    for month in (january, next_month(january)):
        send(api, "search", at=month_start(month))
    before = statements(api, next_month(january))["search"]["summary"]["year_to_date_usd"]
    api.post(f"statements/months/{january:%Y-%m}/close", {})
    assert state(api, january)["state"] == "closing"
    assert statements(api, next_month(january))["search"]["summary"]["year_to_date_usd"] == before == "0.009000000000"


def test_a_month_of_adjustments_alone_is_not_passed_over(org: Organization, api: Api) -> None:
    adjust(api)
    send(api, "search", at=month_start(NEXT))
    api.call("put", "statements/terms", {"close_after_hours": 0, "closes_itself": True})
    assert missing(api, NEXT) == ["in_order"]
    assert [work(org), work(org), work(org)] == [1, 1, 0]
    assert statements(api)["search"]["total_usd"] == "-0.001000000000"


def test_a_sum_that_no_amount_may_be_is_said_on_the_page(org: Organization, api: Api) -> None:
    as_owner(
        "INSERT INTO reports_adjustment (organization_id, kind, booked_month, of_month, team, provider, model, name,"
        " cost_usd, reason, refers_to, source, booked_at, booked_by) SELECT %s, 'true_up', %s, %s, NULL, '', '', 'x',"
        " 9e23, 'x', '', '', now(), 'x' FROM generate_series(1, 2) RETURNING id",
        org.pk, MONTH, MONTH,
    )  # fmt: skip
    api.post(f"statements/months/{NAME}/close", {})
    assert work(org) == 0
    assert "larger than an amount may be" in state(api)["steps"][0]["note"]


# --- by itself ------------------------------------------------------------------------------------------


def test_months_close_themselves_where_they_are_told_to(org: Organization, api: Api) -> None:
    send(api, "search", at=month_start(month_before(MONTH)))
    send(api, "search")
    assert work(org) == 0
    api.call("put", "statements/terms", {"closes_itself": True})
    assert [work(org), work(org), work(org)] == [1, 1, 0]
    assert state(api)["state"] == "final"
    assert state(api)["steps"][-1]["by"] == "closes itself"


# --- review ---------------------------------------------------------------------------------------------


def test_a_review_shows_drafts_that_still_follow(org: Organization, api: Api) -> None:
    send(api, "search")
    assert api.post(f"statements/months/{NAME}/review", {}).json()["state"] == "in_review"
    send(api, "search")
    assert (statements(api)["search"]["status"], statements(api)["search"]["events"]) == ("in_review", 2)
    assert api.post(f"statements/months/{NAME}/reopen", {}).json()["state"] == "open"
    api.post(f"statements/months/{NAME}/review", {})
    assert [step["step"] for step in close(org, api)["steps"]] == ["seal", "fence", "review", "reopen", "review"]


def test_a_closed_month_is_not_reviewed_and_one_that_runs_neither(org: Organization, api: Api) -> None:
    response = api.post(f"statements/months/{THIS_MONTH:%Y-%m}/review", {})
    assert (response.status_code, response.json()["code"]) == (409, "month_not_over")
    close(org, api)
    for act in ("review", "reopen"):
        response = api.post(f"statements/months/{NAME}/{act}", {})
        assert (response.status_code, response.json()["code"]) == (409, "month_closed")


# --- afterwards -----------------------------------------------------------------------------------------


def test_what_comes_late_stands_once_on_the_next_month(org: Organization, api: Api) -> None:
    send(api, "search")
    close(org, api)
    before = api.get(f"statements/{NAME}:search").content
    send(api, "search", "ads")
    send(api, "search", at=month_start(NEXT))
    later = statements(api, NEXT)
    lines = [(line["kind"], line["of_month"], line["events"]) for line in later["search"]["lines"]]
    assert lines == [("usage", None, 1), ("late", NAME, 1)]
    assert [(line["kind"], line["of_month"]) for line in later["ads"]["lines"]] == [("late", NAME)]
    assert api.get(f"statements/{NAME}:search").content == before
    assert booked(api, NEXT) == 3 * COST
    close(org, api, NEXT)
    assert sum(one["events"] for month in (MONTH, NEXT) for one in statements(api, month).values()) == 4
    assert reconcile(org) == []


def test_a_later_price_or_name_changes_no_byte_of_what_is_final(org: Organization, api: Api) -> None:
    send(api, "search", "unknown")
    close(org, api)
    names = (f"{NAME}:search", f"{NAME}:", *(f"{NAME}:search.{paper}" for paper in PAPERS))
    before = [api.get(f"statements/{name}").content for name in names]
    api.post("contracts", {"kind": "discount", "name": "deal", "percent": "50", "starts_at": MIDDLE.isoformat()})
    api.post("contracts", {"kind": "seats", "name": "seats", "amount_usd": "9", "starts_at": MIDDLE.isoformat()})
    pool = {"name": "shared", "source": "amount", "amount_usd": "9", "method": "even"}
    assert api.post("allocations", pool).status_code == 201
    create_team(org=org, slug="unknown")
    as_owner("UPDATE teams_team SET name = 'Renamed', cost_centre = 'x' WHERE organization_id = %s", org.pk)
    as_owner("UPDATE organizations_organization SET name = 'Renamed' WHERE id = %s", org.pk)
    api.call("put", "statements/terms", {"currency": "EUR"})
    assert [api.get(f"statements/{name}").content for name in names] == before


def credit(api: Api, name: str, **fields: Any) -> dict[str, Any]:
    begin = month_start(MONTH).isoformat()
    given = {"kind": "credit", "name": name, "amount_usd": "0.006", "starts_at": begin} | fields
    made: dict[str, Any] = api.post("contracts", given).json()
    return made


def drawn(api: Api, month: date) -> list[tuple[str, str]]:
    lines = [line for one in statements(api, month).values() for line in one["lines"]]
    return [(line["name"], line["cost_usd"]) for line in lines if line["kind"] == "credit"]


def test_a_credit_is_given_once_whatever_contracts_come_later(org: Organization, api: Api) -> None:
    first = credit(api, "First")
    send(api, "search")
    close(org, api)
    send(api, *["search"] * 2, at=month_start(NEXT))
    # It ends first, so it would have been used first; and it would have been gone by now.
    end = month_start(next_month(NEXT)).isoformat()
    later = credit(api, "Later", amount_usd="0.004", ends_at=end)
    assert drawn(api, MONTH) == [("First", "-0.004500000000")]
    assert drawn(api, NEXT) == [("First", "-0.001500000000"), ("Later", "-0.004000000000")]
    left = [api.get(f"contracts/{made['id']}").json()["left_usd"] for made in (first, later)]
    assert left == ["0.000000000000", "0.000000000000"] or next_month(NEXT) < THIS_MONTH
    assert statements(api, NEXT)["search"]["total_usd"] == "0.003500000000"


def test_the_total_of_a_month_is_that_of_its_statements(org: Organization, api: Api) -> None:
    def check() -> None:
        found = statements(api)
        whole = month_total(org, MONTH)
        assert (whole.statements, whole.events) == (len(found), sum(one["events"] for one in found.values()))
        assert whole.total_usd == sum(Decimal(one["total_usd"] or 0) for one in found.values())

    send(api, "search", None)
    pool = {"name": "Licence", "source": "amount", "amount_usd": "7", "method": "direct", "to_team": "ads"}
    assert api.post("allocations", {**pool, "from_month": NAME}).status_code == 201
    check()
    close(org, api)
    check()
    credit(api, "Late")
    api.post(
        "contracts", {"kind": "seats", "name": "S", "amount_usd": "9", "starts_at": month_start(MONTH).isoformat()}
    )
    check()
    assert month_total(org, MONTH).total_usd == Decimal("7.009")


# --- immutable ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["app", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reports_statement SET total_usd = 0",
        "UPDATE reports_statement SET document = ''",
        "DELETE FROM reports_statement",
        "TRUNCATE reports_statement",
        "UPDATE reports_monthstep SET step = 'reopen'",
        "DELETE FROM reports_monthstep",
        "TRUNCATE reports_monthstep",
        "UPDATE reports_adjustment SET cost_usd = 0",
        "DELETE FROM reports_adjustment",
        "TRUNCATE reports_adjustment",
        "UPDATE reports_exchangerate SET rate = 1",
        "DELETE FROM reports_exchangerate",
        "TRUNCATE reports_exchangerate",
    ],
)
def test_no_run_time_role_may_change_what_is_final(org: Organization, api: Api, role: str, statement: str) -> None:
    send(api, "search")
    close(org, api)
    with pytest.raises(Exception, match="permission denied"):
        run_as(role, org, statement)
    assert statements(api)["search"]["number"] == 1


def run_as(role: str, org: Organization, statement: str) -> None:
    if role == "worker":
        with as_worker():
            run_as("app", org, statement)
        return
    with tenant(org), connections["default"].cursor() as cursor:
        cursor.execute(statement)


def test_the_site_may_not_store_a_statement(org: Organization) -> None:
    with pytest.raises(Exception, match="permission denied"):
        run_as("app", org, "INSERT INTO reports_statement DEFAULT VALUES")


@pytest.mark.parametrize("method", ["put", "patch", "delete", "post"])
def test_no_endpoint_changes_a_final_statement(org: Organization, api: Api, method: str) -> None:
    send(api, "search")
    close(org, api)
    before = api.get(f"statements/{NAME}:search").content
    for name in (f"{NAME}:search", "CS-000001", f"{NAME}:search.csv"):
        response = api.call(method, f"statements/{name}", {"total_usd": "0"})
        assert response.status_code == 405, (name, response.content)
    assert api.get(f"statements/{NAME}:search").content == before


def test_a_document_that_was_changed_by_the_owner_no_longer_has_its_hash(org: Organization, api: Api) -> None:
    send(api, "search")
    close(org, api)
    [row] = as_owner("SELECT document, sha256 FROM reports_statement WHERE organization_id = %s", org.pk)
    assert hashlib.sha256(bytes(row["document"])).hexdigest() == row["sha256"]
    assert json.loads(bytes(row["document"]))["status"] == "final"
