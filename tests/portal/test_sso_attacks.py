"""Single sign-on under attack: by another organization's provider, by who knows an address, by a link."""

import base64
import re
import zlib
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.core.encryption import decrypt
from apps.core.tenancy import tenant
from apps.organizations import sso
from apps.organizations.closing import close_due, close_organization
from apps.organizations.members import invite, remove_member
from apps.organizations.models import ApiKey, Domain, Membership, SsoConnection
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, found_organization
from tests.alerts.fixtures import allowed  # noqa: F401  (a fixture)
from tests.database import as_worker
from tests.identity import SAML, certificate, provider
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.test_single_sign_on import (  # noqa: F401  (fixtures among them)
    came_by,
    come_back,
    company,
    connect,
    idp,
    onward,
    prove,
    saml_company,
    saml_in,
    shop,
    sign_in,
)
from tests.world import PASSWORD, unique


@pytest.fixture
def evil(idp):  # noqa: F811
    """Another organization, whose provider says what it likes about addresses of its own domain."""
    found = make_shop()
    domain = f"{unique('evil')}.example"
    prove(found, domain)
    connect(found, idp)
    return found, f"mallory@{domain}"


# --- a link ------------------------------------------------------------------------------------------


def test_a_link_connects_nobodys_account_to_another_provider(shop, idp, company, evil):  # noqa: F811
    """Who is signed in opens a link to Mallory's provider, which answers for Mallory without a question."""
    mallorys, mallory = evil
    victim, _ = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    carol = User.objects.get(email=f"carol@{company}")
    idp.is_me(sub="mallory", email=mallory)
    begun = victim.get(f"/accounts/oidc/{mallorys.org.slug}/login/?process=connect")
    assert (begun.status_code, begun["Location"]) == (302, f"/sso/{mallorys.org.slug}/")
    asked = victim.get(begun["Location"])
    assert "You are signed in as" in asked.content.decode()
    assert "/authorize" not in asked.content.decode()
    link = onward(victim.post(begun["Location"], {"process": "connect"}))
    # Even if a sign-in was begun so, by whatever road, it ends in a refusal.
    session = victim.session
    for state, *_ in session["socialaccount_states"].values():
        state["process"] = "connect"
    session.save()
    assert come_back(victim, link).status_code == 403
    assert [account.uid for account in SocialAccount.objects.filter(user=carol)] == ["1"]
    came, _ = sign_in(mallorys, idp, sub="mallory", email=mallory)
    assert came.get(shop.url()).status_code == 404


def test_no_other_site_signs_somebody_out_by_a_sign_in(shop, idp, company, evil):  # noqa: F811
    mallorys, mallory = evil
    add_member(org=shop.org, user=shop.charlie, role=Role.VIEWER, actor=None)
    charlie = client_of(shop.charlie)
    idp.is_me(sub="mallory", email=mallory)
    for path in (f"/sso/{mallorys.org.slug}/", f"/accounts/oidc/{mallorys.org.slug}/login/"):
        page = charlie.get(path, follow=True)
        assert "Stay signed in as you are" in page.content.decode()
    from_outside = Client(enforce_csrf_checks=True)
    from_outside.cookies = charlie.cookies
    assert from_outside.post(f"/sso/{mallorys.org.slug}/").status_code == 403
    assert charlie.get(shop.url()).status_code == 200


# --- an address that somebody else was first to write down -------------------------------------------

STRANGERS = "zebra-quorum-lantern-93-oxide"


def sign_up(email):
    client = Client()
    client.post("/accounts/signup/", {"email": email, "password1": STRANGERS})
    assert User.objects.filter(email=email).exists()
    return client


