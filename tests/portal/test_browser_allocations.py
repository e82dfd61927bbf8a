"""A pool of shared cost is made in a real browser, on a telephone and without scripts."""

import pytest
from playwright.sync_api import expect

from tests.portal.conftest import Shop
from tests.portal.looking import Open

pytestmark = pytest.mark.xdist_group("browser")


def test_a_pool_is_looked_at_and_made_without_scripts(look: Open, shop: Shop) -> None:
    page = look(
        shop.url("allocations/new"), shop.alice, viewport={"width": 360, "height": 800}, java_script_enabled=False
    )
    amount, team, driver, percent = (page.locator(f"#{name}") for name in ("f-amount", "f-team", "f-driver", "p-1"))
    # The fields of what is chosen are in sight, and no others.
    expect(amount).to_be_visible()
    expect(driver).to_be_visible()
    expect(team).to_be_hidden()
    page.get_by_label("A team's statement").check()
    page.get_by_label("By fixed percentages").check()
    expect(team).to_be_visible()
    expect(percent).to_be_visible()
    expect(amount).to_be_hidden()
    expect(driver).to_be_hidden()
    page.locator("#f-name").fill("Growth's own")
    team.select_option("growth")
    page.locator("#t-1").fill("search")
    percent.fill("100")
    page.get_by_role("button", name="See what it changes").click()
    expect(page.get_by_role("heading", name="What each statement comes to")).to_be_visible()
    widths = page.locator("html").bounding_box()
    assert widths
    assert widths["width"] <= 360
    page.get_by_role("button", name="Make the pool").click()
    expect(page.get_by_role("heading", name="Growth's own")).to_be_visible()
    expect(page.get_by_text("taken from the statement of growth")).to_be_visible()
