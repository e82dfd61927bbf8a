"""Single sign-on of an organization: proving domains, coming in by an identity provider, and what that opens."""

import base64
import html
import re
import secrets
import urllib.request
import zlib
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount, SocialApp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from django.utils import timezone
from onelogin.saml2.utils import OneLogin_Saml2_Utils

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.audit.models import AuditEntry
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations import sso
from apps.organizations.members import invite
from apps.organizations.models import Domain, DomainOwner, Membership, SsoConnection
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, change_settings
from tests.alerts.fixtures import allowed  # noqa: F401  (a fixture)
from tests.identity import KEY, SAML, certificate, name_server, provider
from tests.portal.conftest import client_of, make_person, make_shop
from tests.portal.reading import Page, get
from tests.world import PASSWORD, unique


@pytest.fixture
def idp(allowed, mail):  # noqa: F811
    with provider() as found:
        yield found


@pytest.fixture
def zone(settings):
    with name_server() as found:
        settings.DNS_SERVERS = [found.address]
        yield found


@pytest.fixture
def shop():
    return make_shop()


def prove(shop, name):
    domain = sso.add_domain(org=shop.org, name=name, actor="alice")
    return sso.verify_domain(
        org=shop.org, domain_id=domain.pk, actor="alice", look_up=lambda _: [f"finops-domain={domain.token}"]
    )


def connect(shop, idp, role=Role.VIEWER, **options):
    given = {"server_url": idp.url, "client_id": idp.client_id, "client_secret": idp.secret, **options}
    return sso.connect_oidc(org=shop.org, default_role=role, actor="alice", **given)


@pytest.fixture
def company(shop, idp):
    """Acme with a proved domain and a provider."""
    shop_domain = f"{unique('acme')}.example"
    prove(shop, shop_domain)
    connect(shop, idp)
    return shop_domain


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def sign_in(shop, idp, client=None, **claims):
    """By the provider, as a browser does; the client, and the last answer."""
    client = client or Client()
    if claims:
        idp.is_me(**claims)
    going = client.post(f"/sso/{shop.org.slug}/")
    if going.status_code != 200:
        return client, going
    return client, come_back(client, onward(going))


def onward(going):
    """Where the page leads that a sign-in begins with."""
    (link,) = re.findall(r'url=([^"]+)"', going.content.decode())
    return html.unescape(link)


def come_back(client, link):
    """The answer to what the provider sends the browser back with."""
    opener = urllib.request.build_opener(NoRedirect)
    try:
        opener.open(link)
        raise AssertionError("the provider sends the browser back")
    except urllib.error.HTTPError as redirect:
        back = urlsplit(redirect.headers["Location"])
    return client.get(f"{back.path}?{back.query}")


def provider_id(shop):
    return SsoConnection.objects.get(organization=shop.org).provider_id


def role_of(shop, email):
    found = Membership.objects.filter(organization=shop.org, user__email=email).first()
    return found.role if found else None


# --- domains -----------------------------------------------------------------------------------------


def test_a_domain_is_proved_by_its_record(shop, zone):
    alice = client_of(shop.alice)
    name = f"{unique('acme')}.example"
    alice.post(shop.url("single-sign-on/domains"), {"domain": f" {name.upper()}. "})
    page = get(alice, shop.url("single-sign-on"))
    (record,) = re.findall(r"finops-domain=[0-9a-f]{32}", page.text)
    with tenant(shop.org):
        domain = Domain.objects.for_org(shop.org).get()
    verify = shop.url(f"single-sign-on/domains/{domain.pk}/verify")
    refused = alice.post(verify)
    assert (refused.status_code, f"No TXT record of _finops-domain.{name}" in refused.content.decode()) == (400, True)
    zone.texts[f"_finops-domain.{name}"] = record.replace("=", "=x")
    assert alice.post(verify).status_code == 400
    zone.texts[f"_finops-domain.{name}"] = record
    assert alice.post(verify).status_code == 302
    assert "proved just now" in get(alice, shop.url("single-sign-on")).text
    assert DomainOwner.objects.get(domain=name).organization_id == shop.org.pk


@pytest.mark.parametrize(
    "name", ["", "acme", "acme..com", "-acme.com", "acme.com/x", "a" * 64 + ".com", "xn--.1", "a\0b.com"]
)
def test_what_is_no_domain_is_refused(shop, name):
    refused = client_of(shop.alice).post(shop.url("single-sign-on/domains"), {"domain": name})
    assert (refused.status_code, "is no domain" in refused.content.decode()) == (400, True)