def test_who_made_an_account_with_somebodys_address_does_not_keep_it(shop, idp, company):  # noqa: F811
    email = f"dora@{company}"
    stranger = sign_up(email)
    dora = User.objects.get(email=email)
    give_factor(dora)
    SocialAccount.objects.create(user=dora, provider="oidc:of-mallory", uid="mallory")
    kept = client_of(dora)
    client, answer = sign_in(shop, idp, sub="77", email=email)
    assert (answer.status_code, answer["Location"]) == (302, shop.url())
    assert client.get(shop.url()).status_code == 200  # without a second mail
    dora.refresh_from_db()
    assert not dora.has_usable_password()
    assert not Authenticator.objects.filter(user=dora).exists()
    assert [account.uid for account in SocialAccount.objects.filter(user=dora)] == ["77"]
    assert kept.get("/o/").status_code == 302
    for attempt in (Client(), stranger):
        attempt.get("/accounts/confirm-email/")
        attempt.post("/accounts/login/", {"login": email, "password": STRANGERS})
        assert attempt.get(shop.url()).status_code == 302


def test_an_account_that_proved_the_address_stays_as_it_is(shop, idp, company):  # noqa: F811
    bob = get_or_create_user(email=f"bob@{company}", password=PASSWORD)
    own = client_of(bob)
    sign_in(shop, idp, sub="2", email=bob.email)
    bob.refresh_from_db()
    assert bob.check_password(PASSWORD)
    assert own.get(shop.url()).status_code == 200


def test_an_account_of_another_address_is_not_taken(shop, idp, company):  # noqa: F811
    """Its first address was never proved, but it is somebody's: they proved another."""
    email = f"dora@{company}"
    sign_up(email)
    dora = User.objects.get(email=email)
    EmailAddress.objects.create(user=dora, email=f"{unique('dora')}@people.example", verified=True)
    _, answer = sign_in(shop, idp, sub="77", email=email)
    assert (answer.status_code, "has proved another address only" in answer.content.decode()) == (403, True)
    assert User.objects.get(pk=dora.pk).has_usable_password()


def test_a_second_address_of_an_account_leads_there(shop, idp, company):  # noqa: F811
    person, email = make_person("erin"), f"erin@{company}"
    EmailAddress.objects.create(user=person, email=email, verified=True, primary=False)
    invite(org=shop.org, email=email, role=Role.FINANCE, actor="alice", by_role=Role.OWNER)
    client, _ = sign_in(shop, idp, sub="78", email=email)
    assert client.get(shop.url()).status_code == 200
    assert Membership.objects.get(organization=shop.org, user=person).role == Role.FINANCE
    assert not User.objects.filter(email=email).exists()


def test_who_lists_somebodys_address_does_not_keep_them_out(shop, idp, company):  # noqa: F811
    mallory, email = make_person("mallory"), f"dora@{company}"
    EmailAddress.objects.create(user=mallory, email=email, verified=False, primary=False)
    client, _ = sign_in(shop, idp, sub="79", email=email)
    assert client.get(shop.url()).status_code == 200
    assert not Membership.objects.filter(organization=shop.org, user=mallory).exists()
    assert EmailAddress.objects.get(email=email).user.email == email


# --- a session that is left alone --------------------------------------------------------------------


def signed_in_long_ago(client, user):
    """As if the session had begun ten days ago, and the account long before."""
    User.objects.filter(pk=user.pk).update(date_joined="2020-01-01T00:00:00Z")
    session = client.session
    records = session["account_authentication_methods"]
    session["account_authentication_methods"] = [{**record, "at": record["at"] - 864_000} for record in records]
    session.save()


def owner_by(shop, idp, email):  # noqa: F811
    """An owner whose account their company's provider made, ten days ago."""
    invite(org=shop.org, email=email, role=Role.OWNER, actor="alice", by_role=Role.OWNER)
    client, _ = sign_in(shop, idp, sub="1", email=email)
    user = User.objects.get(email=email)
    signed_in_long_ago(client, user)
    return client, user


