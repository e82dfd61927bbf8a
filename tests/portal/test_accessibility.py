"""What axe-core finds by the rules of WCAG 2.2 AA: nothing, on any page, in light and in dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.portal.conftest import Shop
from tests.portal.looking import NARROW, Open
from tests.portal.sights import DOORS, make_homes, sights

pytestmark = pytest.mark.xdist_group("browser")

AXE = Axe().axe_script
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES = {"runOnly": WCAG, "resultTypes": ["violations"]}
# Of what the rules look at, a theme changes the colours alone.
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"], "resultTypes": ["violations"]}


def barriers(page: Page, paths: dict[str, str], *, dark: bool = False) -> list[str]:
    """What axe finds on each of the pages, and with `dark` what it finds once they have turned dark."""
    found = []
    for name, path in paths.items():
        page.emulate_media(color_scheme="light")
        page.goto(path)
        page.evaluate(AXE)
        found += [f"{name}: {one}" for one in _broken(page, RULES)]
        if dark:
            page.emulate_media(color_scheme="dark")
            found += [f"{name}, dark: {one}" for one in _broken(page, COLOURS)]
    return found


def _broken(page: Page, rules: dict[str, object]) -> list[str]:
    broken = page.evaluate("rules => axe.run(rules)", rules)["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in broken for node in one["nodes"][:3]]


def test_no_page_keeps_anybody_out(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice)
    assert barriers(page, sights(shop), dark=True) == []


def test_no_page_keeps_anybody_out_on_a_narrow_screen(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice, viewport=NARROW, has_touch=True, is_mobile=True)
    assert barriers(page, sights(shop)) == []


def test_no_home_keeps_anybody_out(look: Open) -> None:
    shop, people = make_homes()
    ranges = {"the month": shop.url(), "30 days": shop.url("?range=30d")}
    for name, person in people.items():
        for scheme in ("light", "dark"):
            assert barriers(look(shop.url(), person, color_scheme=scheme), ranges) == [], name


def test_no_door_keeps_anybody_out(look: Open) -> None:
    assert barriers(look("/accounts/login/"), DOORS, dark=True) == []