def test_a_domain_belongs_to_one_organization_until_it_lets_it_go(shop):
    other, name = make_shop(), f"{unique('acme')}.example"
    first = prove(shop, name)
    with pytest.raises(DomainError) as refused:
        prove(other, name)
    assert refused.value.code == "domain_taken"
    sso.remove_domain(org=shop.org, domain_id=first.pk, actor="alice")
    with tenant(other.org):
        waiting = Domain.objects.for_org(other.org).get()
    sso.verify_domain(
        org=other.org, domain_id=waiting.pk, actor="x", look_up=lambda _: [f"finops-domain={waiting.token}"]
    )
    assert DomainOwner.objects.get(domain=name).organization_id == other.org.pk


# --- coming in ---------------------------------------------------------------------------------------


def test_a_first_sign_in_makes_the_person_and_the_membership(shop, idp, company):
    email = f"carol@{company}"
    client, answer = sign_in(shop, idp, sub="1", email=email, name="Carol")
    assert (answer.status_code, answer["Location"]) == (302, shop.url())
    assert client.get(shop.url()).status_code == 200
    assert role_of(shop, email) == Role.VIEWER
    carol = User.objects.get(email=email)
    assert not carol.has_usable_password()
    with tenant(shop.org):
        joined = AuditEntry.objects.for_org(shop.org).get(action="members.joined")
    assert joined.data == {"role": "viewer", "by": "oidc"}
    again, _ = sign_in(shop, idp, sub="1", email=email)
    assert again.get(shop.url()).status_code == 200
    assert User.objects.filter(email=email).count() == 1


def test_an_open_invitation_gives_its_role(shop, idp, company):
    email = f"carol@{company}"
    invite(org=shop.org, email=email, role=Role.LEAD, teams=["search"], actor="alice", by_role=Role.OWNER)
    sign_in(shop, idp, sub="1", email=email.upper())
    assert role_of(shop, email) == Role.LEAD


@pytest.mark.parametrize(
    "email", ["mallory@elsewhere.example", "", "mallory@sub.{domain}", "mallory@{domain}.evil.example"]
)
def test_the_provider_speaks_for_proved_domains_alone(shop, idp, company, email):
    client, answer = sign_in(shop, idp, sub="9", email=email.format(domain=company))
    assert (answer.status_code, "of no domain that" in answer.content.decode()) == (403, True)
    assert client.get("/o/").status_code == 302
    assert not SocialAccount.objects.filter(provider=shop.org.slug).exists()


def test_an_address_that_the_provider_has_not_confirmed_is_refused(shop, idp, company):
    _, answer = sign_in(shop, idp, sub="9", email=f"carol@{company}", email_verified=False)
    assert (answer.status_code, "has not confirmed" in answer.content.decode()) == (403, True)


def test_another_tenants_provider_does_not_open_somebodys_account(shop, idp, company):
    """Globex brings a provider that says it is Alice of Acme."""
    victim = get_or_create_user(email=f"alice@{company}")
    add_member(org=shop.org, user=victim, role=Role.OWNER, actor=None)
    globex = make_shop()
    prove(globex, f"{unique('globex')}.example")
    connect(globex, idp)
    client, answer = sign_in(globex, idp, sub="1", email=victim.email)
    assert answer.status_code == 403
    assert client.get(shop.url()).status_code == 302
    assert not SocialAccount.objects.filter(user=victim).exists()


def test_an_account_of_the_address_is_linked_and_sees_this_organization_alone(shop, idp, company, mail):
    bob = get_or_create_user(email=f"bob@{company}", password=PASSWORD)
    other = make_shop()
    for org in (shop.org, other.org):
        add_member(org=org, user=bob, role=Role.FINANCE, actor=None)
    client, _ = sign_in(shop, idp, sub="2", email=bob.email)
    assert client.get(shop.url()).status_code == 200
    shut = client.get(other.url())
    assert (shut.status_code, "Sign in with your own account" in shut.content.decode()) == (403, True)
    assert [sent["Subject"] for sent in mail.inbox] == ["Single sign-on was linked to your account"]
    assert role_of(shop, bob.email) == Role.FINANCE
    # The account itself stays shut, too: a password is asked for before anything of it is changed.
    User.objects.filter(pk=bob.pk).update(date_joined="2020-01-01T00:00:00Z")
    for path in ("/accounts/email/", "/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/add/"):
        assert "reauthenticate" in client.post(path, {"email": "x@evil.example", "action_add": ""})["Location"], path
    own = Client()
    own.force_login(bob)
    assert (own.get(shop.url()).status_code, own.get(other.url()).status_code) == (200, 200)


