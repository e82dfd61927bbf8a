"""Who belongs to an organization, and what happens when two people change that at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.audit.models import AuditEntry
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations import members
from apps.organizations.models import Invitation, InvitationHash, Membership, Organization
from apps.organizations.permissions import Role
from apps.organizations.selectors import find_members, open_invitations
from apps.organizations.services import add_member, create_organization
from tests.database import hanging_up
from tests.world import unique

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def org() -> Organization:
    name = unique("acme")
    return create_organization(name=name, owner_email=f"alice@{name}.example")


def person(name: str) -> User:
    return get_or_create_user(email=f"{unique(name)}@people.example")


def alice(org: Organization) -> Membership:
    return Membership.objects.select_related("user").get(organization=org, user__email__startswith="alice@")


def join(org: Organization, role: str, **options: Any) -> Membership:
    return add_member(org=org, user=person(role), role=role, actor=None, **options)


def invite(org: Organization, email: str, role: str = Role.ENGINEER, **options: Any) -> str:
    return members.invite(org=org, email=email, role=role, **{"actor": "alice", "by_role": Role.OWNER, **options}).token


def refused(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(DomainError) as error:
        call(*args, **options)
    return error.value.code


def refusal(call: Any, *args: Any) -> str:
    """The code, or nothing where it is not refused."""
    try:
        call(*args)
    except DomainError as error:
        return error.code
    return ""


def actions(org: Organization) -> list[str]:
    with tenant(org):
        return list(AuditEntry.objects.for_org(org).order_by("sequence").values_list("action", flat=True))


# --- invitations -------------------------------------------------------------------------------------


def test_who_is_invited_joins_with_the_role_once(org: Organization) -> None:
    bob = person("bob")
    token = invite(org, f"  {bob.email.upper()} ", Role.LEAD, teams=["search", "growth", "search"])
    joined = members.accept_invitation(token=token, user=bob)
    assert (joined.role, joined.teams) == (Role.LEAD, ["growth", "search"])
    assert refused(members.accept_invitation, token=token, user=bob) == "invitation_used"
    assert refused(members.invitation_of, token) == "invitation_used"
    assert actions(org)[1:] == ["members.invited", "members.joined"]


def test_no_other_person_can_use_the_link(org: Organization) -> None:
    token = invite(org, f"{unique('bob')}@people.example")
    assert refused(members.accept_invitation, token=token, user=person("mallory")) == "invitation_for_another"
    assert Membership.objects.filter(organization=org).count() == 1


def test_an_address_that_is_not_confirmed_is_not_the_persons(org: Organization) -> None:
    mallory = person("mallory")
    wanted = f"{unique('bob')}@people.example"
    mallory.emailaddress_set.create(email=wanted, verified=False)
    token = invite(org, wanted)
    assert refused(members.accept_invitation, token=token, user=mallory) == "invitation_for_another"
    mallory.emailaddress_set.update(verified=True)
    assert members.accept_invitation(token=token, user=mallory).organization == org


def test_the_link_works_for_seven_days(org: Organization) -> None:
    bob = person("bob")
    with time_machine.travel(NOW, tick=False):
        token = invite(org, bob.email)
    with time_machine.travel(NOW + timedelta(days=7) - timedelta(seconds=1), tick=False):
        members.invitation_of(token)
    with time_machine.travel(NOW + timedelta(days=7), tick=False):
        assert refused(members.invitation_of, token) == "invitation_expired"
        assert refused(members.accept_invitation, token=token, user=bob) == "invitation_expired"


def test_a_revoked_link_and_an_older_one_stop_working(org: Organization) -> None:
    bob = person("bob")
    older, newer = invite(org, bob.email), invite(org, bob.email, Role.VIEWER)
    assert refused(members.invitation_of, older) == "invitation_revoked"
    _, invitation = members.invitation_of(newer)
    members.revoke_invitation(org=org, invitation_id=invitation.pk, actor="alice", by_role=Role.OWNER)
    members.revoke_invitation(org=org, invitation_id=invitation.pk, actor="alice", by_role=Role.OWNER)
    assert refused(members.accept_invitation, token=newer, user=bob) == "invitation_revoked"
    assert actions(org).count("members.invitation_revoked") == 1


def test_an_accepted_invitation_cannot_be_taken_back(org: Organization) -> None:
    bob = person("bob")
    token = invite(org, bob.email)
    _, invitation = members.invitation_of(token)
    members.accept_invitation(token=token, user=bob)
    revoke = members.revoke_invitation
    assert refused(revoke, org=org, invitation_id=invitation.pk, actor="alice", by_role=Role.OWNER) == "invitation_used"


def test_the_token_is_stored_nowhere(org: Organization) -> None:
    token = invite(org, "bob@people.example")
    with tenant(org):
        stored = [*Invitation.objects.for_org(org).values(), *AuditEntry.objects.for_org(org).values()]
    assert token not in repr(stored)
    assert all(token.encode() not in bytes(row.hash) for row in InvitationHash.objects.filter(organization=org))


@pytest.mark.parametrize(("given", "code"), [
    ({"email": "bob"}, "email_invalid"),
    ({"email": "bob@people.example\nBcc: all@people.example"}, "email_invalid"),
    ({"role": "king"}, "role_unknown"),
    ({"role": Role.LEAD}, "teams_missing"),
    ({"role": Role.LEAD, "teams": ["a\0b"]}, "team_invalid"),
    ({"role": Role.LEAD, "teams": [f"team-{number}" for number in range(51)]}, "team_invalid"),
    ({"role": Role.OWNER, "by_role": Role.ADMIN}, "owner_only"),
])  # fmt: skip
def test_a_bad_invitation_is_refused_by_name(org: Organization, given: dict[str, Any], code: str) -> None:
    assert refused(invite, org, **{"email": "bob@people.example", **given}) == code
    with tenant(org):
        assert open_invitations(org) == []


def test_a_member_is_not_invited_and_does_not_join_again(org: Organization) -> None:
    bob = join(org, Role.VIEWER).user
    assert refused(invite, org, bob.email.upper()) == "already_member"
    ann = person("ann")
    token = invite(org, ann.email)
    add_member(org=org, user=ann, role=Role.VIEWER, actor=None)
    assert refused(members.accept_invitation, token=token, user=ann) == "already_member"


def test_there_is_a_limit_to_open_invitations_and_to_members(
    org: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "INVITATIONS_OPEN_MAX", 2)
    ann = person("ann")
    token = invite(org, ann.email)
    invite(org, "two@people.example")
    assert refused(invite, org, "three@people.example") == "too_many_invitations"
    # Again to the same address: it takes the other's place.
    invite(org, "two@people.example")
    monkeypatch.setattr(members, "MEMBERS_MAX", 1)
    assert refused(members.accept_invitation, token=token, user=ann) == "organization_full"


def test_only_an_owner_touches_the_invitation_of_an_owner(org: Organization) -> None:
    token = invite(org, "boss@people.example", Role.OWNER)
    _, invitation = members.invitation_of(token)
    for by_role in (Role.ADMIN, members.BY_KEY):
        revoke = {"org": org, "invitation_id": invitation.pk, "actor": "admin", "by_role": by_role}
        assert refused(members.revoke_invitation, **revoke) == "owner_only"
        assert refused(invite, org, "boss@people.example", Role.VIEWER, by_role=by_role) == "owner_only"
    assert members.invitation_of(token)[1].role == Role.OWNER
    invite(org, "boss@people.example", Role.VIEWER)
    assert refused(members.invitation_of, token) == "invitation_revoked"


def leave(org: Organization, row: Membership) -> None:
    members.leave(org=org, user=row.user)


def remove(org: Organization, row: Membership) -> None:
    members.remove_member(org=org, member_id=row.pk, actor="alice", by_role=Role.OWNER)


def hand_over(org: Organization, row: Membership) -> None:
    members.transfer_ownership(org=org, member_id=join(org, Role.ADMIN).pk, owner=row.user)


def demote(role: str) -> Any:
    return lambda org, row: change(org, row, role)


@pytest.mark.parametrize(
    ("end", "falls"),
    [
        (leave, {Role.OWNER, Role.ADMIN, Role.VIEWER}),
        (remove, {Role.OWNER, Role.ADMIN, Role.VIEWER}),
        (demote(Role.ENGINEER), {Role.OWNER, Role.ADMIN, Role.VIEWER}),
        (demote(Role.ADMIN), {Role.OWNER}),
        (hand_over, {Role.OWNER}),
    ],
)
def test_an_invitation_falls_with_the_right_to_make_it(org: Organization, end: Any, falls: set[str]) -> None:
    row = join(org, Role.OWNER)
    theirs = {role: invite(org, person("x").email, role, actor=row.user) for role in (Role.OWNER, "admin", "viewer")}
    others = invite(org, person("y").email, Role.OWNER)
    # The address that the person signs in with may be another one by then.
    User.objects.filter(pk=row.user_id).update(email=f"{unique('new')}@people.example")
    row.user.refresh_from_db()
    end(org, row)
    for role, token in theirs.items():
        assert (refusal(members.invitation_of, token) == "invitation_revoked") == (role in falls), role
    assert members.invitation_of(others)[1].role == Role.OWNER
    assert actions(org).count("members.invitation_revoked") == len(falls)


@pytest.mark.parametrize("state", ["closing", "suspended"])
def test_nobody_joins_an_organization_that_is_not_active(org: Organization, state: str) -> None:
    bob = person("bob")
    token = invite(org, bob.email)
    closes_at = datetime.now(UTC) + timedelta(days=1) if state == "closing" else None
    Organization.objects.filter(pk=org.pk).update(state=state, closes_at=closes_at)
    for call in (lambda: members.invitation_of(token), lambda: members.accept_invitation(token=token, user=bob)):
        assert refused(call) == f"organization_{state}"
    assert not Membership.objects.filter(organization=org, user=bob).exists()
    Organization.objects.filter(pk=org.pk).update(state="active", closes_at=None)
    assert members.accept_invitation(token=token, user=bob).organization == org


def test_an_organization_that_closes_meanwhile_is_not_joined(
    org: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = person("bob")
    token = invite(org, bob.email)
    found = members.invitation_of(token)
    Organization.objects.filter(pk=org.pk).update(state="suspended")
    monkeypatch.setattr(members, "invitation_of", lambda _: found)
    assert refused(members.accept_invitation, token=token, user=bob) == "organization_suspended"


def test_an_organization_mails_so_many_invitations_an_hour(org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "INVITATIONS_HOUR_MAX", 2)
    with time_machine.travel(NOW, tick=False):
        for _ in range(2):
            invite(org, "again@people.example")
        assert refused(invite, org, person("x").email) == "too_many_invitations"
    with time_machine.travel(NOW + timedelta(hours=1), tick=False):
        invite(org, person("x").email)


def test_an_address_is_invited_so_often_a_day_by_all_organizations(
    org: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "INVITATIONS_OF_ADDRESS_DAY_MAX", 2)
    other = create_organization(name=unique("globex"), owner_email=f"{unique('charlie')}@globex.example")
    address = person("victim").email
    with time_machine.travel(NOW, tick=False):
        invite(org, address)
        last = invite(other, address)
        for refusing in (org, other):
            assert refused(invite, refusing, address.upper()) == "too_many_invitations"
        assert members.invitation_of(last)[0] == other
        invite(org, person("somebody").email)
    with time_machine.travel(NOW + timedelta(days=1), tick=False):
        invite(org, address)


def test_without_redis_nobody_is_refused(org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "INVITATIONS_OF_ADDRESS_DAY_MAX", 0)
    monkeypatch.setattr(members.cache, "incr", lambda _: 1 / 0)
    invite(org, person("bob").email)


def test_another_organizations_invitation_does_not_exist(org: Organization) -> None:
    other = create_organization(name=unique("globex"), owner_email="charlie@globex.example")
    invite(other, "bob@people.example")
    with tenant(other):
        (theirs,) = open_invitations(other)
    with pytest.raises(NotFound):
        members.revoke_invitation(org=org, invitation_id=theirs.pk, actor="alice", by_role=Role.OWNER)


@pytest.mark.parametrize("token", ["", "x", "a\0b", "é" * 50, "x" * 10_000])
def test_a_made_up_link_leads_nowhere(token: str) -> None:
    assert refused(members.invitation_of, token) == "invitation_unknown"


# --- roles -------------------------------------------------------------------------------------------


def change(org: Organization, row: Membership, role: str, by_role: str = Role.OWNER, **options: Any) -> Membership:
    return members.change_role(org=org, member_id=row.pk, role=role, actor="alice", by_role=by_role, **options)


def test_a_role_is_changed_and_a_lead_keeps_teams_only_as_a_lead(org: Organization) -> None:
    row = join(org, Role.VIEWER)
    assert change(org, row, Role.LEAD, teams=["search"]).teams == ["search"]
    assert change(org, row, Role.FINANCE, teams=["search"]).teams == []
    before = len(actions(org))
    change(org, row, Role.FINANCE)
    assert len(actions(org)) == before, "nothing changed, nothing is recorded"


def test_only_an_owner_touches_owners(org: Organization) -> None:
    second = join(org, Role.OWNER)
    row = join(org, Role.VIEWER)
    assert refused(change, org, row, Role.OWNER, Role.ADMIN) == "owner_only"
    assert refused(change, org, second, Role.VIEWER, Role.ADMIN) == "owner_only"
    taken = {"org": org, "member_id": second.pk, "actor": "admin", "by_role": Role.ADMIN}
    assert refused(members.remove_member, **taken) == "owner_only"
    change(org, second, Role.VIEWER)


def test_the_last_owner_stays(org: Organization) -> None:
    owner = alice(org)
    assert refused(change, org, owner, Role.ADMIN) == "last_owner"
    assert refused(members.leave, org=org, user=owner.user) == "last_owner"
    assert refused(remove, org, owner) == "last_owner"
    join(org, Role.OWNER)
    members.leave(org=org, user=owner.user)
    with pytest.raises(NotFound):
        members.leave(org=org, user=owner.user)


def test_an_owner_who_cannot_sign_in_keeps_no_organization(org: Organization) -> None:
    owner, second = alice(org), join(org, Role.OWNER)
    User.objects.filter(pk=second.user_id).update(is_active=False)
    assert refused(members.leave, org=org, user=owner.user) == "last_owner"
    assert refused(change, org, owner, Role.ADMIN) == "last_owner"
    remove(org, second)
    join(org, Role.OWNER)
    members.leave(org=org, user=owner.user)


def test_a_key_makes_nobody_an_admin(org: Organization) -> None:
    row = join(org, Role.ENGINEER)
    assert refused(invite, org, "x@people.example", Role.ADMIN, by_role=members.BY_KEY) == "person_only"
    assert refused(change, org, row, Role.ADMIN, members.BY_KEY) == "person_only"
    admin = change(org, row, Role.ADMIN, Role.ADMIN)
    assert change(org, admin, Role.FINANCE, members.BY_KEY).role == Role.FINANCE


def test_an_organization_is_handed_over(org: Organization) -> None:
    owner, lead = alice(org), join(org, Role.LEAD, teams=["search"])
    members.transfer_ownership(org=org, member_id=lead.pk, owner=owner.user)
    roles = dict(Membership.objects.filter(organization=org).values_list("user", "role"))
    assert roles == {owner.user_id: Role.ADMIN, lead.user_id: Role.OWNER}
    transfer = members.transfer_ownership
    assert refused(transfer, org=org, member_id=lead.pk, owner=owner.user) == "owner_only"
    gone = join(org, Role.ADMIN)
    User.objects.filter(pk=gone.user_id).update(is_active=False)
    assert refused(transfer, org=org, member_id=gone.pk, owner=lead.user) == "person_inactive"
    assert refused(transfer, org=org, member_id=lead.pk, owner=lead.user) == "owner_already"


def test_a_member_of_another_organization_does_not_exist(org: Organization) -> None:
    other = create_organization(name=unique("globex"), owner_email=f"{unique('charlie')}@globex.example")
    stranger = join(other, Role.VIEWER)
    with pytest.raises(NotFound):
        change(org, stranger, Role.ADMIN)
    with pytest.raises(NotFound):
        members.remove_member(org=org, member_id=stranger.pk, actor="alice", by_role=Role.OWNER)
    with pytest.raises(NotFound):
        members.transfer_ownership(org=org, member_id=stranger.pk, owner=alice(org).user)


def test_members_are_found_by_name_and_address_and_listed_by_role(org: Organization) -> None:
    join(org, Role.VIEWER)
    bob = join(org, Role.ADMIN)
    User.objects.filter(pk=bob.user_id).update(name="Bob Oberlin")
    rows, count = find_members(org, limit=10)
    assert [row.role for row in rows] == [Role.OWNER, Role.ADMIN, Role.VIEWER]
    assert count == 3
    assert [row.pk for row in find_members(org, search="oBERL", limit=10)[0]] == [bob.pk]
    assert len(find_members(org, limit=2)[0]) == 2


# --- at once -----------------------------------------------------------------------------------------


def at_once(*calls: Any) -> list[str]:
    """What becomes of each of them: "" or the code of its refusal."""

    def outcome(call: Any) -> str:
        try:
            call()
        except DomainError as error:
            return error.code
        return ""

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(hanging_up(outcome), calls))


def test_two_owners_who_leave_at_once_leave_one_behind(org: Organization) -> None:
    for _ in range(5):
        for row in Membership.objects.filter(organization=org).exclude(role=Role.OWNER):
            row.delete()
        owners = [row.user for row in Membership.objects.filter(organization=org, role=Role.OWNER)]
        while len(owners) < 2:
            owners.append(join(org, Role.OWNER).user)
        results = at_once(*(lambda user=user: members.leave(org=org, user=user) for user in owners))
        assert sorted(results) == ["", "last_owner"]
        assert Membership.objects.filter(organization=org, role=Role.OWNER).count() == 1


def test_an_invitation_that_is_accepted_many_times_at_once_is_accepted_once(org: Organization) -> None:
    bob = person("bob")
    token = invite(org, bob.email)
    results = at_once(*[lambda: members.accept_invitation(token=token, user=bob)] * 6)
    assert sorted(results) == ["", *["invitation_used"] * 5]
    assert Membership.objects.filter(organization=org, user=bob).count() == 1


def test_a_link_that_is_revoked_while_it_is_accepted_does_one_of_both(org: Organization) -> None:
    for _ in range(5):
        bob = person("bob")
        token = invite(org, bob.email)
        _, invitation = members.invitation_of(token)
        accepted, revoked = at_once(
            lambda token=token, bob=bob: members.accept_invitation(token=token, user=bob),
            lambda invitation=invitation: members.revoke_invitation(
                org=org, invitation_id=invitation.pk, actor="alice", by_role=Role.OWNER
            ),
        )
        assert (accepted, revoked) in [("", "invitation_used"), ("invitation_revoked", "")]
        is_member = Membership.objects.filter(organization=org, user=bob).exists()
        assert is_member == (accepted == "")
