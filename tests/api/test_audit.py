"""GET /api/v1/audit: found by every filter, in pages, and proved by somebody who has nothing but the answers."""

import hashlib
import io
import json
import re
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.organizations.services import issue_key
from tests.audit.fixtures import act, tamper
from tests.world import Api, World


def listed(api: Api, **query: object) -> list[dict]:
    """Every page of the answer."""
    entries, cursor = [], None
    while True:
        response = api.get("audit", **query, **({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.content
        entries += response.json()["data"]
        cursor = response.json()["next"]
        if cursor is None:
            return entries


def first_untrue(entries: list[dict], head: dict) -> int | None:
    """As docs/security.md says, with nothing of ours: the number of the first entry that is not true."""
    previous, number = "0" * 64, 0
    for entry in sorted(entries, key=lambda one: one["sequence"]):
        number += 1
        names = ("organization_id", "sequence", "at", "actor", "action", "subject", "data")
        content = json.dumps([entry[name] for name in names], sort_keys=True)
        digest = hashlib.sha256(bytes.fromhex(previous) + content.encode()).hexdigest()
        if (entry["sequence"], entry["previous_hash"], entry["hash"]) != (number, previous, digest):
            return number
        previous = digest
    return None if head == {"sequence": number, "hash": previous} else number + 1


def head_of(api: Api) -> dict:
    return api.get("audit", limit=1).json()["head"]


def untrue(world: World) -> int | None:
    return first_untrue(listed(world.acme.api, limit=3), head_of(world.acme.api))


@pytest.fixture
def acme(world: World) -> World:
    """Text of every kind that a hash must survive."""
    act(world.acme.org, "Zürich \U0001f980 <b>\"'&", amount="1.50", nested={"b": [1, 2, {"é": None}], "a": True})
    act(world.acme.org, "huge", number=10**30, empty={}, text="")
    for number in range(5):
        act(world.acme.org, f"subject {number}")
    return world


def test_an_outsider_proves_the_chain_from_the_answers(acme: World) -> None:
    assert len(listed(acme.acme.api)) > 8
    assert untrue(acme) is None


ENTRY = "audit_auditentry SET {} WHERE organization_id = %(org)s AND sequence = 5"


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("UPDATE " + ENTRY.format("at = at - interval '1 day'"), 5),
        ("UPDATE " + ENTRY.format("actor = 'bob'"), 5),
        ("UPDATE " + ENTRY.format('data = \'{"amount": "9.99"}\''), 5),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 5", 5),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence > 5", 6),
    ],
)
def test_the_command_and_an_outsider_see_the_same_break(acme: World, change: str, first: int) -> None:
    org, out = acme.acme.org, io.StringIO()
    tamper(change, org)
    with pytest.raises(CommandError):
        call_command("verify_audit", organization=org.slug, stdout=out)
    assert out.getvalue() == f"{org.slug}: broken at entry {first}\n"
    assert untrue(acme) == first


def test_an_entry_says_who_did_what(acme: World) -> None:
    assert acme.acme.api.post("teams", {"slug": "search"}).status_code == 201
    entry = acme.acme.api.get("audit", limit=1).json()["data"][0]
    assert (entry["action"], entry["subject"]) == ("teams.created", "search")
    assert entry["actor"].startswith("key:")
    assert datetime.fromisoformat(entry["at"]) <= datetime.now(UTC)


def test_pages_hold_each_entry_once_newest_first(acme: World) -> None:
    entries = listed(acme.acme.api, limit=2)
    assert [one["sequence"] for one in entries] == list(range(len(entries), 0, -1))


def test_filters_find_what_they_say(acme: World) -> None:
    api, org = acme.acme.api, acme.acme.org
    act(org, "50%_off", actor="key:7", action="prices.changed")
    act(org, "50 percent", actor="key:77", action="pricesX.changed")

    def subjects(**query: object) -> list[str]:
        return [one["subject"] for one in listed(api, **query)]

    assert subjects(actor="key:7") == ["50%_off"]
    assert subjects(action="prices.changed") == subjects(action="prices") == ["50%_off"]
    assert subjects(action="price") == []
    assert subjects(subject="0%_O") == ["50%_off"]
    assert subjects(subject="SUBJECT", actor="alice") == [f"subject {number}" for number in (4, 3, 2, 1, 0)]
    newest = listed(api)[0]["at"]
    assert subjects(**{"from": newest}) == ["50 percent"]
    assert "50 percent" not in subjects(to=newest)
    assert subjects(**{"from": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"from": "yesterday"}, "from_invalid"),
        ({"to": "2026-11-01"}, "to_invalid"),
        ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "range_empty"),
        ({"limit": "0"}, "limit_invalid"),
        ({"limit": "201"}, "limit_invalid"),
        ({"cursor": "AAAA"}, "cursor_invalid"),
        ({"cursor": "W10"}, "cursor_invalid"),
        ({"actor": "a\0b"}, "parameter_invalid"),
        ({"who": "alice"}, "parameter_unknown"),
    ],
)
def test_what_cannot_be_asked_is_refused(world: World, query: dict, code: str) -> None:
    response = world.acme.api.get("audit", **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_key_reads_the_log_with_the_scope_and_without_a_pin(world: World) -> None:
    org = world.acme.org
    without = Api(issue_key(org=org, name="w", scopes=["ingest", "decide", "read"]).secret).get("audit")
    assert (without.status_code, without.json()["code"]) == (403, "scope_missing")
    pinned = Api(issue_key(org=org, name="p", scopes=["manage"], environment="prod").secret).get("audit")
    assert (pinned.status_code, pinned.json()["code"]) == (403, "pinned_dimension")


def test_nobody_reads_another_organizations_log(acme: World) -> None:
    assert all(one["organization_id"] == acme.globex.org.pk for one in listed(acme.globex.api))
    assert listed(acme.globex.api, subject="subject") == []


def test_the_script_of_the_documentation_verifies_a_download(acme: World) -> None:
    entries = "".join(f"{json.dumps(entry)}\n" for entry in listed(acme.acme.api))
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    (script,) = re.findall(r"^  ```python\n(.*?)^  ```", page, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, input=entries, capture_output=True, text=True, check=True)
    head = head_of(acme.acme.api)
    assert done.stdout.split() == [str(head["sequence"]), head["hash"]]
    forged = subprocess.run(command, input=entries.replace("subject 3", "subject 9"), capture_output=True, text=True)
    assert forged.returncode == 1
