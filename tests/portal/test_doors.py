"""Every number is a door: its link opens exactly what it counts, and what is summed is summed from what is shown."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.test import Client

from apps.portal.explorer import GROUPS
from apps.portal.views.spend import ROWS_SHOWN
from apps.teams.rulebook import RuleTerms, create_rule
from apps.teams.services import map_name
from apps.usage.postings import attribute_known_names
from tests.portal.conftest import HOSTILE_NAME, OLDEST, Shop, client_of, fill, make_shop
from tests.portal.reading import Door, Listing, Number, Page, attribute, find, get, list_events, number_of, text_of
from tests.usage.ledger import Books, accept
from tests.world import make_event

RANGE = "range=30d"
SPEND_PAGES = (
    f"?{RANGE}",
    "?range=7d",
    f"unattributed?{RANGE}",
    f"unpriced?{RANGE}",
    "teams",
    "projects",
    "workflows",
    "projects/search-project",
    "workflows/search-agent",
    *(f"spend?{RANGE}&granularity=none&group_by={name}" for name in GROUPS),
    f"spend?{RANGE}&group_by=workflow&then_by=model&team=search",
    f"spend?{RANGE}&group_by=user&then_by=environment&priced=true",
    f"spend?{RANGE}&group_by=team&compare=previous&chart=line",
    f"spend?{RANGE}&group_by=model&not.team=search&not.environment=prod",
    f"spend?{RANGE}&group_by=team&then_by=status&not.team=&not.team=search",
    f"spend?{RANGE}&group_by=operation&not.operation=chat&not.run_id=run-1",
    "spend?" + urlencode({"range": "30d", "group_by": f"tags.{HOSTILE_NAME[:200]}"}),
    "spend?" + urlencode({"range": "30d", "group_by": "team", f"not.tags.{HOSTILE_NAME[:200]}": HOSTILE_NAME}),
    "spend?" + urlencode({"range": "30d", "group_by": "model", "team_name": HOSTILE_NAME}),
    "spend?" + urlencode({"range": "30d", "group_by": "model", f"tags.{HOSTILE_NAME[:200]}": HOSTILE_NAME}),
)  # fmt: skip


def check(client: Client, doors: Iterable[Door]) -> None:
    """The page behind each number says the same number, and a list of events adds up to it."""
    behind: dict[str, list[Number]] = {}
    for door in doors:
        behind.setdefault(door.href, []).append(door.number)
    for href, numbers in behind.items():
        name = urlsplit(href).path.rpartition("/")[2]
        if name == "events":
            listing = list_events(client, href)
            for number in (*numbers, *listing.stated):
                assert agrees(number, listing), (href, number, listing)
            continue
        page = get(client, href)
        shown = total_of(page) if name == "spend" else numbers_of(page)
        for number in numbers:
            nothing = number.value == 0 and "Every event has" in page.text
            assert number in shown or nothing, (href, number, shown)


def agrees(number: Number, listing: Listing) -> bool:
    if not number.is_money:
        return number.value == listing.events
    return 0 < listing.unpriced == listing.events if number.value is None else number.value == listing.cost_usd


def total_of(page: Page) -> list[Number]:
    """Events and cost in the last row of the explorer's table."""
    (foot,) = page.find("tfoot")
    return [number for link in find(foot, "a") if (number := number_of(link))]


def numbers_of(page: Page) -> list[Number]:
    main = next(page.find("main"))
    elements = [*find(main, "td"), *find(main, "p"), *find(main, "a"), *find(main, "span")]
    return [number for element in elements if (number := number_of(element))]


@pytest.mark.parametrize("path", SPEND_PAGES)
def test_a_number_opens_the_events_it_counts(shop: Shop, path: str) -> None:
    client = client_of(shop.bob)
    doors = get(client, shop.url(path)).doors()
    assert doors
    check(client, doors)


def test_numbers_of_statements_open_what_they_sum(shop: Shop) -> None:
    client = client_of(shop.bob)
    for month in months():
        page = get(client, shop.url(f"statements?month={month:%Y-%m}"))
        statements = [door for door in page.doors() if "/statements/" in door.href]
        check(client, page.doors())
        check(client, (line for one in statements for line in get(client, one.href).doors()))
        assert summed(one.number.value for one in statements) in numbers_of(page)


def summed(amounts: Iterable[Decimal | None]) -> Number:
    """Amounts in all; unpriced where all are."""
    known = [amount for amount in amounts if amount is not None]
    return Number(sum(known, Decimal(0)) if known else None, True)


