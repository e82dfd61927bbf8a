"""Disputes: raised on a line, answered by finance, booked as pairs; the month waits for them."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.test import Client

from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.reports.disputes import line_key
from apps.reports.models_disputes import Dispute
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.portal.conftest import client_of, make_person
from tests.reports.months import (
    MIDDLE,
    MONTH,
    NAME,
    NEXT,
    NEXT_NAME,
    THIS_MONTH,
    booked,
    close,
    state,
    statements,
    work,
)
from tests.usage.ledger import as_owner, month_start, reconcile, roll
from tests.usage.test_known_names import post_names
from tests.world import Api, make_event

COST = Decimal("0.0045")
LINE = {"kind": "usage", "provider": "anthropic", "model": "claude-sonnet-4-5"}
LAST = f"{(NEXT - timedelta(days=1)):%Y-%m-%d}"


@pytest.fixture
def org() -> Organization:
    org = make_org()
    for slug in ("search", "ads"):
        create_team(org=org, slug=slug)
    return org


@pytest.fixture
def api(org: Organization) -> Api:
    return make_api(org)


def send(api: Api, *teams: str | None, at: Any = MIDDLE) -> None:
    api.send(*(make_event(occurred_at=at.isoformat(), **({"team": team} if team else {})) for team in teams))


def raised(api: Api, team: str = "search", line: Any = LINE, month: str = NAME, **given: Any) -> Any:
    return api.post(
        "statements/disputes", {"statement": f"{month}:{team}", "line": line, "reason": "Not ours", **given}
    )


def made(api: Api, **given: Any) -> dict[str, Any]:
    response = raised(api, **given)
    assert response.status_code == 201, response.content
    found: dict[str, Any] = response.json()
    return found


def answer(api: Api, found: dict[str, Any], act: str, **given: Any) -> Any:
    return api.post(f"statements/disputes/{found['id']}/{act}", {"answer": "As agreed", **given})


def totals(api: Api, month: date = MONTH) -> dict[str | None, Decimal]:
    return {team: Decimal(one["total_usd"]) for team, one in statements(api, month).items()}


def check(api: Api) -> dict[str, bool]:
    return {one["code"]: one["holds"] for one in state(api)["checks"]}


def refused(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.content


def test_a_month_waits_for_its_disputes_and_the_statement_keeps_them(org: Organization, api: Api) -> None:
    send(api, "search")
    found = made(api)
    assert (found["amount_usd"], found["state"], found["team"]) == ("0.004500000000", "open", "search")
    assert check(api)["disputes"] is False
    refused(api.post(f"statements/months/{NAME}/close", {}), 409, "month_not_ready")
    done = answer(api, found, "reject").json()
    assert (done["state"], done["answer"]) == ("rejected", "As agreed")
    close(org, api)
    [note] = statements(api)["search"]["disputes"]
    assert note == {
        "id": found["id"], "about": "usage: anthropic claude-sonnet-4-5", "amount_usd": "0.004500000000",
        "reason": "Not ours", "state": "rejected", "answer": "As agreed",
    }  # fmt: skip
    refused(answer(api, found, "reject"), 409, "dispute_answered")
    for preview in (True, False):
        refused(answer(api, found, "move", team="ads", preview=preview), 409, "dispute_answered")


def test_a_move_books_what_the_line_cost_from_a_day_on_and_touches_no_event(org: Organization, api: Api) -> None:
    send(api, "search", at=month_start(MONTH))
    send(api, "search", "search")
    roll(org)
    send(api, "search", at=MIDDLE + timedelta(days=2))
    before, found = booked(api), made(api)
    day = f"{MIDDLE:%Y-%m-%d}"
    seen = answer(api, found, "move", team="ads", from_day=day, preview=True).json()
    assert (seen["state"], seen["moved_usd"], seen["booked_month"]) == ("open", "0.013500000000", NAME)
    done = answer(api, found, "move", team="ads", from_day=day).json()
    assert (done["state"], done["to_team"], done["moved_usd"]) == ("moved", "ads", "0.013500000000")
    after = statements(api)
    assert after["search"]["total_usd"] == "0.004500000000"
    assert after["ads"]["total_usd"] == "0.013500000000"
    pair = [line for one in after.values() for line in one["lines"] if line["kind"] == "dispute"]
    assert sum(Decimal(line["cost_usd"]) for line in pair) == 0
    assert (booked(api), reconcile(org)) == (before, [])
    rows = api.get("statements/adjustments").json()["data"]
    assert {row["source"] for row in rows} == {f"dispute:{found['id']}"}


def test_the_whole_line_moves_where_no_day_is_named(org: Organization, api: Api) -> None:
    send(api, "search", "search")
    roll(org)
    done = answer(api, made(api), "move", team="ads").json()
    assert (done["moved_usd"], done["from_day"]) == ("0.009000000000", f"{MONTH}")


def test_what_was_moved_once_does_not_move_again(org: Organization, api: Api) -> None:
    send(api, "search", at=month_start(MONTH))
    send(api, "search", "search")
    later = f"{MIDDLE:%Y-%m-%d}"
    assert answer(api, made(api), "move", team="ads", from_day=later).json()["moved_usd"] == "0.009000000000"
    again = made(api)
    refused(answer(api, again, "move", team="ads", from_day=later), 400, "nothing_to_move")
    # What stayed behind may follow, and no more than that.
    assert answer(api, again, "move", team="ads").json()["moved_usd"] == "0.004500000000"
    assert statements(api)["search"]["total_usd"] == "0.000000000000"
    refused(answer(api, made(api), "move", team="ads"), 400, "nothing_to_move")


def test_what_is_booked_after_the_answer_moves_by_the_next_one(org: Organization, api: Api) -> None:
    day, later = f"{MIDDLE:%Y-%m-%d}", f"{MIDDLE + timedelta(days=1):%Y-%m-%d}"
    send(api, "search", at=month_start(MONTH))
    send(api, "search")
    answer(api, made(api), "move", team="ads", from_day=day)
    send(api, "search", "search", at=MIDDLE + timedelta(days=2))
    assert totals(api) == {"search": 3 * COST, "ads": COST}
    again = made(api)
    response = answer(api, again, "move", team="ads", from_day=later)
    refused(response, 400, "nothing_to_move")
    assert f"from {day} on: name that day" in response.json()["detail"]
    assert answer(api, again, "move", team="ads", from_day=day).json()["moved_usd"] == "0.009000000000"
    assert totals(api) == {"search": COST, "ads": 3 * COST}


def test_nobody_gets_back_what_they_never_bore(org: Organization, api: Api) -> None:
    """A name is mapped between two disputes of the line that it was on: the usage went its own way by then."""
    create_team(org=org, slug="legal")
    send(api, "serch")
    line = LINE | {"kind": "unattributed"}
    answer(api, made(api, team="", line=line), "move", team="ads")
    again = made(api, team="", line=line)
    assert api.post("aliases", {"kind": "team", "name": "serch", "slug": "search"}).status_code == 201
    assert post_names(org) == 1
    before = totals(api)
    refused(answer(api, again, "move", team="legal"), 400, "nothing_to_move")
    assert totals(api) == before


def test_a_line_that_no_event_made_moves_whole_and_once(org: Organization, api: Api) -> None:
    send(api, "search")
    row = api.post(
        "statements/adjustments",
        {"month": NAME, "team": "search", "name": "Licence", "amount_usd": "7", "reason": "agreed"},
    ).json()
    line = {"kind": "adjustment", "of_month": NAME, "name": "Licence", "source": f"adjustment:{row['id']}"}
    done = answer(api, made(api, line=line), "move", team="ads", from_day=LAST).json()
    assert done["moved_usd"] == "7.000000000000"
    refused(answer(api, made(api, line=line), "move", team="ads"), 400, "nothing_to_move")


def test_after_the_close_the_pair_stands_on_the_first_open_month(org: Organization, api: Api) -> None:
    send(api, "search")
    close(org, api)
    final = api.get(f"statements/{NAME}:search").content
    done = answer(api, made(api), "move", team="ads").json()
    assert done["booked_month"] == NEXT_NAME
    assert api.get(f"statements/{NAME}:search").content == final
    later = statements(api, NEXT)
    assert {team: one["total_usd"] for team, one in later.items()} == {
        "search": "-0.004500000000", "ads": "0.004500000000",
    }  # fmt: skip
    assert {line["of_month"] for one in later.values() for line in one["lines"]} == {NAME}
    assert [line["amount"] for one in later.values() for line in one["lines"]] == ["0.00", "0.00"]


def test_what_has_found_its_team_is_not_shared_by_all(org: Organization, api: Api) -> None:
    send(api, "search", "ads", None, None, None)
    pool = {"name": "Nobody's", "source": "unattributed", "method": "even", "from_month": NAME}
    assert api.post("allocations", pool).status_code == 201
    loose = LINE | {"kind": "unattributed"}
    assert answer(api, made(api, team="", line=loose), "move", team="ads").status_code == 200
    assert totals(api) == {"search": COST, "ads": 4 * COST, None: 0}
    send(api, None, None)
    assert totals(api) == {"search": 2 * COST, "ads": 5 * COST, None: 0}
    close(org, api)
    # What all of them paid comes back to them.
    assert answer(api, made(api, team="", line=loose), "move", team="ads").json()["booked_month"] == NEXT_NAME
    send(api, "search", "ads", at=month_start(NEXT))
    assert totals(api, NEXT) == {"search": 0, "ads": 2 * COST, None: 0}


def test_a_final_statement_is_disputed_for_a_week(org: Organization, api: Api) -> None:
    send(api, "search")
    close(org, api)
    as_owner("UPDATE reports_monthstep SET at = at - interval '8 days' WHERE organization_id = %s", org.pk)
    refused(raised(api), 409, "dispute_window_over")


def test_while_a_month_closes_nothing_is_disputed(org: Organization, api: Api) -> None:
    send(api, "search")
    api.post(f"statements/months/{NAME}/close", {})
    refused(raised(api), 409, "month_closed")
    assert work(org) == 1


@pytest.mark.parametrize(
    ("month", "status", "code"),
    [(next_month(THIS_MONTH), 400, "month_invalid"), (month_before(MONTH), 409, "month_closed")],
)
def test_what_is_never_charged_is_not_disputed(
    org: Organization, api: Api, month: date, status: int, code: str
) -> None:
    send(api, "search")
    close(org, api)
    seats = {"kind": "seats", "name": "Seats", "team": "search", "amount_usd": "9"}
    begin = month_start(month_before(MONTH)).isoformat()
    number = api.post("contracts", {**seats, "starts_at": begin}).json()["id"]
    line = {"kind": "seats", "name": "Seats", "source": f"contract:{number}"}
    refused(raised(api, month=f"{month:%Y-%m}", line=line), status, code)
    lead = somebody(org, Role.LEAD, "search")
    page = lead.get(f"/o/{org.slug}/statements/{month:%Y-%m}:search").content.decode()
    assert "Seats" in page
    assert "disputes/new" not in page
    assert raised(api, month=NEXT_NAME, line=line).status_code == 201


def test_a_line_has_one_open_dispute_at_a_time(org: Organization, api: Api) -> None:
    send(api, "search")
    found = made(api)
    refused(raised(api), 409, "dispute_open")
    answer(api, found, "reject")
    made(api)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"line": LINE | {"model": "gpt-5"}}, "line_unknown"),
        ({"team": "ads"}, "line_unknown"),
        ({"line": LINE | {"model": "mystery", "kind": "unpriced"}}, "line_unpriced"),
        ({"statement": NAME}, "statement_unknown"),
        ({"statement": "2026-13:search"}, "month_invalid"),
        ({"reason": "\x00"}, "invalid"),
        ({"reason": ""}, "invalid"),
    ],
)
def test_a_dispute_that_cannot_be_is_refused(api: Api, given: dict[str, Any], code: str) -> None:
    send(api, "search")
    api.send(make_event(occurred_at=MIDDLE.isoformat(), team="search", model="mystery"))
    refused(raised(api, **given), 400, code)
    assert api.get("statements/disputes").json()["data"] == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"team": "nobody"}, "team_unknown"),
        ({"team": "search"}, "team_unchanged"),
        ({"from_day": f"{NEXT}"}, "day_invalid"),
        ({"from_day": "soon"}, "day_invalid"),
        ({"from_day": LAST}, "nothing_to_move"),
        ({"answer": ""}, "reason_invalid"),
    ],
)
def test_a_move_that_cannot_be_books_nothing(api: Api, given: dict[str, Any], code: str) -> None:
    send(api, "search")
    found = made(api)
    refused(answer(api, found, "move", **{"team": "ads", **given}), 400, code)
    assert api.get("statements/adjustments").json()["data"] == []
    assert api.get("statements/disputes").json()["data"] == [found]


def test_a_key_of_a_team_disputes_that_teams_statement_alone(org: Organization, api: Api) -> None:
    send(api, "search", "ads")
    pinned = make_api(org, team="search")
    found = made(pinned)
    refused(raised(pinned, team="ads"), 403, "pinned_dimension")
    refused(answer(pinned, found, "reject"), 403, "pinned_dimension")
    made(api, team="ads")
    assert [one["team"] for one in pinned.get("statements/disputes").json()["data"]] == ["search"]


def test_the_list_is_paged_and_filtered(org: Organization, api: Api) -> None:
    send(api, "search", "ads")
    first, second = made(api), made(api, team="ads")
    answer(api, first, "reject")
    page = api.get("statements/disputes", limit="1").json()
    assert [one["id"] for one in page["data"]] == [second["id"]]
    assert api.get("statements/disputes", limit="1", cursor=page["next"]).json()["data"][0]["id"] == first["id"]
    for query, ids in (
        ({"state": "rejected"}, [first["id"]]),
        ({"team": "ads"}, [second["id"]]),
        ({"month": "2020-01"}, []),
    ):
        assert [one["id"] for one in api.get("statements/disputes", **query).json()["data"]] == ids
    refused(api.get("statements/disputes", state="x"), 400, "state_unknown")


# --- pages ----------------------------------------------------------------------------------------------


def somebody(org: Organization, role: Role, *teams: str) -> Client:
    person = make_person(role)
    add_member(org=org, user=person, role=role, teams=list(teams), actor=None)
    return client_of(person)


def test_a_lead_disputes_a_line_and_reads_the_answer(org: Organization, api: Api) -> None:
    send(api, "search", "ads")
    lead, finance, base = somebody(org, Role.LEAD, "search"), somebody(org, Role.FINANCE), f"/o/{org.slug}/statements"
    page = lead.get(f"{base}/{NAME}:search").content.decode()
    url = page.partition(f'href="{base}/disputes/new')[2].partition('"')[0].replace("&amp;", "&")
    form = f"{base}/disputes/new{url}"
    assert "claude-sonnet-4-5" in lead.get(form).content.decode()
    sent = dict(parse_qsl(url.removeprefix("?")))
    assert lead.post(form, sent | {"reason": ""}).status_code == 400
    assert lead.post(f"{base}/disputes/new", sent | {"team": "ads", "reason": "x"}).status_code == 404
    there = lead.post(form, sent | {"reason": "It was the ads job"})
    assert there.status_code == 302
    one = there["Location"]
    assert lead.post(one, {"act": "reject", "answer": "no"}).status_code == 403
    assert "It was the ads job" in finance.get(f"{base}/disputes").content.decode()
    seen = finance.post(one, {"act": "preview", "team": "ads", "from_day": "", "answer": "Right"}).content.decode()
    assert "Move 0.0045 USD" in seen.replace("$", "") or "0.0045" in seen
    assert (
        finance.post(one, {"act": "move", "team": "ads", "from_day": "", "answer": "Right you are"}).status_code == 302
    )
    for shown in (one, f"{base}/{NAME}:search"):
        assert "Right you are" in lead.get(shown).content.decode()
    assert somebody(org, Role.LEAD, "ads").get(one).status_code == 404
    assert finance.get(f"{base}/disputes?state=open").content.decode().count("<tbody>") == 0


def test_a_lead_has_nothing_to_do_with_what_no_team_owns(org: Organization, api: Api) -> None:
    send(api, "search", None)
    lead, form = somebody(org, Role.LEAD, "search"), f"/o/{org.slug}/statements/disputes/new"
    loose = {"kind": "unattributed", "name": "", "source": "", "provider": LINE["provider"], "model": LINE["model"]}
    asked = {"month": NAME, "line": line_key(loose)}
    assert lead.get(form, asked).status_code == 404
    assert lead.post(form, asked | {"team": "", "reason": "x"}).status_code == 404
    assert somebody(org, Role.FINANCE).get(form, asked).content.decode().count("claude-sonnet-4-5") == 1
    assert lead.get(form).status_code == 200
    assert api.get("statements/disputes").json()["data"] == []


def test_the_next_page_is_of_the_same_month(org: Organization, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.portal.views.disputes.ROWS", 1)
    for team, at in (("search", MIDDLE), ("ads", MIDDLE), ("search", month_start(NEXT))):
        send(api, team, at=at)
    for team, month in (("search", NAME), ("search", NEXT_NAME), ("ads", NAME)):
        made(api, team=team, month=month)
    finance, url = somebody(org, Role.FINANCE), f"/o/{org.slug}/statements/disputes?month={NAME}"
    page = finance.get(url).content.decode()
    onward = page.partition(' rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    older = finance.get(onward).content.decode()
    assert 'data-label="Team">ads<' in page
    assert 'data-label="Team">search<' in older
    assert f">{NEXT_NAME}<" not in page + older
    assert f'name="month" value="{NAME}"' in page


def test_who_may_not_dispute_sees_no_link(org: Organization, api: Api) -> None:
    send(api, "search")
    viewer, base = somebody(org, Role.VIEWER), f"/o/{org.slug}/statements"
    assert "disputes/new" not in viewer.get(f"{base}/{NAME}:search").content.decode()
    assert viewer.get(f"{base}/disputes/new").status_code == 403
    lead = somebody(org, Role.LEAD, "ads")
    assert lead.get(f"{base}/disputes/new?month={NAME}&team=search&line=x").status_code == 403


def test_a_line_that_is_gone_says_so(org: Organization, api: Api) -> None:
    send(api, "search")
    found, finance = made(api), somebody(org, Role.FINANCE)
    with tenant(org):
        Dispute.objects.for_org(org).get(pk=found["id"])
    as_owner("UPDATE reports_dispute SET line_key = 'gone' WHERE organization_id = %s", org.pk)
    assert "the line is gone" in finance.get(f"/o/{org.slug}/statements/disputes/{found['id']}").content.decode()