def test_an_operators_pages_are_shut_to_a_session_of_a_provider(shop, idp, company):
    email = f"root@{company}"
    client, _ = sign_in(shop, idp, sub="3", email=email)
    User.objects.filter(email=email).update(is_operator=True)
    assert client.get("/operator/prices").status_code == 404


def test_who_is_switched_off_does_not_come_in(shop, idp, company):
    email = f"carol@{company}"
    sign_in(shop, idp, sub="1", email=email)
    User.objects.filter(email=email).update(is_active=False)
    client, _ = sign_in(shop, idp, sub="1", email=email)
    assert client.get(shop.url()).status_code == 302


def test_a_provider_that_breaks_says_so(shop, idp, company):
    idp.is_broken = True
    _, answer = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    assert "This sign-in failed" in answer.content.decode()


def test_a_made_up_answer_is_refused(shop, idp, company):
    client = Client()
    answer = client.get(f"/accounts/oidc/{shop.org.slug}/login/callback/?code=x&state=y")
    assert "This sign-in failed" in answer.content.decode()
    assert client.get("/o/").status_code == 302


def test_a_provider_in_a_private_network_is_not_reached(shop, idp, company, settings):
    settings.ALERTS_ALLOWED_NETWORKS = ()
    before = len(idp.asked)
    _, answer = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    assert "This sign-in failed" in answer.content.decode()
    assert len(idp.asked) == before


def test_an_address_leads_to_its_organizations_provider(shop, idp, company):
    for who in (f"anybody@{company.upper()}", shop.org.slug):
        page = Client().post("/sso/", {"who": who, "next": shop.url("spend")})
        assert onward(page).startswith(f"{idp.url}/authorize?")
    for who in ("anybody@elsewhere.example", "a\0b", "x" * 300):
        assert Client().post("/sso/", {"who": who}).status_code == 400
    outward = Client().post("/sso/", {"who": shop.org.slug, "next": "https://evil.example/"})
    assert "evil.example" not in outward.content.decode()


# --- enforced ----------------------------------------------------------------------------------------


def test_enforced_nobody_comes_in_otherwise_but_an_owner_with_a_second_factor(shop, idp, company):
    bob = client_of(shop.bob)
    sso.enforce(org=shop.org, is_enforced=True, actor="alice")
    shut = bob.get(shop.url("spend"))
    assert (shut.status_code, "has its own sign-in" in shut.content.decode()) == (403, True)
    assert f'action="/sso/{shop.org.slug}/"' in shut.content.decode()
    assert f'name="next" value="/o/{shop.org.slug}/spend"' in shut.content.decode()
    alice = client_of(shop.alice)
    assert alice.get(shop.url()).status_code == 403
    came_by(alice, shop.alice, "mfa")
    assert alice.get(shop.url()).status_code == 200
    came, _ = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    assert came.get(shop.url()).status_code == 200
    sso.enforce(org=shop.org, is_enforced=False, actor="alice")
    assert bob.get(shop.url("spend")).status_code == 200


def came_by(client, user, method, **more):
    """The session's record of how the person signed in."""
    session = client.session
    session["account_authentication_methods"] = [{"method": method, "at": timezone.now().timestamp(), **more}]
    session["account_authentication_methods_user"] = str(user.pk)
    session["asked_anew"] = {more["provider"]: timezone.now().timestamp()} if "provider" in more else {}
    session.save()


def test_an_owner_does_not_shut_the_door_behind_them(shop, idp, company):
    alice = client_of(shop.alice)
    refused = alice.post(shop.url("single-sign-on/enforce"), {"enforced": "yes"})
    assert (refused.status_code, "this session would be" in refused.content.decode()) == (400, True)
    for method, more in (("mfa", {}), ("socialaccount", {"provider": provider_id(shop)})):
        came_by(alice, shop.alice, method, **more)
        alice.post(shop.url("single-sign-on/enforce"), {"enforced": "yes"})
        assert alice.get(shop.url()).status_code == 200
        assert SsoConnection.objects.get(organization=shop.org).is_enforced
        alice.post(shop.url("single-sign-on/enforce"), {"enforced": "no"})