def test_a_sensitive_act_asks_the_provider_again(shop, idp, company):  # noqa: F811
    client, carol = owner_by(shop, idp, f"carol@{company}")
    key = {"name": "of-carol", "scopes": ["read"]}
    for path, given in (("keys/new", key), ("organization/delete", {"slug": shop.org.slug}), ("keys/1/revoke", {})):
        asked = client.post(shop.url(path), given)
        assert (asked.status_code, "Confirm that it is you" in asked.content.decode()) == (403, True), path
    with tenant(shop.org):
        assert not ApiKey.objects.for_org(shop.org).filter(name="of-carol").exists()
    # A sign-in that the provider answers without a question is not enough.
    silent = client.post(f"/sso/{shop.org.slug}/")
    come_back(client, onward(silent))
    assert client.post(shop.url("keys/new"), key).status_code == 403
    link = onward(client.post(f"/sso/{shop.org.slug}/", {"anew": "yes", "next": shop.url("keys/new")}))
    assert "prompt=login" in link
    back = come_back(client, link)
    assert (back.status_code, back["Location"]) == (302, shop.url("keys/new"))
    assert client.post(shop.url("keys/new"), key).status_code == 200
    assert carol.pk == int(client.session["_auth_user_id"])
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert client.post(shop.url("keys/new"), {**key, "name": "another"}).status_code == 403


def test_saml_is_told_to_ask_again(shop, saml_company):  # noqa: F811
    client = Client(headers={"host": "testserver"})
    for given, wanted in (({}, False), ({"anew": "yes"}, True)):
        link = onward(client.post(f"/sso/{shop.org.slug}/", given))
        (packed,) = parse_qs(urlsplit(link).query)["SAMLRequest"]
        assert ('ForceAuthn="true"' in zlib.decompress(base64.b64decode(packed), -15).decode()) is wanted


ACCOUNT_PAGES = (
    "email/", "password/set/", "password/change/", "2fa/", "2fa/totp/activate/", "2fa/webauthn/add/",
    "2fa/recovery-codes/generate/", "sessions/", "3rdparty/",
)  # fmt: skip


def test_a_providers_session_opens_nothing_of_the_account(shop, idp, company):  # noqa: F811
    client, carol = owner_by(shop, idp, f"carol@{company}")
    given = {"email": "x@evil.example", "action_add": "", "password1": STRANGERS, "password2": STRANGERS}
    for path in ACCOUNT_PAGES:
        for answer in (client.get(f"/accounts/{path}"), client.post(f"/accounts/{path}", given)):
            assert (answer.status_code, "something of your own" in answer.content.decode()) == (403, True), path
    carol.refresh_from_db()
    assert not carol.has_usable_password()
    assert EmailAddress.objects.filter(user=carol).count() == 1
    # Nor just after the account was made.
    fresh, _ = sign_in(shop, idp, sub="5", email=f"dora@{company}")
    assert fresh.post("/accounts/password/set/", given).status_code == 403


def test_who_has_no_password_chooses_one_by_mail(shop, idp, company, mail):  # noqa: F811
    client, carol = owner_by(shop, idp, f"carol@{company}")
    client.post("/accounts/password/reset/", {"email": carol.email})
    text = mail.inbox[-1].get_body(("plain",)).get_content()
    (path,) = re.findall(r"/accounts/password/reset/key/\S+", text)
    client.post(client.get(path)["Location"], {"password1": STRANGERS, "password2": STRANGERS})
    carol.refresh_from_db()
    assert carol.check_password(STRANGERS)


def test_a_password_opens_the_account_to_a_providers_session(shop, idp, company):  # noqa: F811
    bob = get_or_create_user(email=f"bob@{company}", password=PASSWORD)
    client, _ = sign_in(shop, idp, sub="2", email=bob.email)
    asked = client.get("/accounts/email/")
    assert (asked.status_code, asked["Location"]) == (302, "/accounts/reauthenticate/?next=%2Faccounts%2Femail%2F")
    client.post(asked["Location"], {"password": PASSWORD})
    assert client.get("/accounts/email/").status_code == 200


# --- two organizations, one name ---------------------------------------------------------------------


def give_factor(user):
    TOTP.activate(user, generate_totp_secret())
    return user


