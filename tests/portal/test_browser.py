"""The portal in a real browser, against a real process of the site."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from apps.budgets.services import BudgetTerms, create_budget
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_project, create_team
from apps.usage.postings import attribute_known_names
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.agent import RUN, TIGHT, agent_run
from tests.portal.conftest import Shop, fill, make_shop
from tests.portal.looking import NARROW, WIDE, Open, expect_page, sign_in
from tests.portal.sights import make_homes
from tests.site import Site
from tests.world import PASSWORD, World, make_event, make_world

# One process keeps the browser and the site.
pytestmark = pytest.mark.xdist_group("browser")

PAGES = (
    "", "spend", "runs", "runs/run-1", "events", "unattributed", "unpriced", "statements", "budgets", "budgets/new",
    "reservations",
    "run-bounds", "stop", "alerts", "alerts/deliveries", "audit",
    "teams", "projects", "workflows", "names", "rules",
    "rules/new", "teams/search", "projects/search-project", "workflows/search-agent",
    "unattributed?act=create&kind=workflow&name=x",
)  # fmt: skip
NEW_PASSWORD = "staple-of-another-battery"


def ranged(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}range=30d"


@pytest.fixture(scope="module")
def world() -> World:
    """People with passwords."""
    return make_world()


# --- signing in ---


def test_a_person_signs_in_where_they_wanted_to_go(look: Open, world: World) -> None:
    page = look(f"/o/{world.acme.org.slug}/events?range=7d")
    expect_page(page, "Sign in")
    sign_in(page, world.alice.email.upper(), PASSWORD)
    expect(page).to_have_url(re.compile(f"/o/{world.acme.org.slug}/events\\?range=7d$"))
    page.get_by_role("button", name="Sign out").click()
    expect_page(page, "Sign in")
    page.goto(f"/o/{world.acme.org.slug}/")
    expect_page(page, "Sign in")


@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_password_says_the_same_as_an_unknown_address(look: Open, world: World, known: bool) -> None:
    page = look("/accounts/login/")
    sign_in(page, world.bob.email if known else "nobody@acme.example", "not-the-password")
    expect(page.get_by_role("alert")).to_have_text("The email address and/or password you specified are not correct.")
    expect(page.get_by_label("Email")).to_have_value(world.bob.email if known else "nobody@acme.example")


def test_a_password_is_reset_by_mail(look: Open, site: Site, world: World) -> None:
    page = look("/accounts/login/")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Email").fill(world.charlie.email)
    page.get_by_role("button", name="Send the link").click()
    expect_page(page, "Look in your mail")
    (mail,) = (mail for mail in site.inbox if mail["To"] == world.charlie.email)
    (link,) = re.findall(rf"{site.url}/\S+", mail.get_content())
    page.goto(link)
    page.get_by_label("New Password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New Password (again)").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Save the password").click()
    expect_page(page, "The password is changed")
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, world.charlie.email, NEW_PASSWORD)
    expect_page(page, "Overview")
    page.goto(link)
    expect_page(page, "This link no longer works")


# --- pages ---


def test_the_overview_draws_its_chart_and_opens_what_is_behind(look: Open, shop: Shop) -> None:
    page = look(shop.url("?range=30d"), shop.alice)
    expect_page(page, "Overview")
    chart = page.locator("[data-chart]")
    expect(chart.locator("svg")).to_be_visible()
    assert chart.locator("svg path").count() > 10
    expect(page.get_by_text("Numbers behind the chart")).to_be_visible()
    page.get_by_role("region", name="Teams").get_by_role("row", name="search").get_by_role("link").click()
    expect(page.get_by_label("Filters")).to_contain_text("Team search")
    page.locator("tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Cost, explained")).to_be_visible()


def test_the_overview_fits_one_screen(look: Open, shop: Shop) -> None:
    page = look(shop.url("?range=30d"), shop.alice)
    expect(page.locator("[data-chart] svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight") <= WIDE["height"]


# What cards hold that leaves them.
WIDER = """[...document.querySelectorAll('.flow > .panel')].filter(one => one.scrollWidth > one.clientWidth)
    .map(one => one.innerText)"""


@pytest.mark.parametrize("picture", ["home-owner", "home-lead"])
def test_a_home_of_every_card_fits_one_screen_and_no_card_leaves_its_place(look: Open, picture: str) -> None:
    shop, people = make_homes()
    page = look(shop.url(), people[picture])
    expect(page.locator("[data-chart] svg")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight") <= WIDE["height"]
    for width in (WIDE["width"], 1200, 1000, NARROW["width"], 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
        assert page.evaluate(WIDER) == [], width


def test_the_switcher_goes_from_one_organization_to_another(look: Open, shop: Shop) -> None:
    other = make_shop()
    add_member(org=other.org, user=shop.bob, role=Role.VIEWER, actor=None)
    page = look("/", shop.bob)
    expect_page(page, "Organizations")
    # One's name may begin like the other's.
    page.get_by_role("link", name=re.compile(rf"{shop.org.name}\b")).click()
    expect(page).to_have_url(re.compile(f"{shop.url()}$"))
    page.get_by_label(f"Organization: {shop.org.name}. Switch").click()
    page.get_by_role("link", name=re.compile(rf"{other.org.name}\b")).click()
    expect(page).to_have_url(re.compile(f"{other.url()}$"))
    expect(page.get_by_text("Spend appears here with the first usage event")).to_be_visible()


def test_the_explorer_changes_in_place_and_back_goes_back(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=30d"), shop.alice)
    expect(page.locator("[data-chart] svg")).to_be_visible()
    page.evaluate("window.notReloaded = true")
    page.get_by_label("Group by").select_option("model")
    expect(page.get_by_role("heading", name="Spend by model per day")).to_be_visible()
    expect(page).to_have_url(re.compile("group_by=model"))
    expect(page.locator("[data-chart] svg")).to_be_visible()
    assert page.evaluate("window.notReloaded") is True
    page.get_by_role("rowheader").get_by_role("link", name="gpt-5-mini", exact=True).click()
    expect(page.get_by_label("Filters")).to_contain_text("Model gpt-5-mini")
    page.go_back()
    expect(page.get_by_role("heading", name="Spend by model per day")).to_be_visible()
    expect(page.get_by_label("Filters")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("heading", name="Spend by team per day")).to_be_visible()
    expect(page.get_by_label("Group by")).to_have_value("team")
    expect(page.locator("[data-chart] svg")).to_be_visible()


def test_names_are_left_out_by_shift_and_filters_added_with_suggestions(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=30d&group_by=model"), shop.alice)
    page.get_by_role("rowheader").get_by_role("link", name="gpt-5-mini", exact=True).click(modifiers=["Shift"])
    expect(page.get_by_label("Filters")).to_contain_text("Model not gpt-5-mini")
    expect(page.get_by_role("rowheader").get_by_role("link", name="gpt-5-mini", exact=True)).to_have_count(0)
    page.get_by_text("Add a filter").click()
    page.get_by_label("Dimension").select_option("environment")
    expect(page.locator("#filter-values option")).to_have_count(1)
    page.get_by_label("Value; empty: none").fill("prod")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_label("Filters")).to_contain_text("Environment prod")
    expect(page).to_have_url(re.compile("environment=prod&not.model=gpt-5-mini&range=30d"))
    page.go_back()
    expect(page.get_by_label("Filters")).not_to_contain_text("Environment")


def test_lines_and_the_period_before_are_drawn(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=7d"), shop.alice)
    page.get_by_label("Chart", exact=True).select_option("line")
    expect(page).to_have_url(re.compile("chart=line"))
    page.get_by_role("link", name="Compare with").click()
    expect(page.locator("[data-chart] svg .mark-line path").first).to_be_attached()
    expect(page.locator("[data-chart] svg path[stroke-dasharray='4,3']")).to_have_count(1)
    expect(page.get_by_role("columnheader", name="Change")).to_be_visible()
    page.get_by_role("link", name="Compared with").click()
    expect(page.get_by_role("columnheader", name="Change")).to_have_count(0)
    expect(page.get_by_label("Chart", exact=True)).to_have_value("line")


def test_a_range_is_chosen_without_a_reload(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?group_by=model"), shop.alice)
    page.evaluate("window.notReloaded = true")
    page.get_by_role("link", name="7 d").click()
    expect(page.get_by_role("link", name="7 d")).to_have_attribute("aria-current", "true")
    expect(page).to_have_url(re.compile("group_by=model&range=7d"))
    page.locator(".range details.popover summary").click()
    page.get_by_label("From", exact=True).fill("2001-01-01")
    page.get_by_label("Up to and including").fill("2001-01-31")
    page.get_by_role("button", name="Show").first.click()
    expect(page.get_by_role("heading", name="No spend matches")).to_be_visible()
    assert page.evaluate("window.notReloaded") is True
    expect(page.get_by_label("Group by")).to_have_value("model")


def test_keys_go_where_the_rail_goes(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice)
    for letter, title in (("e", "Explorer"), ("v", "Events"), ("s", "Statements"), ("o", "Overview")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        expect_page(page, title)
    page.keyboard.press("[")
    expect(page).to_have_url(re.compile("from="))
    page.keyboard.press("Control+k")
    page.keyboard.type("unpr")
    page.keyboard.press("Enter")
    expect_page(page, "Unpriced")
    page.goto(shop.url("events"))
    page.keyboard.press("/")
    page.keyboard.type("g e")
    expect(page.get_by_label("Team")).to_have_value("g e")


def test_the_palette_finds_things_by_name_and_opens_them_by_keys(look: Open) -> None:
    shop = make_shop()
    fill(shop)
    with as_worker():
        roll_up(shop.org)
    page = look(shop.url(), shop.alice)
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog")
    page.keyboard.type("search-a")
    expect(palette.get_by_role("link", name="search-agent")).to_be_visible()
    expect(palette.get_by_role("heading", name="Workflows")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/workflows/search-agent$"))
    page.keyboard.press("Control+k")
    page.keyboard.type("run")
    # Pages come first, then what is found.
    expect(palette.get_by_role("link", name="run-1", exact=True)).to_be_visible()
    runs = palette.get_by_role("link", name="Runs", exact=True)
    page.keyboard.press("ArrowDown")
    expect(runs).to_be_focused()
    for _ in range(palette.get_by_role("link").count()):
        page.keyboard.press("ArrowDown")
    expect(palette.get_by_role("link", name="run-3", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect_page(page, "Run run-3")
    page.keyboard.press("Control+k")
    page.keyboard.type("nobody has this name")
    expect(palette.get_by_text("Nothing named “nobody has this name”.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(palette.get_by_text("Nothing named")).to_have_count(0)
    page.keyboard.type("budgets")
    expect(palette.get_by_text("Nothing named")).to_be_hidden()


def test_the_theme_follows_the_system_until_it_is_chosen(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Theme").click()
    light = page.evaluate(background)
    assert sum(map(int, re.findall(r"\d+", dark))) < 100 < 600 < sum(map(int, re.findall(r"\d+", light)))
    page.reload()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(look: Open, shop: Shop, scheme: str) -> None:
    page = look(shop.url("?range=30d"), shop.alice, color_scheme=scheme)
    for path in PAGES:
        page.goto(shop.url(ranged(path)))
        faint = page.evaluate(CONTRAST)
        assert faint == [], path


# Contrast of every element with text of its own, by the formula of WCAG 2.2: at least 4.5 to 1.
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const light = (colour) => {
    const [red, green, blue] = channels(colour).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const opaque = (colour) => (channels(colour)[3] ?? 1) === 1;
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return opaque(colour) ? colour : behind(element.parentElement);
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(script, style, svg *)")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim()).length;
    if (!text || !element.checkVisibility()) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${element.tagName}.${element.className} ${contrast.toFixed(2)}`);
  }
  return faint;
}"""


