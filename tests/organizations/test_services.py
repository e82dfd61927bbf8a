import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from apps.accounts.services import get_or_create_user
from apps.audit.models import AuditEntry
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations.keys import new_secret
from apps.organizations.models import ApiKey, ApiKeyHash, Membership, Organization, Zone
from apps.organizations.permissions import ROLE_PERMISSIONS, Permission, Role, Scope, role_may
from apps.organizations.selectors import (
    Principal,
    calendar,
    list_keys,
    membership_of,
    memberships_of,
    organization_ids,
    principal_for,
)
from apps.organizations.services import (
    LAST_USED_PRECISION,
    IssuedKey,
    add_member,
    change_zone,
    create_organization,
    issue_key,
    note_use,
    revoke_key,
)
from tests.world import Api, unique

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def make_organization(zone: str = "UTC") -> Organization:
    name = unique("acme")
    return create_organization(name=name, owner_email=f"alice@{name}.example", zone=zone)


@pytest.fixture
def org() -> Organization:
    return make_organization()


def make_key(org: Organization, **options: Any) -> IssuedKey:
    return issue_key(org=org, name="tests", scopes=["read"], **options)


def refusal(secret: str, at: datetime = NOW) -> str:
    with pytest.raises(DomainError) as refused:
        principal_for(secret, at=at)
    return refused.value.code


def actions(org: Organization) -> list[str]:
    with tenant(org):
        return list(AuditEntry.objects.for_org(org).order_by("sequence").values_list("action", flat=True))


# --- keys --------------------------------------------------------------------------------------------


def test_the_secret_is_stored_nowhere(org: Organization) -> None:
    issued = make_key(org)
    with tenant(org):
        key = ApiKey.objects.for_org(org).values().get()
        entries = list(AuditEntry.objects.for_org(org).values())
    stored = repr((key, entries, list(ApiKeyHash.objects.filter(organization=org).values())))
    assert issued.secret not in stored
    assert issued.secret[13:-4] not in stored


def test_a_principal_is_what_its_key_says(org: Organization) -> None:
    issued = make_key(org, team="search", project="chat", environment="prod", actor="alice")
    principal = principal_for(issued.secret, at=NOW)
    assert principal == Principal(
        organization=org,
        key_id=issued.key.pk,
        key_name="tests",
        scopes=frozenset({"read"}),
        team="search",
        project="chat",
        environment="prod",
        expires_at=None,
        last_used_at=None,
    )
    assert issued.key.created_by == "alice"


def test_a_revoked_key_is_refused_by_the_next_request(org: Organization) -> None:
    issued = make_key(org)
    api = Api(issued.secret)
    assert api.get("teams").status_code == 200
    revoke_key(org=org, key_id=issued.key.pk, actor="alice")
    refused = api.get("teams")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")


def test_revoking_twice_changes_nothing(org: Organization) -> None:
    issued = make_key(org)
    first = revoke_key(org=org, key_id=issued.key.pk, actor="alice")
    second = revoke_key(org=org, key_id=issued.key.pk, actor="alice")
    assert first.revoked_at == second.revoked_at
    assert actions(org).count("keys.revoked") == 1


def test_a_key_of_another_organization_cannot_be_revoked(org: Organization) -> None:
    issued = make_key(org)
    with pytest.raises(NotFound):
        revoke_key(org=make_organization(), key_id=issued.key.pk, actor="charlie")
    assert principal_for(issued.secret, at=NOW).organization == org


@pytest.mark.parametrize(("ahead", "refused"), [(timedelta(0), True), (timedelta(microseconds=1), False)])
def test_a_key_is_refused_from_the_instant_it_expires(org: Organization, ahead: timedelta, refused: bool) -> None:
    with time_machine.travel(NOW - timedelta(days=1), tick=False):
        issued = make_key(org, expires_at=NOW + ahead)
    if refused:
        assert refusal(issued.secret) == "key_expired"
    else:
        assert principal_for(issued.secret, at=NOW)


@pytest.mark.parametrize("secret", ["", "aif_live_", "Bearer", "aif_live_' OR 1=1 --", "\0", "\ud800"])
def test_what_is_no_key_is_refused_without_a_query(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiKeyHash, "objects", None)
    assert refusal(secret) == "key_invalid"


def test_a_well_formed_key_that_nobody_issued_is_refused() -> None:
    assert refusal(new_secret()) == "key_invalid"


