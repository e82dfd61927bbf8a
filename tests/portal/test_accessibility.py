"""What axe-core finds by the rules of WCAG 2.2 AA: nothing, on any page, in light and in dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.portal.conftest import Shop
from tests.portal.looking import NARROW, Open
from tests.portal.sights import DOORS, sights

pytestmark = pytest.mark.xdist_group("browser")

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def barriers(page: Page, paths: dict[str, str]) -> list[str]:
    """What axe finds on each of the pages."""
    found = []
    for name, path in paths.items():
        page.goto(path)
        broken = Axe().run(page, options=RULES).response["violations"]
        found += [f"{name}: {one['id']}: {node['html'][:160]}" for one in broken for node in one["nodes"][:3]]
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(look: Open, shop: Shop, scheme: str) -> None:
    page = look(shop.url(), shop.alice, color_scheme=scheme)
    assert barriers(page, sights(shop)) == []


def test_no_page_keeps_anybody_out_on_a_narrow_screen(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice, viewport=NARROW, has_touch=True, is_mobile=True)
    assert barriers(page, sights(shop)) == []


def test_no_door_keeps_anybody_out(look: Open) -> None:
    assert barriers(look("/accounts/login/"), DOORS) == []