def test_a_narrow_screen_shows_every_page_without_scrolling_sideways(look: Open, shop: Shop) -> None:
    page = look(shop.url(), shop.alice, viewport=NARROW, has_touch=True, is_mobile=True)
    statement = page.goto(shop.url("statements"))
    assert statement
    paper = page.locator("tbody a").first.get_attribute("href") or ""
    page.goto(shop.url("events"))
    event = page.locator("tbody a").first.get_attribute("href") or ""
    for path in (
        *(shop.url(ranged(one)) for one in PAGES),
        paper,
        event,
        "/",
        "/accounts/password/change/",
    ):
        page.goto(path)
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond <= 0, path
    page.goto(shop.url("spend?range=30d"))
    cost = page.get_by_role("region", name="Spend by team, table").locator("tbody td").last.bounding_box()
    assert cost
    assert cost["x"] + cost["width"] <= NARROW["width"], "the cost is out of sight"
    page.get_by_role("link", name="Menu").click()
    page.get_by_role("link", name="Statements").click()
    expect_page(page, "Statements")


def test_a_budget_is_a_card_on_a_narrow_screen_and_has_its_picture(look: Open) -> None:
    shop = make_shop()
    create_team(org=shop.org, slug="search")
    terms = BudgetTerms(name="All of it", period="month", amount_usd=Decimal(1))
    create_budget(org=shop.org, terms=terms, actor="tests")
    shop.api.send(make_event(team="search"))
    page = look(shop.url("budgets"), shop.alice, viewport=NARROW, has_touch=True, is_mobile=True)
    row = page.get_by_role("region", name="Budgets, table").locator("tbody tr")
    for part in row.locator("th, td, svg").all():
        box = part.bounding_box()
        assert box
        assert 0 <= box["x"] <= box["x"] + box["width"] <= NARROW["width"], part.inner_text()
    expect(row.get_by_text("fine").or_(row.get_by_text("at risk"))).to_be_visible()
    left = row.locator("[data-label='Left, USD']")
    assert left.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Left, USD"'
    assert page.locator("svg.spark polyline.spent").evaluate("line => getComputedStyle(line).stroke") != "none"


