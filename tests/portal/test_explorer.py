"""The explorer: compared with the period before, filtered and left out on the page, drawn as bars or lines."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.test import Client
from django.test.html import Element

from apps.teams.services import create_team
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, make_shop
from tests.portal.reading import Page, attribute, find, get, number_of, text_of
from tests.world import make_event

COST = Decimal("0.0045")


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Seven days that can be compared with the seven before: a team that grows, one that goes, one that comes."""
    shop = make_shop()
    for slug in ("grows", "goes", "comes"):
        create_team(org=shop.org, slug=slug)
    shop.api.send(
        *(make_event(team="grows", occurred_at=ago(days), tags={"plan": "gold"}) for days in (0, 1, 2)),
        make_event(team="grows", occurred_at=ago(8)),
        *(make_event(team="goes", occurred_at=ago(days), user="u") for days in (8, 9)),
        make_event(team="comes", occurred_at=ago(1), environment="prod"),
        make_event(occurred_at=ago(1)),
    )
    return shop


@pytest.fixture(scope="module")
def client(shop: Shop) -> Client:
    return client_of(shop.bob)


def table(page: Page) -> dict[str, list[str]]:
    """Cells of the explorer's table after the name, by the name."""
    (region,) = (
        one for one in page.find("div", role="region") if (attribute(one, "aria-label") or "").endswith("table")
    )
    return {name_of(cells[0]): [text_of(cell) for cell in cells[1:]] for cells in Page.rows_of(region)}


def field(page: Page, kind: str, name: str) -> Element:
    (found,) = (one for one in page.find(kind) if attribute(one, "name") == name)
    return found


def chosen(select: Element) -> str | None:
    (option,) = (one for one in find(select, "option") if "selected" in dict(one.attributes))
    return attribute(option, "value")


def name_of(cell: Element) -> str:
    return text_of(next(find(cell, "a")))


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


# --- compared with the period before ---


def test_a_row_says_what_it_cost_before_and_what_changed(shop: Shop, client: Client) -> None:
    rows = table(get(client, shop.url("spend?range=7d&compare=previous")))
    change = {name: cells[-2] for name, cells in rows.items()}
    assert list(rows) == ["grows", "comes", "none", "goes"]
    assert change["grows"].startswith("↑ +$0.009")
    assert "200" in change["grows"]
    assert "(new)" in change["comes"]
    assert change["goes"].startswith("↓ −$0.009")
    assert rows["goes"][-1] == "0"


