"""The emergency stop through the API: whom it stops, until when, and who may."""

from datetime import datetime

import pytest

from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.selectors import principal_for
from tests.api.tenants import make_api, make_org
from tests.api.test_decisions import allowed, api, decide, denied, org
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures

CALL = {"workflow": "agent", "run_id": "run", "estimate_usd": "0.01"}


def key_id(api):
    return str(principal_for(api.secret, at=datetime.now().astimezone()).key_id)


def stopped(api, kind, target="", reason="Loop"):
    response = api.post("stops", {"kind": kind, "target": target, "reason": reason})
    assert response.status_code == 201, response.content
    return response.json()


def lifted(api, row):
    response = api.post(f"stops/{row['id']}/lift", {})
    assert response.status_code == 200, response.content
    return response.json()


@pytest.mark.parametrize("kind", ["organization", "team", "workflow", "key", "run"])
def test_it_stops_what_it_names_and_nothing_else(org, api, kind):
    target = {"organization": "", "team": "search", "workflow": "agent", "key": key_id(api), "run": "run"}[kind]
    row = stopped(api, kind, target)
    reason = denied(api, "stopped", **CALL)["reasons"][0]
    assert (reason["stop_id"], reason["kind"], reason["target"]) == (row["id"], kind, target)
    assert "Loop" in reason["detail"]
    other = decide(make_api(org), estimate_usd="0.01", run_id="another").json()
    assert other["decision"] == ("deny" if kind == "organization" else "allow")
    lifted(api, row)
    allowed(api, **CALL)


def test_a_team_is_stopped_through_its_projects_and_workflows(api):
    stopped(api, "team", "search")
    for named in ({"workflow": "agent"}, {"project": "web"}, {"team": "search"}):
        denied(api, "stopped", estimate_usd="0.01", **named)
    allowed(api, estimate_usd="0.01")


def test_a_run_that_nobody_has_seen_can_be_stopped_before_it_begins(api):
    row = stopped(api, "run", "tomorrow's run")
    denied(api, "stopped", estimate_usd="0", run_id="tomorrow's run")
    denied(api, "stopped", estimate_usd="0", run_id="child", parent_run_id="tomorrow's run")
    lifted(api, row)
    allowed(api, estimate_usd="0", run_id="tomorrow's run")


def test_a_run_in_the_middle_of_a_tree_stops_what_is_below_it(api):
    below = {"child": "top", "grandchild": "child", "fourth": "grandchild"}
    allowed(api, estimate_usd="0", run_id="top")
    for run, parent in below.items():
        allowed(api, estimate_usd="0", run_id=run, parent_run_id=parent)
    row = stopped(api, "run", "child")
    for run in below:
        denied(api, "stopped", estimate_usd="0", run_id=run)
    allowed(api, estimate_usd="0", run_id="top")
    allowed(api, estimate_usd="0", run_id="sibling", parent_run_id="top")
    lifted(api, row)
    allowed(api, estimate_usd="0", run_id="fourth")


def test_stopping_and_lifting_twice_change_nothing(org, api):
    row = stopped(api, "team", "search")
    assert stopped(api, "team", "search", reason="Another") == row
    first = lifted(api, row)
    assert lifted(make_api(org), row) == first
    assert first["lifted_by"] == f"key:{key_id(api)}"
    again = stopped(api, "team", "search")
    assert again["id"] != row["id"]
    assert [found["id"] for found in api.get("stops").json()["data"]] == [again["id"]]
    assert [found["id"] for found in api.get("stops", standing="false").json()["data"]] == [again["id"], row["id"]]


def test_both_of_two_stops_must_be_lifted(api):
    whole, team = stopped(api, "organization"), stopped(api, "team", "search")
    lifted(api, whole)
    denied(api, "stopped", **CALL)
    allowed(api, estimate_usd="0.01")
    lifted(api, team)
    allowed(api, **CALL)