def test_a_budget_is_previewed_made_and_drawn(look: Open, shop: Shop) -> None:
    page = look(shop.url("budgets"), shop.alice)
    page.get_by_role("link", name="New budget").click()
    expect_page(page, "New budget")
    page.get_by_label("Name", exact=True).fill("Search in all its ways")
    page.get_by_label("Limit, USD").fill("0.50")
    page.get_by_label("Team").fill("search")
    page.get_by_role("radio", name="Block").check()
    page.get_by_role("button", name="Preview the last three months").click()
    expect(page.get_by_role("heading", name="What it would have done")).to_be_in_viewport()
    expect(page.get_by_role("status")).to_contain_text("The limit would have been reached in")
    expect(page.get_by_label("Limit, USD")).to_have_value("0.50")
    page.get_by_role("button", name="Create the budget").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Search in all its ways")
    expect(page.locator(".chart svg path").first).to_be_attached()
    expect(page.get_by_text("refusing").first).to_be_visible()
    page.get_by_text("Numbers behind the chart").click()
    expect(page.get_by_role("columnheader", name="In all, USD")).to_be_visible()


def test_a_project_moves_between_teams_and_the_past_stays(look: Open) -> None:
    """Spend by team of what is over is the same before and after; what comes next goes to the new team."""
    shop = make_shop("Europe/Berlin")
    search, _ = (create_team(org=shop.org, slug=slug) for slug in ("search", "growth"))
    create_project(org=shop.org, slug="answers", team=search)
    shop.api.send(*(make_event(project="answers", run_id=f"r{number}") for number in range(3)))
    page = look(shop.url("spend?range=24h&group_by=team&granularity=none"), shop.alice)

    def spend() -> dict[str, list[str]]:
        page.goto(shop.url("spend?range=24h&group_by=team&granularity=none"))
        rows = page.get_by_role("region", name="Spend by team, table").locator("tbody tr").all()
        return {row.locator("th a").first.inner_text(): row.locator("td").all_inner_texts() for row in rows}

    before = spend()
    assert list(before) == ["search"]
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect_page(page, "Projects")
    page.get_by_role("link", name="answers").click()
    page.get_by_label("Team", exact=True).fill("growth")
    page.get_by_role("button", name="See what it changes").click()
    looked = page.get_by_role("status")
    expect(looked).to_be_in_viewport()
    expect(looked).to_contain_text("its calls belong to growth")
    expect(looked).to_contain_text("search: 3 events, 0.01350 USD")
    assert spend() == before
    page.goto(shop.url("projects/answers"))
    page.get_by_label("Team", exact=True).fill("growth")
    expect(page.get_by_role("button", name="Move it")).to_have_count(0)
    page.get_by_role("button", name="See what it changes").click()
    page.get_by_role("button", name="Move it").click()
    expect(page.get_by_role("region", name="Owners over time, table").locator("tbody tr")).to_have_count(2)
    shop.org.refresh_from_db()
    attribute_known_names(shop.org)
    assert spend() == before
    shop.api.send(make_event(project="answers"))
    after = spend()
    assert after.keys() == {"growth", "search"}
    # All but its share.
    assert (after["search"][0], after["search"][-1]) == (before["search"][0], before["search"][-1])
    page.goto(shop.url("teams/search"))
    expect(page.get_by_role("region", name="Owners over time, table")).to_contain_text("before")


