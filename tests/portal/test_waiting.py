"""What a page shows while an answer is awaited and when none comes, in a real browser whose requests are held up."""

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.portal.conftest import Shop, make_shop
from tests.portal.looking import Open, expect_page, sign_in
from tests.world import PASSWORD, make_event, make_world

pytestmark = pytest.mark.xdist_group("browser")

# How wide the line on top is at some milliseconds, as a share of the screen.
LINE = """at => {
    const [line] = document.getAnimations().filter(one => one.effect.pseudoElement === "::before");
    line.pause();
    line.currentTime = at;
    return new DOMMatrix(getComputedStyle(document.querySelector("main"), "::before").transform).a;
}"""


def hold(page: Page, url: str) -> list[Route]:
    """The requests to the address, from now on: they wait for the test to let them go."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route))
    return held


def is_busy(page: Page) -> None:
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")


def is_idle(page: Page) -> None:
    expect(page.locator("main:not([aria-busy])")).to_be_attached()


def days(page: Page, number: int) -> Locator:
    return page.get_by_role("navigation", name="Range").get_by_role("link", name=f"{number} d", exact=True)


# --- an answer that takes its time ---


def test_what_takes_long_is_seen_to_be_under_way(look: Open, shop: Shop) -> None:
    page = look(shop.url("events?range=7d"), shop.alice)
    held = hold(page, "**/events?range=30d*")
    days(page, 30).click()
    is_busy(page)
    # What is answered within 300 ms never shows it.
    assert page.evaluate(LINE, 299) == 0
    assert 0 < page.evaluate(LINE, 1_000) < page.evaluate(LINE, 12_000) < 1
    held[0].continue_()
    expect(page).to_have_url(re.compile("range=30d"))
    is_idle(page)


def test_the_line_does_not_move_for_whom_motion_disturbs(look: Open, shop: Shop) -> None:
    page = look(shop.url("events?range=7d"), shop.alice, reduced_motion="reduce")
    held = hold(page, "**/events?range=30d*")
    days(page, 30).click()
    is_busy(page)
    assert page.evaluate(LINE, 299) == 0
    assert page.evaluate(LINE, 302) == page.evaluate(LINE, 12_000) > 0
    held[0].continue_()
    is_idle(page)


def test_a_form_is_seen_to_be_sent(look: Open) -> None:
    page = look("/accounts/login/")
    page.get_by_label("Email").fill("nobody@acme.example")
    page.get_by_label("Password").fill("not-the-password")
    assert page.locator("form").first.evaluate(
        "form => { form.requestSubmit(); return form.closest('main').ariaBusy; }"
    )
    expect(page.get_by_role("alert")).to_be_visible()
    is_idle(page)


def test_of_two_things_asked_the_page_shows_the_second(look: Open, shop: Shop) -> None:
    page = look(shop.url("events?range=24h"), shop.alice)
    held = hold(page, "**/events?range=30d*")
    days(page, 30).click()
    is_busy(page)
    days(page, 7).click()
    expect(days(page, 7)).to_have_attribute("aria-current", "true")
    is_busy(page)
    held[0].continue_()
    is_idle(page)
    expect(page).to_have_url(re.compile("range=7d"))
    expect(days(page, 7)).to_have_attribute("aria-current", "true")


def test_a_swap_keeps_scroll_and_focus(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=7d"), shop.alice, viewport={"width": 1440, "height": 400})
    page.evaluate("scrollTo(0, 120)")
    days(page, 30).evaluate("link => link.focus({ preventScroll: true })")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("range=30d"))
    expect(days(page, 30)).to_be_focused()
    assert page.evaluate("scrollY") == 120
    # A filter that is taken out takes its link with it.
    page.goto(shop.url("spend?range=7d&team=search"))
    page.get_by_role("link", name="Remove the filter Team: search").focus()
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile("team=search"))
    expect(page.locator("main")).to_be_focused()


# --- no answer ---


def test_without_an_answer_a_page_says_so_and_asks_again(look: Open, shop: Shop) -> None:
    page = look(shop.url("events?range=7d"), shop.alice, troubled=True)
    page.route("**/events?range=30d*", lambda route: route.abort())
    days(page, 30).click()
    trouble = page.get_by_role("alert")
    expect(trouble).to_contain_text("No answer came: the network may be gone, or the service is busy.")
    is_idle(page)
    expect(page).to_have_url(re.compile("range=7d"))
    trouble.get_by_role("button", name="Try again").click()
    expect(trouble).to_be_visible()
    page.unroute("**/events?range=30d*")
    trouble.get_by_role("button", name="Try again").click()
    expect(page).to_have_url(re.compile("range=30d"))
    expect(trouble).to_have_count(0)
    expect(days(page, 30)).to_have_attribute("aria-current", "true")


@pytest.mark.parametrize(("status", "words"), [
    (500, "Something broke on our side. Nothing was changed. The number to quote is 0123abc."),
    (429, "This was asked too often in a short time."),
])  # fmt: skip
def test_an_answer_that_is_none_is_told_apart(look: Open, shop: Shop, status: int, words: str) -> None:
    page = look(shop.url("spend?range=7d"), shop.alice, troubled=True)
    page.route("**/spend?*", lambda route: route.fulfill(status=status, headers={"X-Request-Id": "0123abc"}, body="x"))
    page.get_by_label("Group by").select_option("model")
    expect(page.get_by_role("alert")).to_contain_text(words)
    page.unroute("**/spend?*")
    page.get_by_role("button", name="Try again").click()
    expect(page).to_have_url(re.compile("group_by=model"))


def test_what_is_gone_or_refused_is_opened_whole(look: Open, shop: Shop) -> None:
    page = look(shop.url("events?range=7d"), shop.alice, troubled=True)
    gone = "<main><h1>There is nothing here</h1></main>"
    page.route("**/events?range=30d*", lambda route: route.fulfill(status=404, content_type="text/html", body=gone))
    days(page, 30).click()
    expect_page(page, "There is nothing here")
    expect(page).to_have_url(re.compile("range=30d"))


def test_who_was_signed_out_signs_in_and_is_where_they_were_going(look: Open) -> None:
    world = make_world()
    world.acme.api.send(make_event())
    page = look(f"/o/{world.acme.org.slug}/events?range=7d")
    sign_in(page, world.alice.email, PASSWORD)
    expect_page(page, "Events")
    page.context.clear_cookies()
    days(page, 30).click()
    expect_page(page, "Sign in")
    sign_in(page, world.alice.email, PASSWORD)
    expect_page(page, "Events")
    expect(page).to_have_url(re.compile(rf"/o/{world.acme.org.slug}/events\?range=30d$"))


def test_a_page_that_looks_by_itself_tells_of_trouble_until_it_is_over(look: Open) -> None:
    shop = make_shop()
    page = look(shop.url("first-event"), shop.alice, troubled=True)
    with page.expect_request("**/first-event/seen"):
        held = hold(page, "**/first-event/seen")
    is_idle(page)
    held[0].abort()
    expect(page.get_by_role("alert")).to_contain_text("No answer came")
    page.unroute("**/first-event/seen")
    expect(page.get_by_role("alert")).to_have_count(0)
