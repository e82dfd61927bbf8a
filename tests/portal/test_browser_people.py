"""What people do with their accounts, in a real browser: signing up, second factors, invitations, keys, sessions."""

import json
import re
import urllib.request
from email.message import EmailMessage
from urllib.parse import urlsplit

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.hashers import make_password
from django.test import Client
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.organizations.models import Membership
from apps.organizations.permissions import Role
from tests.identity import provider
from tests.portal.conftest import make_shop
from tests.portal.looking import Open, expect_page, sign_in
from tests.site import Site
from tests.world import PASSWORD, World, make_world, unique

pytestmark = pytest.mark.xdist_group("browser")

NEW_PASSWORD = "plover-umbrella-cantaloupe"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def mails_to(site: Site, address: str) -> list[EmailMessage]:
    return [mail for mail in site.inbox if mail["To"] == address]


def link_in(site: Site, address: str) -> str:
    """The link of the newest mail to the address."""
    (link,) = re.findall(rf"{site.url}/\S+", mails_to(site, address)[-1].get_content())[:1]
    return str(link)


def sign_up(page: Page, email: str) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Create the account").click()


def code_of(page: Page) -> str:
    """What an authenticator app shows for the secret on the page."""
    page.get_by_text("Cannot scan it?").click()
    return totp(page.locator("#authenticator_secret").inner_text())


def totp(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def test_from_signing_up_to_the_first_event(look: Open, site: Site) -> None:
    email = f"{unique('ada')}@people.example"
    page = look("/")
    page.get_by_role("link", name="Create one").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("password1234")
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("alert")).to_contain_text("This password is quickly guessed")
    sign_up(page, email)
    expect_page(page, "Look in your mail")
    page.goto(link_in(site, email))
    page.get_by_role("button", name="Confirm").click()
    expect_page(page, "No organization yet")
    page.get_by_role("link", name="New organization").click()
    page.get_by_role("textbox", name="Name").fill(unique("Ada and Daughters"))
    page.get_by_role("button", name="Create it").click()
    expect_page(page, "Send the first event")
    expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
    page.get_by_role("link", name="Make a key").click()
    page.get_by_role("textbox", name="Name").fill("laptop")
    page.get_by_role("button", name="Make the key").click()
    expect_page(page, "Copy the key")
    # The snippet is run as it stands, as a person would paste it.
    exec(page.locator("#first-python").inner_text(), {"print": lambda *_: None})
    expect(page.get_by_role("heading", name="The first event is here")).to_be_visible()
    page.get_by_role("link", name="See what it cost").click()
    expect_page(page, "Overview")
    expect(page.locator(".figures").get_by_text("LLM calls measured")).to_be_visible()


def test_an_address_that_has_an_account_looks_the_same_and_gets_another_mail(
    look: Open,
    site: Site,
    world: World,
) -> None:
    known, unknown = world.bob.email, f"{unique('nobody')}@people.example"
    said = []
    for email in (known, unknown):
        page = look("/accounts/signup/")
        sign_up(page, email)
        expect_page(page, "Look in your mail")
        said.append(page.locator("main").inner_text().replace(email, "~"))
    assert said[0] == said[1]
    assert [mails_to(site, email)[-1]["Subject"] for email in (known, unknown)] == [
        "You already have an account",
        "Confirm your email address",
    ]


def test_who_is_invited_makes_an_account_and_joins(look: Open, site: Site) -> None:
    shop, email = make_shop(), f"{unique('carol')}@people.example"
    page = look(shop.url("members"), shop.alice)
    page.get_by_role("link", name="Invite a person").click()
    page.get_by_label("Email address").fill(email)
    page.get_by_role("radio", name="Engineer").check()
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_role("status")).to_have_text(f"An invitation is on its way to {email}.")
    link = link_in(site, email)
    # Another person's account cannot use it.
    other = look(link, shop.charlie)
    expect(other.get_by_role("alert")).to_contain_text(f"The invitation is for {email}")
    expect(other.get_by_role("button", name="Join")).to_have_count(0)
    guest = look(link)
    guest.get_by_role("link", name="Create an account to join").click()
    expect(guest.get_by_label("Email")).to_have_value(email)
    sign_up(guest, email)
    guest.get_by_role("button", name=f"Join {shop.org.name}").click()
    expect_page(guest, "Overview")
    assert Membership.objects.get(organization=shop.org, user__email=email).role == Role.ENGINEER
    again = guest.request.get(link)
    assert (again.status, "This invitation was accepted already" in again.text()) == (400, True)
    page.reload()
    expect(page.get_by_role("row", name=email)).to_contain_text("Engineer")