def test_a_run_is_drawn_and_opens_why_a_call_cost_what_it_did(look: Open) -> None:
    shop = make_shop()
    agent_run(shop, **TIGHT)
    page = look(shop.url("runs?range=30d"), shop.alice)
    page.get_by_role("link", name="Most expensive").click()
    dearest = page.locator("tbody tr").first.get_by_role("link", name=RUN, exact=True)
    dearest.click()
    expect_page(page, f"Run {RUN} success")
    for chart in ("run-context", "run-cached", "run-cost"):
        expect(page.locator(f"[data-chart={chart}] svg")).to_be_visible()
    bars = page.locator("[data-chart=run-cost] .mark-rect path")
    assert bars.count() > 40
    expect(page.locator("[data-chart=run-cost] svg").get_by_text("cost: 0.1500 USD, steps: 15")).to_be_visible()
    # Every call of the run stands at the same place of both charts.
    edges = [
        page.locator(f"[data-chart={name}] .role-axis-grid line").first.bounding_box()
        for name in ("run-context", "run-cached")
    ]
    assert edges[0]
    assert edges[1]
    assert abs(edges[0]["x"] - edges[1]["x"]) < 1
    step = page.get_by_role("row", name="Step 9 claude-opus-4-1").first
    expect(step).to_contain_text("escalation")
    step.get_by_role("link").last.click()
    expect(page.get_by_role("heading", name="Cost, explained")).to_be_visible()
    page.get_by_role("link", name=RUN, exact=True).click()
    expect_page(page, f"Run {RUN} success")