def test_a_suspended_organization_is_refused(org: Organization) -> None:
    issued = make_key(org)
    Organization.objects.filter(pk=org.pk).update(state=Organization.State.SUSPENDED)
    assert refusal(issued.secret) == "organization_suspended"


@pytest.mark.parametrize(
    ("scopes", "code"),
    [([], "scopes_missing"), (["admin"], "scope_unknown"), (["read", "READ"], "scope_unknown")],
)
def test_a_key_has_known_scopes(org: Organization, scopes: list[str], code: str) -> None:
    with pytest.raises(DomainError) as refused:
        issue_key(org=org, name="tests", scopes=scopes)
    assert (refused.value.code, refused.value.param) == (code, "scopes")


def test_use_is_noted_to_the_minute(org: Organization) -> None:
    secret = make_key(org).secret
    steps = [timedelta(0), timedelta(seconds=59), LAST_USED_PRECISION, timedelta(minutes=10)]
    seen = []
    for step in steps:
        note_use(principal_for(secret, at=NOW), at=NOW + step)
        seen.append(principal_for(secret, at=NOW).last_used_at)
    assert seen == [NOW, NOW, NOW + LAST_USED_PRECISION, NOW + timedelta(minutes=10)]


def test_a_slow_request_does_not_turn_last_use_back(org: Organization) -> None:
    secret = make_key(org).secret
    slow = principal_for(secret, at=NOW)
    note_use(principal_for(secret, at=NOW), at=NOW + timedelta(hours=1))
    note_use(slow, at=NOW)
    assert principal_for(secret, at=NOW).last_used_at == NOW + timedelta(hours=1)


def test_keys_are_listed_newest_first(org: Organization) -> None:
    first, second = make_key(org), make_key(org)
    make_key(make_organization())
    with tenant(org):
        assert [key.pk for key in list_keys(org)] == [second.key.pk, first.key.pk]


# --- zones -------------------------------------------------------------------------------------------


def zones_of(org: Organization) -> list[tuple[date | None, str]]:
    with tenant(org):
        rows = list(Zone.objects.for_org(org).values_list("effective_month", "name"))
    return sorted(rows, key=lambda row: row[0] or date.min)


@pytest.fixture
def november() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.mark.usefixtures("november")
def test_a_zone_takes_effect_at_a_coming_month(org: Organization) -> None:
    change_zone(org=org, zone="Asia/Tokyo", effective_month=date(2026, 12, 1), actor="alice")
    assert zones_of(org) == [(None, "UTC"), (date(2026, 12, 1), "Asia/Tokyo")]
    with tenant(org):
        clock = calendar(org)
    assert clock.month_start(date(2026, 11, 1)) == datetime(2026, 11, 1, tzinfo=UTC)
    assert clock.month_start(date(2026, 12, 1)) == datetime(2026, 11, 30, 15, tzinfo=UTC)
    assert actions(org)[-1] == "organizations.zone_changed"


@pytest.mark.usefixtures("november")
def test_a_new_change_takes_the_place_of_those_not_yet_in_force(org: Organization) -> None:
    for month, zone in ((12, "Asia/Tokyo"), (12, "Europe/Berlin"), (12, "Asia/Kolkata")):
        change_zone(org=org, zone=zone, effective_month=date(2026, month, 1), actor="alice")
    change_zone(org=org, zone="Asia/Tokyo", effective_month=date(2027, 2, 1), actor="alice")
    change_zone(org=org, zone="America/New_York", effective_month=date(2027, 1, 1), actor="alice")
    assert zones_of(org) == [
        (None, "UTC"),
        (date(2026, 12, 1), "Asia/Kolkata"),
        (date(2027, 1, 1), "America/New_York"),
    ]


@pytest.mark.parametrize(
    ("now", "month", "code"),
    [
        ("2026-11-24T12:00", date(2026, 11, 1), "month_not_ahead"),
        ("2026-11-24T12:00", date(2026, 10, 1), "month_not_ahead"),
        ("2026-11-24T12:00", date(2026, 12, 2), "month_not_ahead"),
        # It is December already on Kiritimati, where a day begins first.
        ("2026-11-30T10:00", date(2026, 12, 1), "month_not_ahead"),
        ("2026-11-30T09:59", date(2026, 12, 1), None),
    ],
)
def test_the_past_is_never_cut_again(org: Organization, now: str, month: date, code: str | None) -> None:
    with time_machine.travel(datetime.fromisoformat(now).replace(tzinfo=UTC), tick=False):
        if code is None:
            change_zone(org=org, zone="Asia/Tokyo", effective_month=month, actor="alice")
            return
        with pytest.raises(DomainError) as refused:
            change_zone(org=org, zone="Asia/Tokyo", effective_month=month, actor="alice")
    assert refused.value.code == code
    assert zones_of(org) == [(None, "UTC")]


