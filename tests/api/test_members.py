"""Members, invitations and the rotation of keys through the API."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.accounts.services import get_or_create_user
from apps.organizations.members import invite
from apps.organizations.models import Membership
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from tests.alerts.fixtures import mail  # noqa: F401  (a fixture)
from tests.world import Api, unique


def joined(world, role, **options):
    person = get_or_create_user(email=f"{unique('carol')}@people.example")
    return add_member(org=world.acme.org, user=person, role=role, actor=None, **options)


def patch(api, path, body):
    return api.client.patch(f"/api/v1/{path}", body, content_type="application/json", headers=api.headers)


def delete(api, path):
    return api.client.delete(f"/api/v1/{path}", headers=api.headers)


def code(response):
    return response.status_code, response.json()["code"]


def test_members_are_listed_by_role_and_found(world):
    lead = joined(world, Role.LEAD, teams=["search"])
    listed = world.acme.api.get("members").json()["data"]
    assert [one["role"] for one in listed] == ["owner", "lead", "viewer"]
    assert listed[1]["teams"] == ["search"]
    (found,) = world.acme.api.get("members", search=lead.user.email).json()["data"]
    assert found["id"] == lead.pk
    assert code(world.acme.api.get("members", serach="x")) == (400, "parameter_unknown")
    assert code(world.acme.api.get("members", search="a\x07")) == (400, "parameter_invalid")


def test_a_role_is_changed_and_a_member_removed(world):
    row = joined(world, Role.VIEWER)
    changed = patch(world.acme.api, f"members/{row.pk}", {"role": "lead", "teams": ["search"]})
    assert (changed.status_code, changed.json()["teams"]) == (200, ["search"])
    assert delete(world.acme.api, f"members/{row.pk}").status_code == 204
    assert code(delete(world.acme.api, f"members/{row.pk}")) == (404, "not_found")


def test_a_key_makes_nobody_an_owner_and_touches_none(world):
    api, row = world.acme.api, joined(world, Role.VIEWER)
    alice = Membership.objects.get(organization=world.acme.org, user=world.alice)
    assert code(patch(api, f"members/{row.pk}", {"role": "owner"})) == (403, "owner_only")
    assert code(patch(api, f"members/{alice.pk}", {"role": "viewer"})) == (403, "owner_only")
    assert code(delete(api, f"members/{alice.pk}")) == (403, "owner_only")
    invited = api.post("invitations", {"email": "dora@people.example", "role": "owner"})
    assert code(invited) == (403, "owner_only")


def test_a_key_makes_nobody_an_admin(world):
    """Whoever holds it for an hour would be one for good."""
    api, row, admin = world.acme.api, joined(world, Role.VIEWER), joined(world, Role.ADMIN)
    assert code(patch(api, f"members/{row.pk}", {"role": "admin"})) == (403, "person_only")
    invited = api.post("invitations", {"email": "dora@people.example", "role": "admin"})
    assert code(invited) == (403, "person_only")
    assert delete(api, f"members/{admin.pk}").status_code == 204


def test_a_key_leaves_an_owners_invitation_alone(world):
    email = f"{unique('boss')}@people.example"
    issued = invite(org=world.acme.org, email=email, role=Role.OWNER, actor="alice", by_role=Role.OWNER)
    api = world.acme.api
    assert code(api.post(f"invitations/{issued.invitation.pk}/revoke", {})) == (403, "owner_only")
    assert code(api.post("invitations", {"email": email, "role": "viewer"})) == (403, "owner_only")
    (kept,) = api.get("invitations").json()["data"]
    assert (kept["email"], kept["role"]) == (email, "owner")


def test_an_invitation_is_mailed_listed_and_revoked(world, mail):  # noqa: F811
    api, email = world.acme.api, f"{unique('dora')}@people.example"
    made = api.post("invitations", {"email": email, "role": "engineer"})
    assert made.status_code == 201
    assert (made.json()["mailed"], made.json()["email"]) == (True, email)
    (sent,) = mail.inbox
    assert sent["To"] == email
    assert "/invitations/" not in made.content.decode(), "the link is for who reads the mail alone"
    (listed,) = api.get("invitations").json()["data"]
    assert listed["id"] == made.json()["id"]
    revoked = api.post(f"invitations/{listed['id']}/revoke", {})
    assert revoked.json()["revoked_at"] is not None
    assert api.get("invitations").json()["data"] == []


def test_an_invitation_that_is_not_mailed_says_so(world, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    made = world.acme.api.post("invitations", {"email": "dora@people.example", "role": "viewer"})
    assert (made.status_code, made.json()["mailed"]) == (201, False)


@pytest.mark.parametrize(("body", "expected"), [
    ({"role": "viewer"}, (400, "invalid")),
    ({"email": "dora", "role": "viewer"}, (400, "email_invalid")),
    ({"email": "dora@people.example", "role": "king"}, (400, "invalid")),
    ({"email": "dora@people.example", "role": "lead"}, (400, "teams_missing")),
    ({"email": "dora@people.example", "role": "viewer", "team": "x"}, (400, "field_unknown")),
])  # fmt: skip
def test_a_bad_invitation_is_refused_by_name(world, body, expected):
    response = world.acme.api.post("invitations", body)
    assert (response.status_code, response.json()["code"]) == expected, response.json()
    assert world.acme.api.get("invitations").json()["data"] == []


def issue(api, **body):
    response = api.post("keys", {"name": "tests", "scopes": ["read"], **body})
    assert response.status_code == 201, response.json()
    return response.json()


def test_a_key_is_rotated_and_the_old_one_works_on_for_a_while(world):
    api, old = world.acme.api, issue(world.acme.api)
    made = api.post(f"keys/{old['id']}/rotate", {"overlap_seconds": 3600})
    assert made.status_code == 201
    assert Api(made.json()["secret"]).get("spend").status_code == 200
    assert Api(old["secret"]).get("spend").status_code == 200
    again = api.post(f"keys/{made.json()['id']}/rotate", {"overlap_seconds": 0})
    assert code(Api(made.json()["secret"]).get("spend")) == (401, "key_revoked")
    assert Api(again.json()["secret"]).get("spend").status_code == 200
    assert code(api.post(f"keys/{made.json()['id']}/rotate", {})) == (409, "key_ended")
    assert code(api.post("keys/999999999/rotate", {})) == (404, "not_found")


def test_a_key_rotates_none_that_may_more_than_itself(world):
    strong, api = issue(world.acme.api, scopes=["ingest"]), world.acme.api
    weak = Api(issue(api, scopes=["manage", "read"])["secret"])
    assert code(weak.post(f"keys/{strong['id']}/rotate", {})) == (403, "scope_beyond_own")
    pinned = Api(issue(api, scopes=["manage", "ingest"], team="search")["secret"])
    assert code(pinned.post(f"keys/{strong['id']}/rotate", {})) == (404, "not_found")
    soon = datetime.now(UTC) + timedelta(hours=1)
    brief = Api(issue(api, scopes=["manage", "ingest"], expires_at=soon.isoformat())["secret"])
    made = brief.post(f"keys/{strong['id']}/rotate", {}).json()
    assert datetime.fromisoformat(made["expires_at"]) == soon


def test_a_key_that_would_expire_in_the_past_is_not_made(world):
    refused = world.acme.api.post("keys", {"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"})
    assert code(refused) == (400, "expiry_past")