def test_without_javascript_the_tables_say_it_all(look: Open, shop: Shop) -> None:
    page = look(shop.url("?range=30d"), shop.alice, java_script_enabled=False)
    expect(page.locator(".chart")).to_be_hidden()
    expect(page.get_by_role("button", name="Theme")).to_be_hidden()
    page.get_by_text("Numbers behind the chart").click()
    expect(page.get_by_role("columnheader", name="Total, USD")).to_be_visible()
    page.goto(shop.url("spend"))
    page.get_by_label("Group by").select_option("model")
    page.get_by_role("button", name="Show").last.click()
    expect(page.get_by_role("columnheader", name="Model")).to_be_visible()


def test_a_statement_prints_as_paper(look: Open, shop: Shop) -> None:
    page = look(shop.url("statements"), shop.alice, color_scheme="dark")
    page.get_by_role("link", name="search").first.click()
    expect(page.get_by_role("article")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert Path(download.value.path()).read_text().startswith("statement,number,")
    page.emulate_media(media="print")
    # Paper is no wider than a tablet, and is not laid out like one.
    page.set_viewport_size(NARROW)
    assert page.evaluate("getComputedStyle(document.querySelector('.letterhead')).flexDirection") == "row"
    for stray in (".rail", ".heading", ".crumbs", ".actions", ".skip"):
        expect(page.locator(stray).first).to_be_hidden()
    expect(page.get_by_role("article").get_by_text("Total, USD")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_an_address_that_leads_nowhere_says_so(shop: Shop, browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    answer = page.goto(shop.url("nothing"))
    assert answer
    assert answer.status == 404
    expect_page(page, "There is nothing here")
    context.close()


def test_an_event_is_found_whatever_its_id(look: Open) -> None:
    shop = make_shop()
    shop.api.send(make_event(event_id="a//b/../c?d#e%2F"))
    page = look(shop.url("events"), shop.alice)
    page.locator("tbody a").first.click()
    expect_page(page, "Event a//b/../c?d#e%2F")


def test_the_first_event_is_copied_with_one_click(look: Open) -> None:
    shop = make_shop()
    page = look(shop.url(), shop.alice, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("curl http")
