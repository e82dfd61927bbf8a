"""Staff's day, in a real browser: signing in with both factors, the back office, looking as a member."""

import pytest
from playwright.sync_api import expect

from apps.organizations.models import Organization
from tests.portal.conftest import make_shop
from tests.portal.looking import NARROW, Open, expect_page, sign_in
from tests.portal.staff import REASON, TOTP_SECRET, make_operator, staff_client
from tests.portal.test_browser import CONTRAST
from tests.portal.test_browser_people import totp
from tests.portal.test_staff import LISTS, organization_url, person_url
from tests.world import PASSWORD

pytestmark = pytest.mark.xdist_group("browser")


def test_from_signing_in_to_looking_as_a_member_and_back(look: Open) -> None:
    shop, operator = make_shop(), make_operator()
    operator.set_password(PASSWORD)
    operator.save(update_fields=["password"])
    page = look("/staff/")
    sign_in(page, operator.email, PASSWORD)
    expect_page(page, "Second factor")
    page.get_by_label("Code").fill(totp(TOTP_SECRET))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect_page(page, "Organizations")
    page.locator("#searchbar").fill(shop.org.slug)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("row", name=shop.org.slug).get_by_role("checkbox").check()
    expect(page.get_by_text("1 of 1 selected")).to_be_visible()
    page.get_by_role("link", name=shop.org.slug).click()
    expect_page(page, shop.org.name)
    page.get_by_role("row", name=shop.bob.email).get_by_role("link", name="Look as").click()
    expect(page.get_by_label("Member's address")).to_have_value(shop.bob.email)
    page.locator("#look-reason").fill(REASON)
    page.get_by_role("button", name="Look as them").click()
    expect_page(page, "Overview")
    banner = page.get_by_role("status").filter(has_text="looks as")
    expect(banner).to_contain_text(f"{operator.email} looks as {shop.bob.email}")
    page.locator("summary", has_text="Settings").click()
    page.get_by_role("link", name="Members").click()
    expect_page(page, "Members")
    banner.get_by_role("button", name="End it").click()
    expect(page.get_by_role("status")).to_have_text(f"You no longer look as {shop.bob.email}.")
    page.locator("#state-reason").fill(REASON)
    page.get_by_role("button", name="Suspend it").click()
    expect(page.get_by_role("status")).to_have_text(f"{shop.org.slug} is suspended.")
    assert Organization.objects.get(pk=shop.org.pk).state == "suspended"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_staff_fits_a_phone_and_can_be_read(look: Open, scheme: str) -> None:
    shop, operator = make_shop(), make_operator()
    client = staff_client(operator)
    page = look("/accounts/login/", viewport=NARROW, color_scheme=scheme)
    session = {"name": "session", "value": client.cookies["session"].value, "url": page.url.split("/accounts/")[0]}
    page.context.add_cookies([session])

    def check(*urls: str) -> None:
        for url in urls:
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), url
            assert page.evaluate(CONTRAST) == [], url

    check(*LISTS, organization_url(shop.org), person_url(shop.bob))
    begun = client.post(organization_url(shop.org, "look"), {"email": shop.bob.email, "reason": REASON, "minutes": 15})
    assert begun["Location"] == shop.url()
    check(shop.url(), "/accounts/email/", *LISTS)