def test_two_organizations_may_have_one_client_id(shop, idp, company, evil):  # noqa: F811
    """A sign-in that waits for a second factor is found again, though Mallory's client is called the same."""
    bob = give_factor(get_or_create_user(email=f"bob@{company}", password=PASSWORD))
    client, answer = sign_in(shop, idp, sub="2", email=bob.email)
    assert answer["Location"] == "/accounts/2fa/authenticate/"
    assert client.get("/accounts/2fa/authenticate/").status_code == 200


def test_a_sign_in_under_way_begins_anew_when_its_provider_is_gone(shop, idp, company):  # noqa: F811
    bob = give_factor(get_or_create_user(email=f"bob@{company}", password=PASSWORD))
    client, _ = sign_in(shop, idp, sub="2", email=bob.email)
    sso.disconnect(org=shop.org, actor="alice")
    assert client.get("/accounts/2fa/authenticate/")["Location"].startswith("/accounts/login/")


def test_no_name_of_an_organization_breaks_anothers_provider(shop, idp, saml_company):  # noqa: F811
    """One called SAML, with a client of the other's name; and one whose slug looks like an id of the other's."""
    for name in ("SAML", f"SAML {shop.org.name}", "OpenID Connect"):
        other = found_organization(user=make_person("mallory"), name=name, zone="UTC")
        sso.connect_oidc(
            org=other, server_url=idp.url, client_id=shop.org.slug, client_secret="x", default_role="viewer", actor="m"
        )
        assert f"{idp.url}/authorize" in onward(Client().get(f"/sso/{other.slug}/"))
        sso.disconnect(org=other, actor="m")
        given = {**SAML, "certificate": certificate()}
        sso.connect_saml(org=other, actor="m", **given)
        sso.connect_oidc(
            org=other, server_url=idp.url, client_id=shop.org.slug, client_secret="x", default_role="viewer", actor="m"
        )
    client, answer = saml_in(shop, f"carol@{saml_company}")
    assert answer.status_code == 302
    assert client.get(shop.url()).status_code == 200
    changed = client_of(shop.alice).post(shop.url("single-sign-on/saml"), {**SAML, "certificate": certificate()})
    assert changed.status_code == 302


def test_a_session_of_a_provider_ends_with_it(shop, idp, company):  # noqa: F811
    client, _ = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    with provider() as other:
        connect(shop, other)
        assert client.get(shop.url()).status_code == 403
        sso.enforce(org=shop.org, is_enforced=True, actor="alice")
        assert client.get(shop.url()).status_code == 403
        again, _ = sign_in(shop, other, sub="1", email=f"carol@{company}")
        assert again.get(shop.url()).status_code == 200
        sso.disconnect(org=shop.org, actor="alice")
        connect(shop, other)
        assert again.get(shop.url()).status_code == 403


def test_a_secret_goes_to_the_provider_alone_that_it_was_entered_for(shop, idp, company):  # noqa: F811
    alice = client_of(shop.alice)
    known = {"server_url": idp.url, "client_id": idp.client_id, "client_secret": "", "default_role": "viewer"}
    for changed in ({"server_url": "https://evil.example"}, {"client_id": "another"}):
        refused = alice.post(shop.url("single-sign-on/oidc"), {**known, **changed})
        assert (refused.status_code, "A client secret has" in refused.content.decode()) == (400, True)
    assert alice.post(shop.url("single-sign-on/oidc"), known).status_code == 302
    app = SsoConnection.objects.get(organization=shop.org).app
    assert (app.settings["server_url"], decrypt(app.secret)) == (idp.url, idp.secret)


def test_the_identities_of_a_closed_organization_are_gone(shop, idp, company):  # noqa: F811
    bob = get_or_create_user(email=f"bob@{company}", password=PASSWORD)
    sign_in(shop, idp, sub="2", email=bob.email)
    close_organization(org=shop.org, slug=shop.org.slug, actor="alice")
    with as_worker():
        close_due(at=timezone.now() + timedelta(days=31))
    assert client_of(bob).get("/accounts/3rdparty/").status_code == 200
    assert not SocialAccount.objects.filter(user=bob).exists()


