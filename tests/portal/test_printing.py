"""Pages on paper: A4, light, as wide as it is, and nothing on it that only a screen can use."""

import pytest
from playwright.sync_api import Locator, expect

from tests.portal.conftest import Shop, client_of
from tests.portal.looking import WIDE, Open
from tests.portal.sights import SIGHTS
from tests.portal.test_pages import statement_urls

pytestmark = pytest.mark.xdist_group("browser")

# A4 between its margins, in pixels of 1/96 inch.
PAPER = {"width": 673, "height": 994}
STRAY = """() => [...document.querySelectorAll(
    ".rail, .crumbs, .skip, .icon-button, a.button, button, input, select, textarea, .sheet, dialog, "
    + ".segments a:not([aria-current])",
  )].filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 120))"""
BEYOND = """(width) => [...document.querySelectorAll("body *")].filter((one) => {
    const box = one.getBoundingClientRect();
    return one.checkVisibility() && box.width && box.height && (box.right > width + 1 || box.left < -1)
      && getComputedStyle(one).clipPath === "none";
  }).map((one) => `${one.outerHTML.slice(0, 80)} to ${Math.round(one.getBoundingClientRect().right)}`)"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
INK = "getComputedStyle(document.querySelector('main')).color"


def test_pages_are_printed_without_what_a_screen_is_for(look: Open, shop: Shop) -> None:
    statement = statement_urls(shop, client_of(shop.alice))[-1]
    page = look(shop.url(), shop.alice, color_scheme="dark")
    for path in (*map(shop.url, SIGHTS.values()), statement):
        page.emulate_media(media="screen")
        page.set_viewport_size(WIDE)
        page.goto(path)
        page.emulate_media(media="print")
        page.set_viewport_size(PAPER)
        assert page.evaluate(STRAY) == [], path
        assert page.evaluate(BEYOND, PAPER["width"]) == [], path
        assert (page.evaluate(BACKGROUND), page.evaluate(INK)) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)"), path
        expect(page.get_by_role("heading").first).to_be_visible()


@pytest.mark.parametrize("sight", ["overview", "explorer", "run"])
def test_charts_are_drawn_for_the_paper_and_then_for_the_screen_again(look: Open, shop: Shop, sight: str) -> None:
    page = look(shop.url(SIGHTS[sight]), shop.alice, color_scheme="dark")
    chart = page.locator("[data-chart] svg").first
    expect(chart).to_be_visible()
    before = width_of(chart)
    page.evaluate(
        """matchMedia("print").addEventListener("change", (print) => {
          if (print.matches) window.printed = document.querySelector("[data-chart] svg").getAttribute("width");
        })"""
    )
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    assert 200 < float(page.evaluate("printed")) < PAPER["width"]
    assert width_of(chart) == before
    assert before > float(page.evaluate("printed"))


def width_of(chart: Locator) -> float:
    return float(chart.get_attribute("width") or 0)
