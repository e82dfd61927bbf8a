"""A question of the explorer on its way, in a real browser: asked, saved, shared, taken away as a file."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from apps.reports import exporting
from apps.teams.services import create_team
from tests.database import as_worker
from tests.portal.conftest import Shop, make_shop
from tests.portal.files import book_of, rows_of
from tests.portal.looking import Open, expect_page
from tests.world import make_event

# One process keeps the browser and the site.
pytestmark = pytest.mark.xdist_group("browser")

QUESTION = "Spend by model and user"


@pytest.fixture(scope="module")
def shop() -> Shop:
    """More users than a file is written of at once, over this week and the one before."""
    shop = make_shop()
    for slug in ("search", "growth"):
        create_team(org=shop.org, slug=slug)
    now = datetime.now(UTC)
    for thousand in range(exporting.AT_ONCE_ROWS_MAX // 1_000 + 1):
        shop.api.send(
            *(
                make_event(
                    team="search",
                    user=f"user-{thousand}-{number:03}",
                    occurred_at=(now - timedelta(days=1 + number % 5)).isoformat(),
                    usage={"input_tokens": 1_000 + number, "output_tokens": 10 + thousand},
                )
                for number in range(1_000)
            )
        )
    shop.api.send(
        make_event(team="search", model="claude-opus-4-1", user="user-0-000", occurred_at=_days_ago(2)),
        make_event(team="search", user="user-0-000", occurred_at=_days_ago(10)),
        make_event(team="growth", user="of-growth"),
    )
    return shop


def _days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def table(page: Page, title: str = QUESTION) -> Locator:
    return page.get_by_role("region", name=f"{title}, table")


def numbers(page: Page) -> list[list[str]]:
    """Every cell of the table, once it answers the question."""
    expect(table(page)).to_be_visible()
    return [row.locator("th, td").all_inner_texts() for row in table(page).locator("tr").all()]


def total(page: Page) -> Decimal:
    """Its cost, exact."""
    exact = table(page).locator("tfoot td").last.locator("[data-exact]").get_attribute("data-exact") or ""
    return Decimal(re.sub(r"[^0-9.]", "", exact))


def ask(page: Page) -> None:
    """Spend of one team by model and user, with the week before."""
    page.get_by_role("rowheader").get_by_role("link", name="search", exact=True).click()
    expect(page.get_by_label("Filters")).to_contain_text("Team search")
    page.get_by_label("Group by").select_option("model")
    page.get_by_label("Then by").select_option("user")
    expect(table(page)).to_be_visible()
    page.get_by_role("link", name="Compare with").click()
    expect(page.get_by_role("columnheader", name="Change")).to_be_visible()


def save(page: Page, name: str) -> None:
    page.locator("summary", has_text="Views").click()
    page.get_by_role("link", name="Save this view").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Share it with the organization").check()
    page.get_by_role("button", name="Save", exact=True).click()


def test_a_question_is_asked_saved_and_shared_and_a_colleague_sees_the_same(look: Open, shop: Shop) -> None:
    alice = look(shop.url("spend?range=7d"), shop.alice)
    ask(alice)
    asked = numbers(alice)
    save(alice, "Search, by person")
    expect_page(alice, "Explorer")
    assert numbers(alice) == asked
    for query in ("group_by=model", "then_by=user", "compare=previous", "team=search", "range=7d"):
        assert query in alice.url
    # The address as it is sent to a colleague, and the view as the colleague finds it.
    bob = look(alice.url, shop.bob)
    assert numbers(bob) == asked
    assert total(bob) == total(alice)
    bob.goto(shop.url("spend"))
    bob.locator("summary", has_text="Views").click()
    bob.get_by_role("link", name="Search, by person").click()
    expect(bob).to_have_url(alice.url)
    assert numbers(bob) == asked
    bob.goto(shop.url("views"))
    expect(bob.get_by_role("row", name="Search, by person")).to_contain_text(shop.alice.email)
    expect(bob.get_by_role("button", name="Unshare")).to_have_count(0)


def test_back_asks_the_question_before_and_a_number_opens_its_events(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=7d"), shop.bob)
    ask(page)
    asked, address = numbers(page), page.url
    page.get_by_role("rowheader").get_by_role("link", name="claude-opus-4-1", exact=True).click()
    expect(page.get_by_label("Filters")).to_contain_text("Model claude-opus-4-1")
    expect(table(page).locator("tbody tr")).to_have_count(1)
    cost = total(page)
    table(page).locator("tbody tr").get_by_role("link").last.click()
    expect_page(page, "Events")
    events = page.get_by_role("region", name="Events, table").locator("tbody tr")
    expect(events).to_have_count(1)
    assert cost == Decimal("0.0225")
    expect(events).to_contain_text("0.02250")
    page.go_back()
    expect(page.get_by_label("Filters")).to_contain_text("Model claude-opus-4-1")
    assert total(page) == cost
    page.go_back()
    expect(page).to_have_url(address)
    expect(page.get_by_label("Filters")).not_to_contain_text("Model")
    assert numbers(page) == asked
    page.go_back()
    expect(page.get_by_role("columnheader", name="Change")).to_have_count(0)
    expect(page.get_by_label("Then by")).to_have_value("user")


def test_what_is_chosen_while_an_answer_is_on_its_way_is_asked_too(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=7d&team=growth"), shop.bob)
    held: list[Route] = []
    page.route(re.compile("group_by=model"), lambda route: held.append(route), times=1)
    with page.expect_request(re.compile("group_by=model")):
        page.get_by_label("Group by").select_option("model")
    page.get_by_label("Then by").select_option("user")
    page.get_by_label("Chart", exact=True).select_option("line")
    held[0].continue_()
    expect(table(page).locator("tbody tr")).to_contain_text("of-growth")
    expect(page).to_have_url(re.compile("group_by=model&then_by=user&.*chart=line"))


def test_a_small_file_comes_at_once_and_leaves_nothing_waiting(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?range=7d&team=growth"), shop.bob)
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")


def test_a_large_question_becomes_a_file_with_the_total_of_the_page(look: Open, shop: Shop) -> None:
    page = look(shop.url("spend?group_by=model&then_by=user&team=search&range=7d"), shop.bob)
    expected, count = total(page), exporting.AT_ONCE_ROWS_MAX + 1_001
    for kind, sums in (("CSV", _sum_of_csv), ("XLSX", _total_of_book)):
        page.goto(shop.url("spend?group_by=model&then_by=user&team=search&range=7d"))
        page.locator("summary", has_text="Export").click()
        page.get_by_role("button", name=kind).click()
        expect_page(page, "Exports")
        row = page.get_by_role("row", name=QUESTION).filter(has_text=kind)
        expect(row).to_contain_text("waits for its turn")
        with as_worker():
            assert exporting.work(shop.org)
        # The page looks by itself.
        expect(row).to_contain_text(f"{count:,} rows".replace(",", "\u202f"))
        with page.expect_download() as download:
            row.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
        assert sums(Path(download.value.path()).read_bytes()) == (count, expected)


def _sum_of_csv(content: bytes) -> tuple[int, Decimal]:
    rows = rows_of(content)
    return len(rows), sum((Decimal(row["cost_usd"]) for row in rows), Decimal(0))


def _total_of_book(content: bytes) -> tuple[int, Decimal]:
    heading, *rows, last = book_of(content)[0]
    return len(rows), Decimal(last[heading.index("USD, exact")])
