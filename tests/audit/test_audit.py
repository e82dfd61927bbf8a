"""The hash chain: what is changed, removed, moved or cut off shows at the first entry that is not true."""

import io
import string
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, connections
from hypothesis import given
from hypothesis import strategies as st

from apps.audit import sql
from apps.audit.chain import GENESIS, entry_hash
from apps.audit.models import AuditEntry
from apps.audit.services import first_broken_entry, record
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.services import create_organization
from tests import database
from tests.audit.fixtures import act, tamper
from tests.world import World, unique

ENTRIES = 5


@pytest.fixture
def org() -> Organization:
    """An organization with five entries: its creation, then four acts."""
    org = create_organization(name=unique("acme"), owner_email="alice@acme.example")
    for number in range(2, ENTRIES + 1):
        act(org, f"subject {number}")
    return org


def broken(org: Organization) -> int | None:
    with tenant(org):
        return first_broken_entry(org=org)


def test_an_untouched_chain_holds(org: Organization) -> None:
    assert broken(org) is None


def test_an_organization_without_entries_holds() -> None:
    org = Organization.objects.create(slug=unique("empty"), name="Empty")
    assert broken(org) is None


ENTRY = "audit_auditentry SET {} WHERE organization_id = %(org)s AND sequence = {}"


@pytest.mark.parametrize(
    ("change", "first"),
    [
        # Edits of each column.
        ("UPDATE " + ENTRY.format("at = at + interval '1 microsecond'", 3), 3),
        ("UPDATE " + ENTRY.format("actor = 'bob'", 3), 3),
        ("UPDATE " + ENTRY.format("action = 'tests.denied'", 3), 3),
        ("UPDATE " + ENTRY.format("subject = 'subject 9'", 3), 3),
        ("UPDATE " + ENTRY.format("data = '{\"amount\": 1}'", 3), 3),
        ("UPDATE " + ENTRY.format("previous_hash = sha256('x')", 3), 3),
        ("UPDATE " + ENTRY.format("hash = sha256('x')", 3), 3),
        ("UPDATE " + ENTRY.format("actor = 'bob'", 1), 1),
        ("UPDATE " + ENTRY.format("actor = 'bob'", ENTRIES), ENTRIES),
        # Deletion at the start, in the middle, at the tail, of all.
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 1", 1),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 3", 3),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 5", 5),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence > 2", 3),
        ("DELETE FROM audit_auditentry WHERE organization_id = %(org)s", 1),
        # Deletion with the gap closed.
        (
            "DELETE FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 3;"
            " UPDATE audit_auditentry SET sequence = sequence - 1 WHERE organization_id = %(org)s AND sequence > 3",
            3,
        ),
        # Two entries change places.
        (
            "UPDATE audit_auditentry SET sequence = 99 WHERE organization_id = %(org)s AND sequence = 2;"
            " UPDATE audit_auditentry SET sequence = 2 WHERE organization_id = %(org)s AND sequence = 4;"
            " UPDATE audit_auditentry SET sequence = 4 WHERE organization_id = %(org)s AND sequence = 99",
            2,
        ),
        # An entry is forged behind the last one.
        (
            "INSERT INTO audit_auditentry SELECT organization_id, 6, at, 'bob', action, subject, data, hash,"
            " sha256('x') FROM audit_auditentry WHERE organization_id = %(org)s AND sequence = 5",
            6,
        ),
        # The head is cut, moved or taken away.
        ("UPDATE audit_head SET hash = sha256('x') WHERE organization_id = %(org)s", 6),
        ("UPDATE audit_head SET sequence = 4 WHERE organization_id = %(org)s", 6),
        ("DELETE FROM audit_head WHERE organization_id = %(org)s", 6),
    ],
)
def test_tampering_shows_at_the_first_entry_that_is_not_true(org: Organization, change: str, first: int) -> None:
    for statement in change.split(";"):
        tamper(statement, org)
    assert broken(org) == first


def test_a_tail_written_anew_shows_against_the_head(org: Organization) -> None:
    """Whoever recomputes every hash after an edit still has to forge the head."""
    with psycopg.connect(database.owner_url()) as owner:
        rows = owner.execute(
            "SELECT sequence, at, actor, action, subject, data FROM audit_auditentry"
            " WHERE organization_id = %s ORDER BY sequence",
            [org.pk],
        ).fetchall()
        previous = GENESIS
        for sequence, at, actor, action, subject, data in rows:
            name = "bob" if sequence == 3 else actor
            digest = entry_hash(previous, org.pk, sequence, at.astimezone(UTC), name, action, subject, data)
            owner.execute(
                "UPDATE audit_auditentry SET actor = %s, previous_hash = %s, hash = %s"
                " WHERE organization_id = %s AND sequence = %s",
                [name, previous, digest, org.pk, sequence],
            )
            previous = digest
    assert broken(org) == ENTRIES + 1