# --- nobody is shut out, or let in, by the way -------------------------------------------------------


def enforced(shop):  # noqa: F811
    sso.enforce(org=shop.org, is_enforced=True, actor="alice")


def test_the_last_way_in_is_not_taken_away_while_it_is_the_only_one(shop, idp, company):  # noqa: F811
    prove(shop, spare := f"{unique('acme')}.example")
    enforced(shop)
    alice = client_of(shop.alice)
    came_by(alice, shop.alice, "mfa")
    with tenant(shop.org):
        first, second = Domain.objects.for_org(shop.org).order_by("pk")
    assert alice.post(shop.url(f"single-sign-on/domains/{second.pk}/remove")).status_code == 302
    saml = ("single-sign-on/saml", {**SAML, "certificate": certificate()})
    another = {"server_url": idp.url, "client_id": "x", "client_secret": "y", "default_role": "viewer"}
    for path, given in (
        (f"single-sign-on/domains/{first.pk}/remove", {}), saml, ("single-sign-on/oidc", another)
    ):  # fmt: skip
        refused = alice.post(shop.url(path), given)
        assert (refused.status_code, "stop enforcing single sign-on first" in refused.content.decode()) == (400, True)
    client, _ = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    assert client.get(shop.url()).status_code == 200
    alice.post(shop.url("single-sign-on/enforce"), {"enforced": "no"})
    assert alice.post(shop.url(saml[0]), saml[1]).status_code == 302
    assert spare == second.name


def test_members_come_in_while_the_organization_is_being_deleted(shop, idp, company):  # noqa: F811
    owner = f"carol@{company}"
    invite(org=shop.org, email=owner, role=Role.OWNER, actor="alice", by_role=Role.OWNER)
    sign_in(shop, idp, sub="1", email=owner)
    enforced(shop)
    close_organization(org=shop.org, slug=shop.org.slug, actor="alice")
    client, answer = sign_in(shop, idp, sub="1", email=owner)
    assert answer.status_code == 302
    _, refused = sign_in(shop, idp, sub="2", email=f"dora@{company}")
    assert (refused.status_code, "is being deleted" in refused.content.decode()) == (403, True)
    assert not User.objects.filter(email=f"dora@{company}").exists()
    assert client.post(shop.url("organization/restore")).status_code == 302
    shop.org.refresh_from_db()
    assert shop.org.state == "active"


def test_nobody_is_invited_whom_the_only_way_in_never_lets_in(shop, idp, company):  # noqa: F811
    outside = make_person("erin")
    before = invite(org=shop.org, email=outside.email, role=Role.VIEWER, actor="alice", by_role=Role.OWNER)
    enforced(shop)
    alice = client_of(shop.alice)
    came_by(alice, shop.alice, "mfa")
    invitation = {"email": f"x@{unique('else')}.example", "role": "viewer"}
    refused = alice.post(shop.url("members/invite"), invitation)
    assert (refused.status_code, "never speaks for" in refused.content.decode()) == (400, True)
    joining = client_of(outside).post(f"/invitations/{before.token}")
    assert (joining.status_code, "never speaks for" in joining.content.decode()) == (400, True)
    for given in ({"email": f"dora@{company}", "role": "viewer"}, {**invitation, "role": "owner"}):
        assert alice.post(shop.url("members/invite"), given).status_code == 302


def test_an_address_given_to_somebody_new_does_not_give_them_the_place_of_who_had_it(shop, idp, company):  # noqa: F811
    email = f"carol@{company}"
    invite(org=shop.org, email=email, role=Role.ADMIN, actor="alice", by_role=Role.OWNER)
    sign_in(shop, idp, sub="old", email=email)
    _, refused = sign_in(shop, idp, sub="new", email=email)
    assert (refused.status_code, "remove that member first" in refused.content.decode()) == (403, True)
    member = Membership.objects.get(organization=shop.org, user__email=email)
    remove_member(org=shop.org, member_id=member.pk, actor="alice", by_role=Role.OWNER)
    client, _ = sign_in(shop, idp, sub="new", email=email)
    assert client.get(shop.url()).status_code == 200
    assert Membership.objects.get(organization=shop.org, user__email=email).role == Role.VIEWER
    assert [account.uid for account in SocialAccount.objects.filter(user__email=email)] == ["new"]