def test_it_cannot_be_enforced_before_anybody_could_come_in(shop, idp):
    alice = client_of(shop.alice)
    came_by(alice, shop.alice, "mfa")
    for _ in range(2):
        refused = alice.post(shop.url("single-sign-on/enforce"), {"enforced": "yes"})
        assert (refused.status_code, "nobody could come in" in refused.content.decode()) == (400, True)
        connect(shop, idp)


def test_the_provider_asks_for_second_factors_of_its_own(shop, idp, company):
    change_settings(org=shop.org, actor="alice", requires_second_factor=True)
    client, _ = sign_in(shop, idp, sub="1", email=f"carol@{company}")
    assert client.get(shop.url()).status_code == 200
    assert client_of(shop.bob).get(shop.url()).status_code == 403


def test_disconnected_nobody_comes_in_by_it(shop, idp, company):
    email, before = f"carol@{company}", provider_id(shop)
    client, _ = sign_in(shop, idp, sub="1", email=email)
    client_of(shop.alice).post(shop.url("single-sign-on/disconnect"))
    assert client.get(shop.url()).status_code == 403
    assert Client().get(f"/sso/{shop.org.slug}/").status_code == 404
    assert not SocialAccount.objects.filter(user__email=email).exists()
    assert not SocialApp.objects.filter(provider_id=before).exists()


def test_another_provider_knows_other_people(shop, idp, company):
    sign_in(shop, idp, sub="1", email=f"carol@{company}")
    before = provider_id(shop)
    with provider() as other:
        connect(shop, other)
        assert not SocialAccount.objects.filter(provider__in=(before, provider_id(shop))).exists()
        client, _ = sign_in(shop, other, sub="1", email=f"dora@{company}")
        assert f"dora@{company}" in client.get("/o/").content.decode() or role_of(shop, f"dora@{company}")


# --- the page ----------------------------------------------------------------------------------------


def test_the_secret_is_stored_encrypted_and_never_shown(shop, idp):
    alice = client_of(shop.alice)
    given = {"server_url": idp.url, "client_id": "finops", "client_secret": idp.secret, "default_role": "engineer"}
    alice.post(shop.url("single-sign-on/oidc"), given)
    app = SsoConnection.objects.get(organization=shop.org).app
    assert idp.secret not in app.secret
    page = alice.get(shop.url("single-sign-on")).content.decode()
    assert idp.secret not in page
    assert app.secret not in page
    alice.post(shop.url("single-sign-on/oidc"), {**given, "client_secret": "", "default_role": "viewer"})
    assert SocialApp.objects.get(pk=app.pk).secret == app.secret


def test_saml_is_connected_and_asks_for_signed_assertions(shop):
    alice = client_of(shop.alice)
    alice.post(shop.url("single-sign-on/saml"), {**SAML, "certificate": certificate()})
    app = SsoConnection.objects.get(organization=shop.org).app
    assert app.settings["advanced"]["want_assertion_signed"] is True
    metadata = Client().get(f"/accounts/saml/{shop.org.slug}/metadata/")
    assert metadata.status_code == 200
    assert 'WantAssertionsSigned="true"' in metadata.content.decode()
    begun = Client(headers={"host": "testserver"}).get(f"/sso/{shop.org.slug}/")
    assert onward(begun).startswith("https://idp.acme.example/sso?SAMLRequest=")


ASSERTION = """<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="a{answer}" Version="2.0" \
IssueInstant="{now}"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject><saml:NameID \
Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">{email}</saml:NameID><saml:SubjectConfirmation \
Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData InResponseTo="{asked}" Recipient="{acs}" \
NotOnOrAfter="{later}"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{now}" \
NotOnOrAfter="{later}"><saml:AudienceRestriction><saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction>\
</saml:Conditions><saml:AuthnStatement AuthnInstant="{now}" SessionIndex="s"><saml:AuthnContext>\
<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef>\
</saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute \
Name="urn:oid:0.9.2342.19200300.100.1.3"><saml:AttributeValue>{email}</saml:AttributeValue></saml:Attribute>\
</saml:AttributeStatement></saml:Assertion>"""
RESPONSE = """<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="r{answer}" Version="2.0" \
IssueInstant="{now}" Destination="{acs}" InResponseTo="{asked}"><saml:Issuer \
xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer><samlp:Status><samlp:StatusCode \
Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>{assertion}</samlp:Response>"""


