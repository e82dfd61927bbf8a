"""A month is closed in a real browser, and its statement is taken home as a PDF."""

import io
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pypdf import PdfReader

from tests.portal.conftest import Shop
from tests.portal.looking import Open
from tests.reports.months import MIDDLE, MONTH, NAME, work
from tests.world import make_event

pytestmark = pytest.mark.xdist_group("browser")


def test_a_month_is_closed_and_its_statement_is_taken_home(look: Open, shop: Shop, tmp_path: Path) -> None:
    shop.api.send(make_event(team="search", occurred_at=MIDDLE.isoformat()))
    page = look(shop.url(f"statements?month={NAME}"), shop.alice)
    page.get_by_role("button", name="Begin the review").click()
    expect(page.get_by_role("heading", name=f"{MONTH:%B %Y} is in review")).to_be_visible()
    page.get_by_role("button", name=f"Close {MONTH:%B %Y}").click()
    expect(page.get_by_role("heading", name=f"{MONTH:%B %Y} is closing")).to_be_visible()
    assert work(shop.org) == 1
    page.reload()
    expect(page.get_by_role("heading", name=f"{MONTH:%B %Y} is final")).to_be_visible()
    page.get_by_role("row", name="search").get_by_role("link").first.click()
    expect(page.get_by_text("CS-000001")).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    with page.expect_download() as download:
        page.get_by_role("link", name="Download PDF").click()
    download.value.save_as(tmp_path / "statement.pdf")
    text = PdfReader(io.BytesIO((tmp_path / "statement.pdf").read_bytes())).pages[0].extract_text()
    assert "CS-000001" in text
