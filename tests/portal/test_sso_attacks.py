"""Single sign-on under attack: by another organization's provider, by who knows an address, by a link."""

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from apps.accounts.models import User
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from tests.alerts.fixtures import allowed  # noqa: F401  (a fixture)
from tests.portal.conftest import client_of, make_shop
from tests.portal.test_single_sign_on import (  # noqa: F401  (fixtures among them)
    come_back,
    company,
    connect,
    idp,
    onward,
    prove,
    saml_company,
    shop,
    sign_in,
)
from tests.world import unique


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