def test_usage_is_stored_and_holds_are_settled_while_stopped(api):
    body = allowed(api, estimate_usd="0.01")
    stopped(api, "organization")
    sent = make_event(reservation_id=body["reservation_id"])
    assert api.send(sent)["accepted"] == 1
    assert api.get(f"reservations/{body['reservation_id']}").json()["state"] == "settled"


def test_it_is_told_and_audited(org, api):
    lifted(api, stopped(api, "team", "search", reason="It burns"))
    told = api.get("crossings").json()["data"]
    assert [(row["kind"], row["severity"], row["team"]) for row in told] == [
        ("lifted", "info", "search"),
        ("stopped", "critical", "search"),
    ]
    assert told[1]["facts"]["reason"] == "It burns"
    with tenant(org):
        entries = AuditEntry.objects.for_org(org).filter(subject="team search").order_by("pk")
        assert [(entry.action, entry.data) for entry in entries] == [
            ("budgets.stopped", {"reason": "It burns"}),
            ("budgets.lifted", {}),
        ]


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"kind": "user"}, "stop_kind_unknown", "kind"),
        ({"kind": "team", "target": "nobody"}, "target_unknown", "target"),
        ({"kind": "team"}, "target_unknown", "target"),
        ({"kind": "workflow", "target": "nobody"}, "target_unknown", "target"),
        ({"kind": "key", "target": "999999999"}, "target_unknown", "target"),
        ({"kind": "key", "target": "٧"}, "target_unknown", "target"),
        ({"kind": "key", "target": "9" * 30}, "target_unknown", "target"),
        ({"kind": "run"}, "target_unknown", "target"),
        ({"kind": "run", "target": "a\x07"}, "target_unknown", "target"),
        ({"kind": "run", "target": "a\0"}, "invalid", "target"),
        ({"kind": "run", "target": "\ud800"}, "invalid", "target"),
        ({"kind": "run", "target": "r" * 257}, "invalid", "target"),
        ({"target": "search"}, "target_unknown", "target"),
        ({"reason": ""}, "invalid", "reason"),
        ({"reason": "x" * 501}, "invalid", "reason"),
        ({"reason": "a\x07"}, "reason_invalid", "reason"),
        ({"why": "x"}, "field_unknown", "why"),
    ],
)
def test_wrong_input_is_named_and_stops_nothing(api, wrong, code, param):
    response = api.post("stops", {"kind": "organization", "reason": "Loop", **wrong})
    assert (response.status_code, response.json()["code"], response.json()["param"]) == (400, code, param)
    assert api.get("stops", standing="false").json()["data"] == []
    allowed(api, estimate_usd="0.01")


def test_a_filter_that_is_no_answer_is_refused(api):
    response = api.get("stops", standing="maybe")
    assert (response.status_code, response.json()["code"]) == (400, "standing_invalid")


def test_who_may_not(org, api):
    row = stopped(api, "team", "search")
    reader, pinned, stranger = make_api(org, "read", "decide"), make_api(org, team="search"), make_api(make_org())
    for client, code in ((reader, "scope_missing"), (pinned, "pinned_dimension")):
        for response in (
            client.post("stops", {"kind": "organization", "reason": "x"}),
            client.post(f"stops/{row['id']}/lift", {}),
        ):
            assert (response.status_code, response.json()["code"]) == (403, code)
    assert stranger.post(f"stops/{row['id']}/lift", {}).status_code == 404
    assert stranger.get("stops").json()["data"] == []
    assert reader.get("stops").json()["data"] == [row]
    denied(api, "stopped", **CALL)


def test_so_many_runs_are_stopped_at_most_but_the_organization_always_can_be(api, monkeypatch):
    monkeypatch.setattr("apps.budgets.services.STOPPED_RUNS_MAX", 2)
    first = stopped(api, "run", "run-0")
    stopped(api, "run", "run-1")
    response = api.post("stops", {"kind": "run", "target": "run-2", "reason": "Loop"})
    assert (response.status_code, response.json()["code"]) == (400, "too_many_stops")
    allowed(api, estimate_usd="0.01", run_id="run-2")
    lifted(api, first)
    stopped(api, "run", "run-2")
    lifted(api, stopped(api, "organization"))