def test_numbers_stay_doors_when_a_name_becomes_known() -> None:
    shop = make_shop()
    fill(shop, ("search",))
    client = client_of(shop.alice)
    event = make_event(team="skunkworks")
    shop.api.send(event, make_event(team="skunkworks", provider="ollama", model="REDACTED"))
    map_name(org=shop.org, kind="team", name="skunkworks", slug="search", actor=None)
    shop.org.refresh_from_db()
    assert attribute_known_names(shop.org) == 2
    for path in (f"?{RANGE}", f"spend?{RANGE}", f"unattributed?{RANGE}", "statements"):
        page = get(client, shop.url(path))
        assert "skunkworks" not in page.text
        check(client, page.doors())
    page = get(client, shop.url(f"events/{event['event_id']}"))
    assert "Sent as 'skunkworks', which is mapped to it" in page.text
    assert "from unattributed" in page.text
    assert "to search" in page.text


def months() -> list[date]:
    """The months that hold events, in the shop's zone."""
    now = datetime.now(ZoneInfo("Asia/Kolkata"))
    return sorted({instant.date().replace(day=1) for instant in (now, now - OLDEST)})


@pytest.mark.parametrize("path", [f"?{RANGE}", f"spend?{RANGE}", f"spend?{RANGE}&group_by=model&granularity=week"])
def test_the_table_behind_a_chart_adds_up_to_the_total(shop: Shop, path: str) -> None:
    client = client_of(shop.bob)
    page = get(client, shop.url(path))
    (chart,) = page.find("details", **{"class": "numbers"})
    drawn = sum((number_of(row[-1]) or Number(None, True)).value or 0 for row in Page.rows_of(chart))
    everything = total_of(get(client, shop.url(f"spend?{RANGE}&granularity=none")))
    assert Number(Decimal(drawn), True) in everything


def test_groups_add_up_to_the_total(shop: Shop) -> None:
    client = client_of(shop.bob)
    for name in GROUPS:
        page = get(client, shop.url(f"spend?{RANGE}&granularity=none&group_by={name}"))
        doors = [door for door in page.doors() if not door.place.startswith("Total")]
        events = sum(int(door.number.value or 0) for door in doors if not door.number.is_money)
        cost = sum((door.number.value or Decimal(0) for door in doors if door.number.is_money), Decimal(0))
        assert total_of(page) == [Number(Decimal(events), False), Number(cost, True)], name


def test_a_day_is_a_day_of_the_organization() -> None:
    shop = make_shop("Asia/Kolkata")
    zone = ZoneInfo("Asia/Kolkata")
    day = datetime.now(zone).date() - timedelta(days=3)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    instants = [midnight + timedelta(seconds=seconds) for seconds in (-1, 0, 86_399, 86_400)]
    shop.api.send(*(make_event(occurred_at=instant.astimezone(UTC).isoformat()) for instant in instants))
    client = client_of(shop.alice)
    days = {offset: day + timedelta(days=offset) for offset in (-1, 0, 1)}
    counted = {
        offset: list_events(client, shop.url(f"events?from={one}&to={one}")).events for offset, one in days.items()
    }
    assert counted == {-1: 1, 0: 2, 1: 1}


def test_the_range_stays_with_its_filters(shop: Shop) -> None:
    page = get(client_of(shop.bob), shop.url("events?range=30d&team=search&status=error&cursor=x"))
    links = [attribute(link, "href") or "" for nav in page.find("nav", aria_label="Range") for link in find(nav, "a")]
    assert len(links) == 5
    assert all("team=search" in link and "status=error" in link and "cursor" not in link for link in links)
    (form,) = (form for form in page.find("form", method="get", **{"class": "sheet"}))
    carried = {attribute(field, "name"): attribute(field, "value") for field in find(form, "input", type="hidden")}
    assert carried == {"team": "search", "status": "error"}


def test_the_explorer_says_how_many_rows_it_does_not_show() -> None:
    shop = make_shop()
    shop.api.send(*(make_event(user=f"user-{index}") for index in range(ROWS_SHOWN + 3)))
    page = get(client_of(shop.alice), shop.url("spend?group_by=user&granularity=none"))
    assert f"The largest {ROWS_SHOWN} of {ROWS_SHOWN + 3} rows are shown." in page.text
    assert len(page.rows()) == ROWS_SHOWN
    assert Number(Decimal(ROWS_SHOWN + 3), False) in total_of(page)


def test_a_question_that_is_too_long_says_so_and_can_be_asked_otherwise(shop: Shop) -> None:
    client, now = client_of(shop.alice), datetime.now(UTC)
    ages = (timedelta(days=100), timedelta(days=50))
    accept(Books(shop.org, shop.api), *(make_event(occurred_at=(now - age).isoformat()) for age in ages))
    days = {"from": now - timedelta(days=120), "to": now - timedelta(days=40)}
    asked = "&".join(f"{name}={day:%Y-%m-%d}" for name, day in days.items())
    page = get(client, shop.url(f"spend?{asked}&group_by=operation"))
    assert "at most 31 days" in page.text
    controls = ["group_by", "then_by", "granularity", "chart", "add", "how"]
    assert [attribute(one, "name") for one in page.find("select")] == controls


# --- one event ---


