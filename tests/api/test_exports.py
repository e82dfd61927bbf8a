"""Exports through the API: made by a worker for a key, and of a pinned key its part alone."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.reports import export_files, exporting
from apps.reports.models import Export, ExportPart
from apps.reports.tasks import continue_exports
from apps.teams.services import create_team
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.portal.conftest import client_of, make_person
from tests.portal.files import rows_of
from tests.reports.focus_rows import read, total
from tests.world import make_event

COST = Decimal("0.0045")
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = {"from": (TODAY - timedelta(days=2)).isoformat(), "to": (TODAY + timedelta(days=1)).isoformat()}
FOCUS = {"format": "focus_csv", **DAYS}
SHEET = {"format": "csv", "group_by": ["team"], **DAYS}


@pytest.fixture
def org():
    org = make_org()
    for slug in ("search", "growth"):
        create_team(org=org, slug=slug)
    return org


@pytest.fixture
def api(org):
    api = make_api(org)
    api.send(
        *(make_event(team="search", occurred_at=datetime.now(UTC).isoformat()) for _ in range(3)),
        make_event(team="growth"),
        make_event(team="growth", model="nobody-knows"),
    )
    return api


@pytest.fixture(autouse=True)
def no_hints(monkeypatch):
    hinted = []
    monkeypatch.setattr("apps.api.v1.exports.hint_export", hinted.append)
    monkeypatch.setattr("apps.reports.tasks.hint_export", hinted.append)
    return hinted


def ask(api, body):
    response = api.post("exports", body)
    assert response.status_code == 202, response.content
    return response.json()


def work(org):
    with as_worker():
        while exporting.work(org):
            pass


def fetched(api, export, **headers):
    path = f"/api/v1/exports/{export['id']}/file"
    response = api.client.get(path, headers={**api.headers, **headers})
    assert response.status_code == 200, response.content
    return response, b"".join(response.streaming_content)


def delete(api, export):
    return api.client.delete(f"/api/v1/exports/{export['id']}", headers=api.headers)


def refusal(response):
    body = response.json()
    return response.status_code, body["code"], body.get("param")


def test_an_export_is_asked_for_written_fetched_and_deleted(org, api, no_hints):
    asked = ask(api, SHEET)
    assert (asked["state"], asked["rows"], asked["made_by"][:4]) == ("queued", None, "key:")
    assert no_hints == [org.pk]
    assert refusal(api.get(f"exports/{asked['id']}/file")) == (409, "export_not_ready", None)
    work(org)
    done = api.get(f"exports/{asked['id']}").json()
    assert (done["state"], done["rows"], done["unpriced_events"]) == ("done", 2, 1)
    assert datetime.fromisoformat(done["expires_at"]) - datetime.fromisoformat(done["finished_at"]) == exporting.KEPT
    response, body = fetched(api, done)
    assert response["Content-Disposition"].endswith('.csv"')
    assert int(response["Content-Length"]) == done["size_bytes"] == len(body)
    assert {row["team"]: row["cost_usd"] for row in rows_of(body)} == {
        "search": "0.013500000000", "growth": "0.004500000000",
    }  # fmt: skip
    assert delete(api, done).status_code == 204
    assert api.get(f"exports/{asked['id']}").status_code == 404
    with tenant(org):
        assert not ExportPart.objects.for_org(org).exists()
        actions = AuditEntry.objects.for_org(org).filter(action__startswith="exports.").values_list("action", "actor")
        assert list(actions.order_by("sequence")) == [
            ("exports.asked", asked["made_by"]), ("exports.deleted", asked["made_by"]),
        ]  # fmt: skip


def test_a_workbook_is_a_format(org, api):
    asked = ask(api, {**SHEET, "format": "xlsx"})
    work(org)
    assert fetched(api, asked)[1][:2] == b"PK"


def test_a_focus_file_is_kept_packed_and_sent_as_it_is_accepted(org, api, monkeypatch):
    monkeypatch.setattr(exporting, "PART_BYTES", 100)
    monkeypatch.setattr(export_files, "UNPACKED_BYTES", 64)
    asked = ask(api, FOCUS)
    work(org)
    plain, body = fetched(api, asked)
    assert not plain.has_header("Content-Encoding")
    packed, packed_body = fetched(api, asked, **{"Accept-Encoding": "gzip, br"})
    assert packed["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed_body) == body
    assert int(packed["Content-Length"]) == len(packed_body) == api.get(f"exports/{asked['id']}").json()["size_bytes"]
    assert packed["Content-Disposition"].endswith('.focus.csv"')
    assert packed["X-Unpriced-Events"] == "1"
    rows = read(body)
    assert total(rows) == 4 * COST
    assert rows[0]["x_UnpricedEvents"] == "1.0"


def test_filters_and_exclusions_cut_a_file(org, api):
    for cut, cost in (
        ({"filters": {"team": "search"}}, 3 * COST),
        ({"excluded": {"team": ["search"]}}, COST),
        ({"filters": {"team": ""}}, 0),
    ):
        for body in (FOCUS, SHEET):
            asked = ask(api, {**body, **cut})
            work(org)
            content = fetched(api, asked)[1]
            found = total(read(content)) if body is FOCUS else total(rows_of(content), "cost_usd")
            assert found == cost, (cut, body)
            delete(api, asked)


def test_a_pinned_key_exports_and_sees_its_part_alone(org, api):
    pinned = make_api(org, "read", team="search")
    ours, theirs = ask(pinned, FOCUS), ask(api, FOCUS)
    assert ours["filters"] == {"team": "search"}
    work(org)
    assert total(read(fetched(pinned, ours)[1])) == 3 * COST
    assert [export["id"] for export in pinned.get("exports").json()["data"]] == [ours["id"]]
    for path in (f"exports/{theirs['id']}", f"exports/{theirs['id']}/file"):
        assert pinned.get(path).status_code == 404
    assert delete(pinned, theirs).status_code == 404
    refused = pinned.post("exports", {**FOCUS, "filters": {"team": "growth"}})
    assert refusal(refused)[1:] == ("pinned_dimension", "team")
    growth = make_api(org, "read", team="growth")
    assert growth.get("exports").json()["data"] == []
    assert {export["id"] for export in api.get("exports").json()["data"]} == {ours["id"], theirs["id"]}
    assert delete(api, ours).status_code == 404, "it is another key's"


def test_what_people_ask_for_is_not_of_keys_and_owners_see_both(org, api):
    alice, bob = make_person("alice"), make_person("bob")
    add_member(org=org, user=alice, role=Role.OWNER, actor=None)
    add_member(org=org, user=bob, role=Role.VIEWER, actor=None)
    ask(api, FOCUS)
    question = exporting.read_question({
        "from": DAYS["from"], "to": DAYS["to"], "group_by": ["team"], "filters": {}, "excluded": {}, "before": None,
    })  # fmt: skip
    exporting.ask_export(org=org, asked=exporting.Asked(alice, "Spend by team", "csv", question))
    work(org)
    assert [export["title"][:9] for export in api.get("exports").json()["data"]] == ["FOCUS 1.2"]
    shown = client_of(alice).get(f"/o/{org.slug}/exports").content.decode()
    assert "FOCUS 1.2, " in shown
    assert "by key:" in shown
    assert "by key:" not in client_of(bob).get(f"/o/{org.slug}/exports").content.decode()


def test_exports_come_in_pages_newest_first(org, api):
    made = [ask(api, SHEET)["id"] for _ in range(3)]
    first = api.get("exports", limit=2).json()
    assert [export["id"] for export in first["data"]] == made[:0:-1]
    rest = api.get("exports", limit=2, cursor=first["next"]).json()
    assert ([export["id"] for export in rest["data"]], rest["next"]) == (made[:1], None)
    assert refusal(api.get("exports", cursor="nonsense")) == (400, "cursor_invalid", "cursor")
    assert refusal(api.get("exports", team="search"))[1] == "parameter_unknown"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"format": "pdf"}, "format_unknown", "format"),
        ({"from": "yesterday"}, "from_invalid", "from"),
        ({"to": DAYS["from"]}, "range_empty", "from"),
        ({"group_by": []}, "group_by_invalid", "group_by"),
        ({"group_by": ["nothing"]}, "dimension_unknown", "group_by"),
        ({"group_by": ["team"] * 2}, "group_by_invalid", "group_by"),
        ({"filters": {"nothing": "x"}}, "dimension_unknown", "nothing"),
        ({"filters": {"team": "a\u0000b"}}, None, None),
        ({"filters": {"priced": "maybe"}}, "parameter_invalid", "priced"),
        ({"excluded": {"nothing": ["x"]}}, "dimension_unknown", "nothing"),
        ({"basis": "both"}, "basis_unknown", "basis"),
        ({"basis": "booked"}, "not_a_month", None),
        ({"granularity": "day"}, "field_unknown", "granularity"),
        ({**FOCUS, "group_by": ["team"]}, "group_by_invalid", "group_by"),
        ({**FOCUS, "group_by": [], "to": (TODAY + timedelta(hours=1)).isoformat()}, "not_a_day", "to"),
        ({**FOCUS, "group_by": [], "filters": {"user": "bob"}}, "dimension_unknown", "user"),
    ],
)
def test_what_no_worker_could_write_is_refused(org, api, change, code, param):
    response = api.post("exports", {**SHEET, **change})
    assert response.status_code == 400, response.content
    if code is not None:
        assert response.json()["code"] == code
    if param is not None:
        assert response.json()["param"] == param
    with tenant(org):
        assert not Export.objects.for_org(org).exists()


def test_there_is_a_limit_for_each_key(org, api):
    for _ in range(exporting.UNFINISHED_MAX):
        ask(api, SHEET)
    assert refusal(api.post("exports", SHEET))[:2] == (422, "too_many_exports")
    ask(make_api(org, "read"), SHEET)


def test_a_file_of_too_many_rows_fails_with_a_way_out(org, api, monkeypatch):
    monkeypatch.setattr("apps.reports.focus_files.ROWS_MAX", 1)
    asked = ask(api, FOCUS)
    work(org)
    failed = api.get(f"exports/{asked['id']}").json()
    assert failed["state"] == "failed"
    assert "more than 1 rows" in failed["error"]


def test_a_file_is_kept_for_a_week(org, api):
    asked = ask(api, FOCUS)
    work(org)
    with time_machine.travel(timezone.now() + timedelta(days=8)), as_worker():
        continue_exports()
    expired = api.get(f"exports/{asked['id']}").json()
    assert (expired["state"], expired["expires_at"]) == ("expired", None)
    assert api.get(f"exports/{asked['id']}/file").status_code == 409


def test_other_organizations_see_nothing_of_it(org, api):
    asked = ask(api, FOCUS)
    work(org)
    other = make_api(make_org())
    assert other.get("exports").json()["data"] == []
    assert other.get(f"exports/{asked['id']}").status_code == 404
    assert other.get(f"exports/{asked['id']}/file").status_code == 404
    assert delete(other, asked).status_code == 404