@pytest.mark.usefixtures("november")
def test_a_change_of_zone_tells_every_process(org: Organization) -> None:
    before = org.facts_version
    change_zone(org=org, zone="Asia/Tokyo", effective_month=date(2026, 12, 1), actor="alice")
    org.refresh_from_db()
    assert org.facts_version == before + 1


@pytest.mark.parametrize("zone", ["", "Berlin", "europe/berlin", "GMT+1", "../../etc/passwd"])
def test_an_unknown_zone_is_refused(org: Organization, zone: str) -> None:
    with pytest.raises(DomainError) as refused:
        change_zone(org=org, zone=zone, effective_month=date(2099, 1, 1), actor="alice")
    assert refused.value.code == "zone_unknown"


# --- members and roles -------------------------------------------------------------------------------


def test_a_second_role_replaces_the_first(org: Organization) -> None:
    bob = get_or_create_user(email=f"{unique('bob')}@acme.example")
    add_member(org=org, user=bob, role=Role.VIEWER, actor="alice")
    add_member(org=org, user=bob, role=Role.FINANCE, actor="alice")
    assert Membership.objects.get(organization=org, user=bob).role == Role.FINANCE


def test_a_stranger_and_no_such_slug_read_the_same(org: Organization) -> None:
    bob = get_or_create_user(email=f"{unique('bob')}@acme.example")
    assert membership_of(bob, org.slug) is None
    assert membership_of(bob, "never-existed") is None
    add_member(org=org, user=bob, role=Role.VIEWER, actor="alice")
    assert membership_of(bob, org.slug) == memberships_of(bob)[0]


MAY: dict[str, set[Any]] = {
    Role.OWNER: set(Permission),
    Role.ADMIN: set(Permission) - {"manage_organization"},
    Role.FINANCE: {
        "view_spend",
        "view_events",
        "view_statements",
        "view_members",
        "view_audit",
        "manage_names",
        "manage_prices",
        "manage_alerts",
        "manage_statements",
        "dispute_statements",
        "manage_budgets",
        "approve_raises",
        "manage_plans",
        "approve_plans",
        "answer_signals",
        "stop",
    },
    Role.ENGINEER: {
        "view_spend",
        "view_events",
        "view_statements",
        "view_members",
        "view_keys",
        "manage_names",
        "manage_plans",
        "answer_signals",
        "stop",
    },
    Role.LEAD: {
        "view_spend",
        "view_events",
        "view_statements",
        "view_members",
        "dispute_statements",
        "answer_signals",
    },
    Role.VIEWER: {"view_spend", "view_events", "view_statements", "view_members"},
}


@pytest.mark.parametrize(("role", "permission"), list(itertools.product(Role, Permission)))
def test_the_matrix_of_roles(role: Role, permission: Permission) -> None:
    assert role_may(role, permission) == (permission in MAY[role])


def test_every_role_has_a_line_in_the_matrix_and_nobody_else_has() -> None:
    assert set(ROLE_PERMISSIONS) == set(Role) == set(MAY)
    assert not any(role_may("superuser", permission) for permission in Permission)


def test_scopes_are_the_five_of_the_contract() -> None:
    assert {str(scope) for scope in Scope} == {"ingest", "decide", "read", "manage", "backfill"}


# --- the directory -----------------------------------------------------------------------------------


def test_the_directory_is_walked_in_slices() -> None:
    made = [make_organization().pk for _ in range(3)]
    assert organization_ids(after=made[0] - 1, limit=2) == made[:2]
    assert organization_ids(after=made[1], limit=10) == made[2:]


def test_creating_is_audited_and_whole(org: Organization) -> None:
    assert actions(org) == ["organizations.created"]
    assert zones_of(org) == [(None, "UTC")]
    assert org.created_at <= timezone.now()