def assertion_for(shop, client, email, key=KEY, **changes):
    """The provider's answer to a sign-in that the client began."""
    begun = client.get(f"/sso/{shop.org.slug}/")
    (packed,) = parse_qs(urlsplit(onward(begun)).query)["SAMLRequest"]
    (asked,) = re.findall(r'ID="([^"]+)"', zlib.decompress(base64.b64decode(packed), -15).decode())
    now, base = timezone.now(), f"http://testserver/accounts/saml/{shop.org.slug}"
    said = {
        "answer": secrets.token_hex(8), "asked": asked, "email": email, "issuer": SAML["entity_id"],
        "now": f"{now:%Y-%m-%dT%H:%M:%SZ}", "later": f"{now + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "acs": f"{base}/acs/", "audience": f"{base}/metadata/", **changes,
    }  # fmt: skip
    assertion = ASSERTION.format(**said)
    if key is not None:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        assertion = OneLogin_Saml2_Utils.add_sign(assertion, pem.decode(), certificate(key)).decode()
        assertion = re.sub(r"^<\?xml[^>]*\?>", "", assertion)
    return base64.b64encode(RESPONSE.format(**said, assertion=assertion).encode()).decode()


def saml_in(shop, email, **options):
    client = Client(headers={"host": "testserver"})
    answer = assertion_for(shop, client, email, **options)
    posted = client.post(f"/accounts/saml/{shop.org.slug}/acs/", {"SAMLResponse": answer, "RelayState": ""})
    return client, client.get(posted["Location"])


@pytest.fixture
def saml_company(shop):
    name = f"{unique('acme')}.example"
    prove(shop, name)
    sso.connect_saml(org=shop.org, certificate=certificate(), actor="alice", **{**SAML, "default_role": "engineer"})
    return name


def test_a_signed_assertion_makes_a_member(shop, saml_company):
    client, answer = saml_in(shop, f"carol@{saml_company}")
    assert answer.status_code == 302, answer.content
    assert client.get(shop.url()).status_code == 200
    assert role_of(shop, f"carol@{saml_company}") == Role.ENGINEER


@pytest.mark.parametrize("options", [
    {"key": None},
    {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)},
    {"audience": "https://somebody.else.example"},
    {"issuer": "https://mallory.example"},
    {"later": "2020-01-01T00:00:00Z"},
    {"asked": "ONELOGIN_never_asked"},
], ids=["unsigned", "another key", "another audience", "another issuer", "too late", "never asked"])  # fmt: skip
def test_any_other_assertion_is_refused(shop, saml_company, options):
    client, answer = saml_in(shop, f"carol@{saml_company}", **options)
    assert any(said in answer.content.decode() for said in ("This sign-in failed", "This was refused"))
    assert client.get("/o/").status_code == 302
    assert role_of(shop, f"carol@{saml_company}") is None


@pytest.mark.parametrize(("form", "given", "said"), [
    ("saml", {**SAML, "certificate": "nonsense"}, "This is no X.509 certificate"),
    ("saml", {**SAML, "certificate": "x", "sso_url": "javascript:alert(1)"}, "is no URL"),
    ("saml", {**SAML, "certificate": "x", "entity_id": ""}, "1 to 500 printable characters"),
    ("oidc", {"server_url": "id.acme.com", "client_id": "x", "client_secret": "y"}, "is no URL"),
    ("oidc", {"server_url": "https://id.acme.example", "client_id": "", "client_secret": "y"}, "1 to 191 printable"),
    ("oidc", {"server_url": "https://id.acme.example", "client_id": "x", "client_secret": ""}, "1 to 100 characters"),
    ("oidc", {"server_url": "https://id.acme.example", "client_id": "x", "client_secret": "y", "default_role": "owner"},
     "Choose one of"),
])  # fmt: skip
def test_what_is_wrong_with_a_provider_is_said(shop, form, given, said):
    response = client_of(shop.alice).post(shop.url(f"single-sign-on/{form}"), {"default_role": "viewer", **given})
    assert response.status_code == 400
    response.status_code = 200
    assert said in Page(response).text
    assert not SsoConnection.objects.filter(organization=shop.org).exists()


def test_only_an_owner_sets_it_up(shop):
    for role in (Role.ADMIN, Role.FINANCE, Role.VIEWER):
        person = make_person(role)
        add_member(org=shop.org, user=person, role=role, actor=None)
        client = client_of(person)
        assert client.get(shop.url("single-sign-on")).status_code == 403
        for act in ("domains", "oidc", "saml", "enforce", "disconnect", "domains/1/verify", "domains/1/remove"):
            assert client.post(shop.url(f"single-sign-on/{act}")).status_code == 403