def test_an_event_explains_its_cost_meter_by_meter(shop: Shop) -> None:
    client = client_of(shop.bob)
    listed = get(client, shop.url(f"events?{RANGE}&priced=true&team=search"))
    *_, cost = listed.rows()[0]
    (link,) = find(cost, "a")
    page = get(client, attribute(link, "href") or "")
    lines = [number_of(row[-1]) for row in page.rows()]
    assert number_of(cost) == Number(sum((line.value or Decimal(0) for line in lines if line), Decimal(0)), True)
    for name in ("Recognised as", "Price", "Source", "Rules", "Formula"):
        assert name in page.text


def test_an_unpriced_event_says_why_and_names_its_model() -> None:
    shop = make_shop()
    event = make_event(provider="ollama", model="REDACTED", cost_usd="0.25")
    shop.api.send(event)
    page = get(client_of(shop.alice), shop.url(f"events/{event['event_id']}"))
    assert "No price source knows the provider 'ollama'" in page.text
    assert [text_of(row[-1]) for row in page.rows()] == ["unpriced", "unpriced"]


@pytest.mark.parametrize("event_id", ["a/b", "a//b/../c", "a.csv", "a b?c#d%2F", HOSTILE_NAME[:100]])
def test_an_event_has_an_address_whatever_its_id(event_id: str) -> None:
    shop = make_shop()
    shop.api.send(make_event(event_id=event_id))
    client = client_of(shop.alice)
    (row,) = get(client, shop.url("events")).rows()
    (link,) = find(row[0], "a")
    assert event_id in get(client, attribute(link, "href") or "").text


def test_an_event_says_how_it_was_attributed() -> None:
    shop = make_shop()
    fill(shop, ("search",))
    sent = {
        "Sent with the event": {"team": "search"},
        "Owned the project at the time of the event": {"project": "search-project"},
        "The project of the workflow": {"workflow": "search-agent"},
        "Sent as 'skunkworks', which this organization does not know": {"team": "skunkworks"},
        "The event names none, and none follows from what it names": {},
        "Given by the rule 'The shop's'": {"user": "u"},
    }
    terms = RuleTerms(name="The shop's", when={"user": "u"}, team="search")
    create_rule(org=shop.org, terms=terms, actor="tests")
    client = client_of(shop.alice)
    for reason, names in sent.items():
        event = make_event(**names)
        shop.api.send(event)
        assert reason in get(client, shop.url(f"events/{event['event_id']}")).text


# --- statements ---


def test_a_line_of_a_statement_names_provider_and_model() -> None:
    shop = make_shop()
    shop.api.send(make_event(provider="ollama", model="REDACTED"), make_event(provider="openrouter", model="REDACTED"))
    client = client_of(shop.alice)
    (row,) = get(client, shop.url("statements")).rows()
    (link,) = find(row[0], "a")
    paper = get(client, attribute(link, "href") or "")
    assert "REDACTED ollama" in paper.text
    assert "REDACTED openrouter" in paper.text
    waiting = get(client, shop.url("unpriced"))
    models = {text_of(heading) for panel in waiting.find("section") for heading in find(panel, "h2")}
    assert models == {"ollama REDACTED", "openrouter REDACTED"}


def test_a_download_holds_what_the_page_shows(shop: Shop) -> None:
    client = client_of(shop.bob)
    for month in months():
        page = get(client, shop.url(f"statements?month={month:%Y-%m}"))
        (download,) = (href for link in page.find("a") if ".csv" in (href := attribute(link, "href") or ""))
        response = client.get(download)
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        assert response["Content-Disposition"] == f'attachment; filename="chargeback-{month:%Y-%m}.csv"'
        rows = list(csv.DictReader(io.StringIO(response.content.decode())))
        lines = summed(Decimal(row["cost_usd"]) for row in rows if row["kind"] != "total" and row["cost_usd"])
        assert sum(Decimal(row["cost_usd"]) for row in rows if row["kind"] == "total") == (lines.value or 0)
        assert lines in numbers_of(page)
        assert not any(value.startswith(("=", "+", "-", "@")) for row in rows for value in row.values())


def test_a_statement_is_downloaded_alone(shop: Shop) -> None:
    client = client_of(shop.bob)
    month = months()[-1]
    page = get(client, shop.url(f"statements/{month:%Y-%m}:search"))
    (download,) = (href for link in page.find("a") if (href := attribute(link, "href") or "").endswith("search.csv"))
    response = client.get(download)
    assert response["Content-Disposition"] == f'attachment; filename="chargeback-{month:%Y-%m}-search.csv"'
    rows = list(csv.DictReader(io.StringIO(response.content.decode())))
    assert {row["team"] for row in rows} == {"search"}


def test_months_reach_back_as_far_as_one_likes(shop: Shop) -> None:
    client = client_of(shop.bob)
    url = shop.url("statements")
    for _ in range(3):
        links = {text_of(link): attribute(link, "href") or "" for link in get(client, url).find("a")}
        assert links["Earlier"] != url
        url = links["Earlier"]
