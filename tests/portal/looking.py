"""What tests of the portal in a real browser share."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}

Open = Callable[..., Page]


def sign_in(page: Page, email: str, password: str) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def expect_page(page: Page, title: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