def test_the_total_is_compared_too(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&compare=previous"))
    (foot,) = page.find("tfoot")
    *_, before, change, now = find(foot, "td")
    assert [number.value for cell in (before, now) if (number := number_of(cell))] == [3 * COST, 5 * COST]
    assert "+67" in text_of(change)
    assert "Before is" in page.text


def test_the_chart_has_the_period_before_day_by_day(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&compare=previous"))
    (numbers,) = page.find("details", **{"class": "numbers"})
    before = [number.value or Decimal(0) for cells in Page.rows_of(numbers) if (number := number_of(cells[-1]))]
    assert (len(before), sum(before)) == (7, 3 * COST)
    assert before[-3:] == [COST, 2 * COST, Decimal(0)]
    assert '"previous"' in page.html


def test_the_comparison_is_a_link_that_goes_on_and_off(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&group_by=model&not.team=goes"))
    (on,) = page.find("a", id="compare")
    assert query_of(attribute(on, "href") or "") == {
        "range": ["7d"], "group_by": ["model"], "not.team": ["goes"], "compare": ["previous"],
    }  # fmt: skip
    compared = get(client, attribute(on, "href") or "")
    (off,) = compared.find("a", id="compare")
    assert attribute(off, "aria-current") == "true"
    assert "compare" not in query_of(attribute(off, "href") or "")
    for link in (*compared.find("a", data_range="previous"), *compared.find("th")):
        href = attribute(link, "href")
        assert href is None or query_of(href)["compare"] == ["previous"]


def test_a_group_that_is_gone_is_still_a_row_where_nothing_is_left(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&team=goes&compare=previous"))
    assert list(table(page)) == ["goes"]
    assert "No spend matches" in get(client, shop.url("spend?range=7d&team=goes")).text


# --- filters and exclusions ---


@pytest.mark.parametrize(("how", "kept"), [("only", {"grows"}), ("not", {"comes", "none"})])
def test_a_filter_is_added_on_the_page(shop: Shop, client: Client, how: str, kept: set[str]) -> None:
    asked = {"range": "7d", "add": "team", "value": "grows", "how": how}
    response = client.get(shop.url("spend"), asked)
    assert response.status_code == 302
    name = "team" if how == "only" else "not.team"
    assert query_of(response["Location"]) == {"range": ["7d"], "group_by": ["team"], name: ["grows"]}
    page = get(client, response["Location"])
    assert set(table(page)) == kept
    (chips,) = page.find("ul", aria_label="Filters")
    assert ("not" in text_of(chips)) == (how == "not")


def test_exclusions_add_up_and_go_one_by_one(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&not.team=grows&not.team="))
    assert set(table(page)) == {"comes"}
    (chips,) = page.find("ul", aria_label="Filters")
    first, second = (attribute(link, "href") or "" for link in find(chips, "a"))
    assert set(table(get(client, first))) == {"grows", "comes"}
    assert set(table(get(client, second))) == {"comes", "none"}


def test_a_row_can_be_left_out_by_its_own_link(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&not.team="))
    links = {
        attribute(link, "aria-label"): attribute(link, "href") or "" for link in page.find("a", **{"class": "exclude"})
    }
    assert query_of(links["Leave out grows"])["not.team"] == ["", "grows"]
    names = {attribute(link, "data-exclude") for link in page.find("a") if attribute(link, "data-exclude")}
    assert names == set(links.values())
    assert set(table(get(client, links["Leave out grows"]))) == {"comes"}


def test_keeping_a_value_that_was_left_out_keeps_it(shop: Shop, client: Client) -> None:
    response = client.get(shop.url("spend"), {"range": "7d", "not.team": "grows", "add": "team", "value": "grows"})
    assert "not.team" not in query_of(response["Location"])


@pytest.mark.parametrize(("query", "closed"), [("range=7d", []), ("range=30d", ["hour, up to 7 days"])])
def test_hours_are_offered_for_a_week_and_else_the_control_says_why_not(
    shop: Shop, client: Client, query: str, closed: list[str]
) -> None:
    select = field(get(client, shop.url(f"spend?{query}&granularity=hour")), "select", "granularity")
    assert [text_of(one) for one in find(select, "option") if "disabled" in dict(one.attributes)] == closed
    assert chosen(select) == ("day" if closed else "hour")


@pytest.mark.parametrize(
    ("query", "asks"),
    [
        ({"range": "7d"}, {}),
        ({"range": "7d", "team": "grows"}, {"team": ["grows"]}),
        ({"range": "7d", "user": "u"}, None),
        ({"range": "7d", "not.team": "goes"}, None),
        ({"range": "7d", "team": ""}, None),
    ],
)
def test_why_it_changed_is_one_click_away_where_it_can_be_told(
    shop: Shop, client: Client, query: dict[str, str], asks: dict[str, list[str]] | None
) -> None:
    page = get(client, shop.url(f"spend?{urlencode(query)}"))
    doors = [attribute(each, "href") or "" for each in page.find("a") if text_of(each) == "Why it changed"]
    month = f"{datetime.now(UTC):%Y-%m}"
    assert [query_of(door) for door in doors] == ([] if asks is None else [{**asks, "month": [month]}])


def runs_door(page: Page) -> str | None:
    return next(
        (
            attribute(link, "href")
            for link in page.find("a")
            if attribute(link, "class") == "button" and text_of(link) == "Runs"
        ),
        None,
    )


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, {"of-grows", "of-comes"}),
        ({"team": "grows"}, {"of-grows"}),
        ({"team": "comes", "environment": "prod"}, {"of-comes"}),
        ({"environment": ""}, {"of-grows"}),
        ({"run_id": "of-comes"}, {"of-comes"}),
    ],
)
def test_the_runs_of_a_question_are_one_click_away(filters: dict[str, str], found: set[str]) -> None:
    shop = make_shop()
    for slug in ("grows", "comes"):
        create_team(org=shop.org, slug=slug)
    shop.api.send(
        make_event(team="grows", run_id="of-grows", occurred_at=ago(1)),
        make_event(team="comes", run_id="of-comes", environment="prod"),
        make_event(team="grows", run_id="before", occurred_at=ago(10)),
    )
    with as_worker():
        roll_up(shop.org)
    client = client_of(shop.bob)
    href = runs_door(get(client, shop.url("spend?" + urlencode({"group_by": "model", **filters, "range": "7d"}))))
    assert href == shop.url("runs?" + urlencode({**filters, "range": "7d"}))
    shown = {attribute(link, "href") for link in get(client, href).find("a")}
    assert {run for run in ("of-grows", "of-comes", "before") if shop.url(f"runs/{run}") in shown} == found


@pytest.mark.parametrize(
    "query", ["model=m", "status=ok", "outcome=success", "run_id=", "not.team=grows", "tags.plan=gold"]
)
def test_there_is_no_door_to_runs_that_cannot_be_filtered_so(shop: Shop, client: Client, query: str) -> None:
    assert runs_door(get(client, shop.url(f"spend?range=7d&team=grows&{query}"))) is None


def test_a_value_that_no_event_can_have_is_refused_and_stays_typed(shop: Shop, client: Client) -> None:
    response = client.get(shop.url("spend"), {"add": "api_key", "value": "mine", "how": "not"})
    assert response.status_code == 400
    response.status_code = 200
    page = Page(response)
    assert "No event can have 'mine' there." in page.text
    typed = field(page, "input", "value")
    assert (attribute(typed, "value"), attribute(typed, "aria-invalid")) == ("mine", "true")
    refused = client.get(shop.url("spend"), {"add": "colour", "value": "red"})
    assert refused.status_code == 400


def test_values_are_suggested_the_largest_first(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d"))
    (known,) = page.find("datalist", id="filter-values")
    assert [attribute(option, "value") for option in find(known, "option")] == ["grows", "comes"]
    asked = client.get(shop.url("spend/values?range=7d&add=environment&not.team=grows")).content.decode()
    assert asked.count("<option") == 1
    assert 'value="prod"' in asked
    assert client.get(shop.url("spend/values?range=7d&add=tags.plan")).content.decode().count("gold") == 1
    for nothing in ("", "colour", "tags."):
        assert "<option" not in client.get(shop.url(f"spend/values?add={nothing}")).content.decode()


def test_keys_of_tags_are_dimensions_to_choose(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d"))
    assert "tags.plan" in [attribute(one, "value") for one in find(field(page, "select", "group_by"), "option")]
    assert set(table(get(client, shop.url("spend?range=7d&group_by=tags.plan")))) == {"gold", "none"}
    page = get(client, shop.url("spend?range=7d&group_by=tags.other"))
    assert chosen(field(page, "select", "group_by")) == "tags.other"


# --- how it is drawn ---


@pytest.mark.parametrize(("chart", "mark"), [("stacked", '"type": "rect"'), ("line", '"type": "line"')])
def test_the_chart_is_bars_or_lines(shop: Shop, client: Client, chart: str, mark: str) -> None:
    page = get(client, shop.url(f"spend?range=7d&chart={chart}"))
    assert mark in page.html
    assert chosen(field(page, "select", "chart")) == chart


def test_lines_go_through_days_without_spend(shop: Shop, client: Client) -> None:
    page = get(client, shop.url("spend?range=7d&chart=line"))
    (numbers,) = page.find("details", **{"class": "numbers"})
    assert len(Page.rows_of(numbers)) == 7


def test_names_that_could_be_markup_stay_names() -> None:
    shop = make_shop()
    shop.api.send(make_event(team=HOSTILE_NAME, user=HOSTILE_NAME))
    page = get(client_of(shop.alice), shop.url("spend?group_by=user&compare=previous&chart=line"))
    assert "<script>alert" not in page.html
    (link,) = page.find("a", **{"class": "exclude"})
    assert query_of(attribute(link, "href") or "")["not.user"] == [HOSTILE_NAME]