def test_failed_sign_ins_are_counted_together_for_every_process(look: Open, site: Site) -> None:
    """Three at the site, three here: the next one is refused in both, with the right password too."""
    world, here = make_world(), Client(REMOTE_ADDR="203.0.113.9", headers={"host": urlsplit(site.url).netloc})
    page = look("/accounts/login/")
    for number in range(3):
        sign_in(page, world.alice.email, f"wrong-at-the-site-{number}")
        expect(page.get_by_role("alert")).to_contain_text("not correct")
        here.post("/accounts/login/", {"login": world.alice.email, "password": f"wrong-here-{number}"})
    sign_in(page, world.alice.email, PASSWORD)
    expect(page.get_by_role("alert")).to_contain_text("Too many failed login attempts")
    refused = here.post("/accounts/login/", {"login": world.alice.email, "password": PASSWORD})
    assert "Too many failed login attempts" in refused.content.decode()
    # Others are not shut out by it.
    sign_in(page, world.charlie.email, PASSWORD)
    expect_page(page, "Overview")


def test_a_second_factor_is_set_up_asked_for_and_recovered_from(look: Open, world: World) -> None:
    email = world.alice.email
    page = look("/accounts/login/")
    sign_in(page, email, PASSWORD)
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Set up an app").click()
    page.get_by_text("Cannot scan it?").click()
    secret = page.locator("#authenticator_secret").inner_text()
    page.get_by_label("Authenticator code").fill(totp(secret))
    page.get_by_role("button", name="Turn it on").click()
    expect_page(page, "Recovery codes")
    codes = page.locator("#recovery_codes").inner_text().split()
    assert len(codes) == 10
    page.reload()
    expect(page.locator("#recovery_codes")).to_have_count(0)
    stored = world.alice.authenticator_set.values_list("data", flat=True)
    assert secret not in repr(list(stored)), "the secret stands in clear in the database"
    page.get_by_role("link", name="Second factor").click()
    page.get_by_role("button", name="Cancel").or_(page.get_by_role("link", name="Make new ones")).first.wait_for()

    def signs_in(code: str) -> Page:
        fresh = look("/accounts/login/")
        sign_in(fresh, email, PASSWORD)
        expect_page(fresh, "Second factor")
        fresh.get_by_label("Code").fill(code)
        fresh.get_by_role("button", name="Sign in", exact=True).click()
        return fresh

    expect(signs_in("000000").get_by_role("alert")).to_contain_text("Incorrect code")
    expect_page(signs_in(codes[0]), "Overview")
    expect(signs_in(codes[0]).get_by_role("alert")).to_contain_text("Incorrect code")


