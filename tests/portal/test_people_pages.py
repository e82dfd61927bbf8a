"""Members, invitations, keys and the organization's own page, as people of each role meet them."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.utils import timezone

from apps.accounts.models import User
from apps.core.tenancy import tenant
from apps.organizations import services
from apps.organizations.closing import close_organization
from apps.organizations.members import invite
from apps.organizations.models import ApiKey, Membership, Organization
from apps.organizations.permissions import Role
from apps.organizations.selectors import list_keys, open_invitations
from apps.organizations.services import add_member, issue_key
from apps.teams.services import create_team
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, get, text_of
from tests.world import Api, unique


@pytest.fixture
def shop():
    """Alice is its only owner."""
    shop = make_shop()
    Membership.objects.filter(organization=shop.org).exclude(user__in=[shop.alice, shop.bob]).delete()
    return shop


def member(shop, role, **options):
    person = make_person(role)
    return add_member(org=shop.org, user=person, role=role, actor=None, **options)


def acting(shop, role, **options):
    return client_of(member(shop, role, **options).user)


def open_ones(shop):
    with tenant(shop.org):
        return open_invitations(shop.org)


def keys_of(shop):
    with tenant(shop.org):
        return list_keys(shop.org)


# --- members -----------------------------------------------------------------------------------------


def test_everybody_sees_who_is_a_member_and_managers_see_how_to_change_it(shop):
    lead = member(shop, Role.LEAD, teams=["search"])
    for role, changes in ((Role.VIEWER, 0), (Role.FINANCE, 0), (Role.ADMIN, 5), (Role.OWNER, 7)):
        page = get(acting(shop, role), shop.url("members"))
        assert lead.user.email in page.text
        assert "Team lead search" in page.text
        assert sum(text_of(link) == "Change" for link in page.find("a")) == changes, role
        assert ("Open invitations" in page.text) == (role in (Role.ADMIN, Role.OWNER))


def test_a_member_is_found(shop):
    lead, other = member(shop, Role.LEAD, teams=["search"]), member(shop, Role.VIEWER)
    page = get(client_of(shop.alice), shop.url(f"members?q={lead.user.email[:12].upper()}"))
    assert lead.user.email in page.text
    assert other.user.email not in page.text
    assert "Nobody matches" in get(client_of(shop.alice), shop.url("members?q=%00%25_nobody")).text


def test_an_invitation_that_cannot_be_mailed_says_so_and_can_be_sent_again(shop, mail, settings):
    settings.EMAIL_PORT = 1  # nobody listens there
    alice = client_of(shop.alice)
    given = {"email": "carol@people.example", "role": "viewer"}
    page = Page(alice.post(shop.url("members/invite"), given, follow=True))
    assert "The mail server did not take the invitation to carol@people.example" in page.text
    (waiting,) = open_ones(shop)
    settings.EMAIL_PORT = mail.port
    alice.post(shop.url(f"members/invitations/{waiting.pk}/again"))
    (sent,) = mail.inbox
    assert sent["To"] == "carol@people.example"
    assert sent["Subject"] == f"Join {shop.org.name} on FinOps for AI"
    text = sent.get_content()
    assert f"{shop.alice.email} invites you" in text
    assert re.search(r"http://testserver/invitations/[\w-]{43}\s", text)


@pytest.mark.parametrize(("given", "said"), [
    ({"email": "carol"}, "'carol' is no email address"),
    ({"email": ""}, "is no email address"),
    ({"email": "carol@people.example\r\nBcc: x@people.example"}, "is no email address"),
    ({"role": ""}, "'' is no role"),
    ({"role": "lead"}, "needs at least one team"),
    ({"role": "owner"}, "Only an owner can make somebody an owner"),
])  # fmt: skip
def test_a_bad_invitation_says_what_is_wrong_and_keeps_what_was_typed(shop, given, said):
    sent = {"email": "carol@people.example", "role": "viewer", **given}
    response = acting(shop, Role.ADMIN).post(shop.url("members/invite"), sent)
    assert response.status_code == 400
    response.status_code = 200
    page = Page(response)
    assert said in page.text
    (field,) = (one for one in page.find("input") if attribute(one, "name") == "email")
    assert attribute(field, "value") == sent["email"].strip()
    assert open_ones(shop) == []


def test_a_role_is_changed_and_a_member_removed(shop):
    create_team(org=shop.org, slug="search")
    bob, alice = member(shop, Role.VIEWER), client_of(shop.alice)
    page = get(alice, shop.url(f"members/{bob.pk}"))
    assert [attribute(one, "value") for one in page.find("input", type="checkbox")] == ["search"]
    alice.post(shop.url(f"members/{bob.pk}"), {"role": "lead", "teams": ["search"]})
    bob.refresh_from_db()
    assert (bob.role, bob.teams) == ("lead", ["search"])
    visits = client_of(bob.user)
    assert visits.get(shop.url()).status_code == 200
    alice.post(shop.url(f"members/{bob.pk}/remove"))
    assert visits.get(shop.url()).status_code == 404


def test_the_only_owner_can_neither_leave_nor_be_removed(shop):
    alice = client_of(shop.alice)
    own = Membership.objects.get(organization=shop.org, user=shop.alice)
    for path in ("members/leave", f"members/{own.pk}/remove"):
        response = alice.post(shop.url(path))
        assert (response.status_code, "is the only owner" in response.content.decode()) == (400, True)
    bob = Membership.objects.get(organization=shop.org, user=shop.bob)
    alice.post(shop.url(f"members/{bob.pk}/transfer"))
    assert alice.post(shop.url("members/leave"))["Location"] == "/"
    assert list(Membership.objects.filter(organization=shop.org).values_list("user", "role")) == [
        (shop.bob.pk, Role.OWNER)
    ]


def test_an_admin_sees_the_invitation_of_an_owner_and_leaves_it_alone(shop):
    invite(org=shop.org, email="boss@people.example", role=Role.OWNER, actor="alice", by_role=Role.OWNER)
    (waiting,) = open_ones(shop)
    admin, below = acting(shop, Role.ADMIN), shop.url(f"members/invitations/{waiting.pk}")
    for client, offers in ((admin, False), (client_of(shop.alice), True)):
        text = client.get(shop.url("members")).content.decode()
        assert "boss@people.example" in text
        assert (below in text) is offers
    for act in ("revoke", "again"):
        refused = admin.post(f"{below}/{act}")
        assert (refused.status_code, "owner" in refused.content.decode()) == (400, True)
    given = {"email": "boss@people.example", "role": "viewer"}
    refused = admin.post(shop.url("members/invite"), given)
    assert "only an owner can change that" in refused.content.decode()
    assert [one.pk for one in open_ones(shop)] == [waiting.pk]


def test_nobody_joins_an_organization_that_is_being_deleted(shop):
    person = make_person("late")
    token = invite(org=shop.org, email=person.email, role=Role.ADMIN, actor="alice", by_role=Role.OWNER).token
    close_organization(org=shop.org, slug=shop.org.slug, actor="alice")
    client = client_of(person)
    for response in (client.get(f"/invitations/{token}"), client.post(f"/invitations/{token}")):
        assert (response.status_code, "is being deleted" in response.content.decode()) == (400, True)
    assert not Membership.objects.filter(user=person).exists()


def test_who_may_not_manage_members_changes_nothing(shop):
    bob = Membership.objects.get(organization=shop.org, user=shop.bob)
    invite(org=shop.org, email="carol@people.example", role=Role.VIEWER, actor="alice", by_role=Role.OWNER)
    (waiting,) = open_ones(shop)
    posts = {
        "members/invite": {"email": "mallory@people.example", "role": "viewer"},
        f"members/{bob.pk}": {"role": "admin"},
        f"members/{bob.pk}/remove": {},
        f"members/{bob.pk}/transfer": {},
        f"members/invitations/{waiting.pk}/revoke": {},
    }
    for role in (Role.FINANCE, Role.ENGINEER, Role.VIEWER):
        client = acting(shop, role)
        assert {client.post(shop.url(path), given).status_code for path, given in posts.items()} == {403}
    assert acting(shop, Role.ADMIN).post(shop.url(f"members/{bob.pk}/transfer")).status_code == 403
    bob.refresh_from_db()
    assert (bob.role, len(open_ones(shop))) == (Role.VIEWER, 1)


# --- keys --------------------------------------------------------------------------------------------


def test_a_key_is_shown_once(shop):
    alice = client_of(shop.alice)
    given = {"name": "checkout", "scopes": ["ingest", "read"], "team": "search", "expires": "2198-01-31"}
    page = Page(alice.post(shop.url("keys/new"), given))
    (secret,) = re.findall(r"\baif_live_\w{36}\b", text_of(next(page.find("code", id="key"))))
    assert Api(secret).get("spend").status_code == 200
    listed = get(alice, shop.url("keys"))
    assert secret not in listed.text
    for said in ("checkout", "ingest, read", "team search", "31 Jan 2198", "just now", shop.alice.email):
        assert said in listed.text, said


@pytest.mark.parametrize(("given", "said"), [
    ({"name": ""}, "1 to 100 printable characters"),
    ({"name": "a\0b"}, "1 to 100 printable characters"),
    ({"scopes": []}, "needs at least one scope"),
    ({"scopes": ["root"]}, "No such scope: root"),
    ({"team": "a\x07b"}, "1 to 256 printable characters"),
    ({"expires": "tomorrow"}, "is no date"),
    ({"expires": "2020-01-01"}, "which is over"),
    ({"expires": "9999-99-99"}, "is no date"),
])  # fmt: skip
def test_a_bad_key_says_what_is_wrong_and_makes_none(shop, given, said):
    before = len(keys_of(shop))
    response = client_of(shop.alice).post(shop.url("keys/new"), {"name": "checkout", "scopes": ["read"], **given})
    assert (response.status_code, said in response.content.decode().replace("&#x27;", "'")) == (400, True)
    assert len(keys_of(shop)) == before


def test_a_key_is_rotated_with_an_overlap(shop):
    start = datetime(2026, 11, 24, 12, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        terms = {"scopes": ["read"], "team": "search", "expires_at": start + timedelta(days=90)}
        old = issue_key(org=shop.org, name="export", **terms)
    with time_machine.travel(start + timedelta(days=80), tick=False):
        _, after = services.rotate_key(org=shop.org, key_id=old.key.pk, overlap=timedelta(days=30), actor="alice")
    (new, kept) = (key for key in keys_of(shop) if key.name == "export")
    assert (new.scopes, new.team, new.expires_at) == (["read"], "search", start + timedelta(days=170))
    assert kept.expires_at == after.expires_at == start + timedelta(days=90), "never longer than it was good for"
    with time_machine.travel(start + timedelta(days=81), tick=False):
        services.rotate_key(org=shop.org, key_id=new.pk, overlap=timedelta(0), actor="alice")
    assert next(key for key in keys_of(shop) if key.pk == new.pk).revoked_at is not None


def test_a_key_that_has_ended_is_listed_apart_and_cannot_be_rotated(shop):
    alice, key = client_of(shop.alice), keys_of(shop)[0]
    alice.post(shop.url(f"keys/{key.pk}/revoke"))
    page = get(alice, shop.url("keys"))
    assert "No key works" in page.text
    assert "Keys that no longer work" in page.text
    assert alice.get(shop.url(f"keys/{key.pk}/rotate")).status_code == 404
    assert alice.post(shop.url("keys/999999999/revoke")).status_code == 404


def test_an_unknown_overlap_changes_nothing(shop):
    (key,) = keys_of(shop)
    response = client_of(shop.alice).post(shop.url(f"keys/{key.pk}/rotate"), {"overlap": "1e9"})
    assert response.status_code == 400
    assert len(keys_of(shop)) == 1


def test_engineers_see_keys_and_only_managers_change_them(shop):
    (key,) = keys_of(shop)
    engineer = acting(shop, Role.ENGINEER)
    page = get(engineer, shop.url("keys"))
    assert key.hint in page.text
    assert "Rotate" not in page.text
    for path in ("keys/new", f"keys/{key.pk}/rotate", f"keys/{key.pk}/revoke"):
        assert engineer.post(shop.url(path), {"name": "x", "scopes": "read"}).status_code == 403
    assert acting(shop, Role.VIEWER).get(shop.url("keys")).status_code == 403
    assert acting(shop, Role.FINANCE).get(shop.url("keys")).status_code == 403


def test_there_is_a_limit_to_keys_that_work(shop, monkeypatch):
    monkeypatch.setattr(services, "KEYS_MAX", 2)
    alice = client_of(shop.alice)
    assert alice.post(shop.url("keys/new"), {"name": "two", "scopes": "read"}).status_code == 200
    refused = alice.post(shop.url("keys/new"), {"name": "three", "scopes": "read"})
    assert (refused.status_code, "2 keys work already" in refused.content.decode()) == (400, True)
    with tenant(shop.org):
        ApiKey.objects.for_org(shop.org).filter(name="two").update(revoked_at=datetime.now(UTC))
    assert alice.post(shop.url("keys/new"), {"name": "three", "scopes": "read"}).status_code == 200


# --- the organization --------------------------------------------------------------------------------


def test_a_second_factor_is_required_and_shuts_out_who_has_none(shop):
    alice = client_of(shop.alice)
    refused = alice.post(shop.url("organization/second-factor"), {"required": "yes"})
    assert (refused.status_code, "Set up a second factor of your own first" in refused.content.decode()) == (400, True)
    shop.alice.authenticator_set.create(type="totp", data={})
    alice.post(shop.url("organization/second-factor"), {"required": "yes"})
    bob = client_of(shop.bob)
    shut = bob.get(shop.url("spend"))
    assert (shut.status_code, "asks for a second factor" in shut.content.decode()) == (403, True)
    assert shop.org.name in bob.get("/o/").content.decode()
    # Codes for the day on which the phone is lost are no factor of their own.
    shop.bob.authenticator_set.create(type="recovery_codes", data={})
    assert bob.get(shop.url("spend")).status_code == 403
    assert "none: locked out" in get(alice, shop.url("members")).text
    shop.bob.authenticator_set.create(type="webauthn", data={})
    assert bob.get(shop.url("spend")).status_code == 200
    alice.post(shop.url("organization/second-factor"), {"required": "no"})
    assert not Organization.objects.get(pk=shop.org.pk).requires_second_factor


@pytest.mark.parametrize(("zone", "month", "said"), [
    ("Mars/Olympus", "2198-01", "is not an IANA time zone"),
    ("Asia/Tokyo", "soon", "is no month"),
    ("Asia/Tokyo", "2020-01", "takes effect on the first of a coming month"),
])  # fmt: skip
def test_a_bad_zone_changes_nothing(shop, zone, month, said):
    response = client_of(shop.alice).post(shop.url("organization/zone"), {"zone": zone, "month": month})
    assert (response.status_code, said in response.content.decode()) == (400, True)


def test_a_zone_takes_effect_with_a_coming_month(shop):
    alice = client_of(shop.alice)
    alice.post(shop.url("organization/zone"), {"zone": "Asia/Tokyo", "month": f"{datetime.now(UTC).year + 1}-12"})
    page = get(alice, shop.url("organization"))
    assert f"Asia/Tokyo from December {datetime.now(UTC).year + 1} on" in page.text
    assert "UTC" in page.text


def test_an_organization_that_is_being_deleted_is_looked_at_and_restored(shop):
    alice = client_of(shop.alice)
    refused = alice.post(shop.url("organization/delete"), {"slug": "something"})
    assert (refused.status_code, "To delete it, type its name" in refused.content.decode()) == (400, True)
    alice.post(shop.url("organization/delete"), {"slug": shop.org.slug})
    for page in ("", "members", "organization"):
        assert "This organization is being deleted" in get(client_of(shop.bob), shop.url(page)).text
    given = {"name": "late", "scopes": "read"}
    late = alice.post(shop.url("keys/new"), given)
    assert (late.status_code, "is being deleted" in late.content.decode()) == (400, True)
    assert acting(shop, Role.ADMIN).post(shop.url("organization/restore")).status_code == 403
    alice.post(shop.url("organization/restore"))
    assert "being deleted" not in get(alice, shop.url("organization")).text
    assert alice.post(shop.url("keys/new"), given).status_code == 200


# --- coming in ---------------------------------------------------------------------------------------


def test_two_companies_may_have_one_name():
    client, name = client_of(make_person("dora")), unique("Acme")
    first = client.post("/organizations/new", {"name": name, "zone": "UTC"})["Location"]
    second = client.post("/organizations/new", {"name": name, "zone": "UTC"})["Location"]
    slug = name.lower()
    assert (first, second) == (f"/o/{slug}/first-event", f"/o/{slug}-2/first-event")


@pytest.mark.parametrize(("given", "said"), [
    ({"name": ""}, "gives no usable slug"),
    ({"name": "?!"}, "gives no usable slug"),
    ({"name": "x" * 300}, "gives no usable slug"),
    ({"zone": "Nowhere"}, "is not an IANA time zone"),
])  # fmt: skip
def test_a_bad_organization_is_refused(given, said):
    client = client_of(make_person("dora"))
    response = client.post("/organizations/new", {"name": unique("fine"), "zone": "UTC", **given})
    assert (response.status_code, said in response.content.decode()) == (400, True)


def test_one_person_owns_so_many_organizations_and_no_more(monkeypatch):
    monkeypatch.setattr("apps.organizations.services.OWNED_MAX", 1)
    client = client_of(make_person("dora"))
    assert client.post("/organizations/new", {"name": unique("one"), "zone": "UTC"}).status_code == 302
    refused = client.post("/organizations/new", {"name": unique("two"), "zone": "UTC"})
    assert (refused.status_code, "as many as one person may" in refused.content.decode()) == (400, True)


def test_where_signing_up_is_closed_only_who_is_invited_gets_in(client, settings, mail):
    settings.SIGNUP_OPEN = False
    assert "Accounts are by invitation" in client.get("/accounts/signup/").content.decode()
    assert client_of(make_person("dora")).get("/organizations/new").status_code == 403
    shop, email = make_shop(), f"{unique('carol')}@people.example"
    issued = invite(org=shop.org, email=email, role=Role.VIEWER, actor="alice", by_role=Role.OWNER)
    client.get(f"/invitations/{issued.token}")
    password = {"password1": "plover-umbrella-cantaloupe"}
    other = client.post("/accounts/signup/", {"email": "mallory@people.example", **password})
    assert f"The invitation is for {email}" in other.content.decode()
    joined = client.post("/accounts/signup/", {"email": email, **password})
    assert joined.status_code == 302
    # Whoever opened the link has read the mail: no second one.
    assert mail.inbox == []
    assert client.post(f"/invitations/{issued.token}")["Location"] == shop.url()


def test_a_first_event_turns_the_page():
    shop = make_shop()
    alice = client_of(shop.alice)
    waiting = alice.get(shop.url("first-event/seen")).content.decode()
    assert 'hx-trigger="every 2s"' in waiting
    shop.api.send({
        "event_id": "first", "occurred_at": datetime.now(UTC).isoformat(), "provider": "openai", "model": "gpt-5",
        "usage": {"input_tokens": 1},
    })  # fmt: skip
    seen = alice.get(shop.url("first-event/seen")).content.decode()
    assert "The first event is here" in seen
    assert "hx-trigger" not in seen


# --- sessions ----------------------------------------------------------------------------------------


def sessions_shown(client):
    page = get(client, "/accounts/sessions/")
    assert page.text.count("this one") == 1
    return page.text.count("last seen")


def test_sessions_that_are_over_are_not_shown():
    person = make_person("ann")
    here, there, other = (client_of(person) for _ in range(3))
    assert sessions_shown(here) == 3
    Session.objects.filter(pk=there.session.session_key).update(expire_date=timezone.now())
    assert sessions_shown(here) == 2
    Session.objects.filter(pk=other.session.session_key).delete()
    assert sessions_shown(here) == 1


def test_a_new_password_ends_the_sessions_of_the_one_before():
    person = make_person("ann")
    client_of(person)
    User.objects.filter(pk=person.pk).update(password="another")
    person.refresh_from_db()
    assert sessions_shown(client_of(person)) == 1