def test_a_chain_cannot_be_carried_to_another_organization(org: Organization) -> None:
    other = Organization.objects.create(slug=unique("other"), name="Other")
    with psycopg.connect(database.owner_url()) as owner:
        for table, columns in (
            ("audit_auditentry", "sequence, at, actor, action, subject, data, previous_hash, hash"),
            ("audit_head", "sequence, hash"),
        ):
            owner.execute(
                f"INSERT INTO {table} (organization_id, {columns}) SELECT %s, {columns} FROM {table}"
                " WHERE organization_id = %s",
                [other.pk, org.pk],
            )
    assert broken(other) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditentry SET actor = 'bob' WHERE organization_id = %s",
        "DELETE FROM audit_auditentry WHERE organization_id = %s",
        "DELETE FROM audit_head WHERE organization_id = %s",
    ],
)
def test_the_site_may_only_append(org: Organization, statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant(org),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, [org.pk])


def test_entries_written_at_once_queue_behind_each_other(org: Organization) -> None:
    def write(number: int) -> None:
        act(org, f"thread {number}")
        connections["default"].close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(20)))
    assert broken(org) is None
    with tenant(org):
        assert AuditEntry.objects.for_org(org).count() == ENTRIES + 20


def test_a_chain_is_read_in_slices(org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "SLICE_ENTRIES", 2)
    assert broken(org) is None
    tamper("UPDATE " + ENTRY.format("actor = 'bob'", 4), org)
    assert broken(org) == 4


def test_an_entry_written_while_the_chain_is_verified_is_no_break(
    org: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command reads one snapshot: a log that grows under it is not taken for one that was tampered with."""
    read = sql.head

    def after_another(org_id: int) -> tuple[int, bytes]:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(database.hanging_up(act), org, "meanwhile").result()
        return read(org_id)

    monkeypatch.setattr(sql, "head", after_another)
    out = io.StringIO()
    call_command("verify_audit", organization=org.slug, stdout=out)
    assert out.getvalue() == f"{org.slug}: the chain holds\n"


def test_what_is_rolled_back_leaves_no_gap(org: Organization) -> None:
    with suppress(ZeroDivisionError), tenant(org):
        record(org=org, actor="alice", action="tests.acted", subject="never")
        raise ZeroDivisionError
    act(org, "afterwards")
    assert broken(org) is None


plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
facts = st.recursive(
    st.none() | st.booleans() | st.integers() | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=6,
)
instants = st.datetimes(timezones=st.just(UTC))


@given(st.lists(st.tuples(plain_text, st.dictionaries(plain_text, facts, max_size=3)), max_size=5))
def test_whatever_is_recorded_reads_back_true(acts: list[tuple[str, dict[str, Any]]]) -> None:
    org = Organization.objects.create(slug=unique("any"), name="Any")
    for subject, data in acts:
        with tenant(org):
            record(org=org, actor=None, action="tests.acted", subject=subject, data=data)
    assert broken(org) is None


@given(instants, plain_text, plain_text, plain_text)
def test_a_hash_tells_every_field_apart(at: datetime, actor: str, action: str, subject: str) -> None:
    entry: tuple[Any, ...] = (GENESIS, 1, 1, at, actor, action, subject, {})
    digest = entry_hash(*entry)
    moved = [
        (bytes(31) + b"\1", *entry[1:]),
        (GENESIS, 2, *entry[2:]),
        (GENESIS, 1, 2, *entry[3:]),
        (GENESIS, 1, 1, at + timedelta(microseconds=1 if at.microsecond < 999_999 else -1), *entry[4:]),
        (*entry[:4], actor + "x", action, subject, {}),
        (*entry[:4], actor + string.ascii_letters, action, subject, {}),
        (*entry[:5], action + subject + "x", "", {}),
        (*entry[:7], {"x": None}),
    ]
    assert digest not in [entry_hash(*other) for other in moved]
    assert entry_hash(*entry) == digest


def test_an_act_over_the_api_names_its_key(world: World) -> None:
    assert world.acme.api.post("teams", {"slug": "search"}).status_code == 201
    with tenant(world.acme.org):
        last = AuditEntry.objects.for_org(world.acme.org).order_by("-sequence")[0]
        assert (last.action, last.subject) == ("teams.created", "search")
        assert last.actor.startswith("key:")
    assert broken(world.acme.org) is None
    with tenant(world.globex.org):
        subjects = AuditEntry.objects.for_org(world.globex.org).values_list("subject", flat=True)
        assert "search" not in subjects