def test_a_passkey_signs_in_without_the_password(look: Open, world: World) -> None:
    page = look("/accounts/login/")
    browser_side = page.context.new_cdp_session(page)
    browser_side.send("WebAuthn.enable")
    browser_side.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                     "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True}},
    )  # fmt: skip
    # A passkey belongs to a name: an address of numbers has none.
    page.goto(page.url.replace("127.0.0.1", "localhost"))
    sign_in(page, world.bob.email, PASSWORD)
    expect_page(page, "Overview")
    page.goto(page.url.split("/o/")[0] + "/accounts/2fa/webauthn/add/")
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add it").click()
    expect_page(page, "Recovery codes")
    page.goto(page.url.split("/accounts/")[0] + "/o/")
    page.get_by_role("button", name="Sign out").click()
    expect_page(page, "Sign in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect_page(page, "Overview")


def test_a_key_is_made_used_rotated_and_revoked(look: Open, site: Site) -> None:
    shop = make_shop()
    page = look(shop.url("keys"), shop.alice)
    page.get_by_role("link", name="New key").click()
    page.get_by_role("textbox", name="Name").fill("billing export")
    page.get_by_role("checkbox", name="read").check()
    page.get_by_role("checkbox", name="ingest").uncheck()
    page.get_by_role("button", name="Make the key").click()
    first = page.locator("#key").inner_text()
    assert status(site, first) == 200
    page.get_by_role("link", name="It is copied").click()
    row = page.get_by_role("row", name="billing export")
    expect(row).to_contain_text("just now")
    row.get_by_role("link", name="Rotate billing export").click()
    page.get_by_label("The old key stops working").select_option("in an hour")
    page.get_by_role("button", name="Make the new key").click()
    second = page.locator("#key").inner_text()
    assert (status(site, first), status(site, second)) == (200, 200)
    page.get_by_role("link", name="It is copied").click()
    newest = page.get_by_role("row", name="billing export").first
    newest.get_by_text("Revoke…").click()
    newest.get_by_role("button", name="Refuse it from now on").click()
    expect(page.get_by_role("status")).to_contain_text("is refused from its next request on")
    assert (status(site, first), status(site, second)) == (200, 401)


def status(site: Site, secret: str) -> int:
    request = urllib.request.Request(f"{site.url}/api/v1/spend", headers={"Authorization": f"Bearer {secret}"})
    try:
        with urllib.request.urlopen(request) as answer:
            json.load(answer)
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return int(refused.code)


def test_a_session_is_ended_from_another_one(look: Open) -> None:
    world = make_world()
    here, there = look("/accounts/login/"), look("/accounts/login/")
    for page in (here, there):
        sign_in(page, world.charlie.email, PASSWORD)
        expect_page(page, "Overview")
    here.goto("/accounts/sessions/")
    expect(here.get_by_text("this one")).to_have_count(1)
    here.get_by_role("button", name="End the session").first.click()
    expect(here.get_by_role("status")).to_contain_text("is ended")
    there.reload()
    expect_page(there, "Sign in")
    here.reload()
    expect_page(here, "Sessions")


def test_a_person_signs_in_by_the_identity_provider_of_the_company(look: Open, site: Site) -> None:
    shop, name = make_shop(), f"{unique('acme')}.example"
    page = look(shop.url("single-sign-on"), shop.alice)
    page.get_by_role("textbox", name="Domain").fill(name)
    page.get_by_role("button", name="Add it").click()
    site.zone.texts[f"_finops-domain.{name}"] = page.locator("td code").nth(1).inner_text()
    page.get_by_role("button", name=f"Look for the record of {name}").click()
    expect(page.get_by_role("status")).to_have_text(f"{name} is proved.")
    with provider() as idp:
        page.get_by_label("Issuer URL").fill(idp.url)
        page.get_by_label("Client id").fill(idp.client_id)
        page.get_by_label("Client secret").fill(idp.secret)
        page.get_by_label("Who signs in first becomes").first.select_option("engineer")
        page.get_by_role("button", name="Connect").first.click()
        expect(page.get_by_role("status")).to_contain_text("The identity provider is connected")
        idp.is_me(sub="1", email=f"carol@{name}", name="Carol")
        guest = look("/accounts/login/")
        guest.get_by_role("link", name="Sign in with your company").click()
        guest.get_by_label("Your work address").fill(f"carol@{name}")
        guest.get_by_role("button", name="Continue").click()
        expect_page(guest, "Overview")
    assert Membership.objects.get(organization=shop.org, user__email=f"carol@{name}").role == Role.ENGINEER


def test_a_sensitive_act_asks_again_who_signed_in_long_ago(look: Open, world: World) -> None:
    # Hashed as the site does, which would hash it anew otherwise, and end the session by that.
    hashed = make_password(PASSWORD, hasher="pbkdf2_sha256")
    User.objects.filter(pk=world.charlie.pk).update(date_joined="2020-01-01T00:00:00Z", password=hashed)
    page = look(f"/o/{world.globex.org.slug}/keys/new", User.objects.get(pk=world.charlie.pk))
    page.get_by_role("textbox", name="Name").fill("laptop")
    page.get_by_role("button", name="Make the key").click()
    expect_page(page, "Confirm that it is you")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    # The form that was sent before is not asked for again.
    expect_page(page, "Copy the key")
    expect(page.locator("#key")).to_contain_text("aif_live_")
    page.goto(f"/o/{world.globex.org.slug}/keys/new")
    page.get_by_role("textbox", name="Name").fill("another")
    page.get_by_role("button", name="Make the key").click()
    expect_page(page, "Copy the key")