# --- a providers session elsewhere -------------------------------------------------------------------


def test_a_providers_session_sees_and_does_nothing_elsewhere(shop, idp, company):  # noqa: F811
    other, bob = make_shop(), get_or_create_user(email=f"bob@{company}")
    add_member(org=other.org, user=bob, role=Role.OWNER, actor=None)
    own = client_of(bob)
    invited = invite(org=make_shop().org, email=bob.email, role=Role.VIEWER, actor="x", by_role=Role.OWNER)
    client, _ = sign_in(shop, idp, sub="2", email=bob.email)
    for path in ("/o/", shop.url()):
        assert other.org.slug not in client.get(path).content.decode(), path
    session = UserSession.objects.filter(user=bob).order_by("pk").first()
    attempts = (
        ("/organizations/new", {"name": unique("as-bob"), "zone": "UTC"}),
        (f"/account/sessions/{session.pk}/end", {}),
        ("/accounts/sessions/", {}),
        (f"/invitations/{invited.token}", {}),
    )
    for path, given in attempts:
        assert client.post(path, given).status_code == 403, path
    assert other.org.slug in own.get("/o/").content.decode()
    assert Membership.objects.filter(user=bob).count() == 2


# --- what is no answer of a provider -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["oidc", "saml"])
@pytest.mark.parametrize(
    "path", ["a%00b/login/", "a%00b/login/callback/", "a%00b/acs/", "a%00b/sls/", "%0a/sls/", "no-such/login/callback/",
             "no-such/acs/finish/", "no-such/metadata/", "x/y/z"]
)  # fmt: skip
def test_what_names_no_organization_is_not_there(kind, path):
    for answer in (Client().get(f"/accounts/{kind}/{path}"), Client().post(f"/accounts/{kind}/{path}")):
        assert answer.status_code in (404, 405), path


def test_no_link_signs_anybody_out(shop, saml_company):  # noqa: F811
    charlie = client_of(shop.charlie)
    request = (
        '<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="x" Version="2.0"'
        f' IssueInstant="2026-11-28T03:00:00Z"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">'
        f"{SAML['entity_id']}</saml:Issuer></samlp:LogoutRequest>"
    )
    packed = base64.b64encode(zlib.compress(request.encode())[2:-4]).decode()
    path = f"/accounts/saml/{shop.org.slug}/sls/"
    assert charlie.get(path, {"SAMLRequest": packed}, headers={"host": "testserver"}).status_code == 404
    assert charlie.get("/o/").status_code == 200
    assert "SingleLogoutService" not in Client().get(f"/accounts/saml/{shop.org.slug}/metadata/").content.decode()


@pytest.mark.parametrize(
    "said",
    ["", "x", "%%%", "é", *(base64.b64encode(text).decode() for text in (
        b"<x", b"\0\xff", b"<a/>", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"<samlp:Response xmlns:samlp='urn:oasis:names:tc:SAML:2.0:protocol'/>",
    ))],
)  # fmt: skip
def test_what_is_no_saml_is_refused(shop, saml_company, said):  # noqa: F811
    client = Client(headers={"host": "testserver"})
    for given in ({"SAMLResponse": said}, {"SAMLRequest": said}):
        posted = client.post(f"/accounts/saml/{shop.org.slug}/acs/", given)
        answer = client.get(posted["Location"])
        assert "This sign-in failed" in answer.content.decode()
        assert answer.status_code in (401, 502)


def test_who_asks_for_every_domain_is_slowed_down(shop, idp, company):  # noqa: F811
    client = Client(REMOTE_ADDR="203.0.113.7")
    answers = [client.post("/sso/", {"who": f"x@{unique('asked')}.example"}).status_code for _ in range(31)]
    assert answers == [400] * 30 + [429]
