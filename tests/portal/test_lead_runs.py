"""A run that calls of several teams are in: what the lead of one of them sees of it."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_team
from tests.portal.conftest import Shop, client_of, make_person, make_shop
from tests.portal.reading import attribute, find, get, text_of
from tests.portal.shop import COST, amounts_in
from tests.usage.ledger import roll
from tests.world import make_event

# As a word of its own, so that it is found wherever it is shown.
OTHER = "growthcanary"
DEAR = {"team": OTHER, "model": "claude-opus-4-1", "usage": {"input_tokens": 400_000}}


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Only looked at, never changed."""
    return make_crossed()


@pytest.fixture(scope="module")
def lead(shop: Shop) -> Client:
    return make_lead(shop)


def make_crossed() -> Shop:
    shop = make_shop()
    for slug in ("search", "answers", OTHER):
        create_team(org=shop.org, slug=slug)
    shop.api.send(
        make_event(event_id="s1", team="search", run_id="cross"),
        make_event(event_id="s2", team="answers", run_id="cross", attempt=2),
        make_event(event_id=f"{OTHER}-1", run_id="cross", tool_name=f"{OTHER}-tool", status="error", **DEAR),
        make_event(event_id=f"{OTHER}-2", run_id="cross", escalated_from="gpt-5-mini", **DEAR),
        make_event(event_id="p1", team="search", run_id="mine"),
        make_event(event_id="c1", team="search", run_id="child", parent_run_id="mine"),
        make_event(event_id=f"{OTHER}-3", run_id="child", parent_run_id="mine", **DEAR),
        make_event(event_id=f"{OTHER}-4", run_id=f"{OTHER}-run", **DEAR),
        make_event(event_id="s3", team="search", run_id="below", parent_run_id=f"{OTHER}-run"),
    )
    roll(shop.org)
    return shop


def make_lead(shop: Shop) -> Client:
    person = make_person("lead")
    add_member(org=shop.org, user=person, role=Role.LEAD, teams=["answers", "search"], actor=None)
    return client_of(person)


def lines(client: Client, shop: Shop, query: str = "") -> dict[str, list[object]]:
    """The cells of each run of the list, by its name."""
    page = get(client, shop.url(f"runs?team=search&{query}"))
    return {text_of(next(find(cells[0], "a"))): cells for cells in page.rows()}


def test_a_runs_page_holds_the_calls_of_the_leads_teams_and_their_sums_alone(shop: Shop, lead: Client) -> None:
    response = lead.get(shop.url("runs/cross"))
    assert OTHER not in response.content.decode()
    page = get(lead, shop.url("runs/cross"))
    (cost, *_) = page.find("dd")
    assert amounts_in(cost) == [2 * COST]
    assert "2 calls of other teams not shown" in page.text
    assert "1 retry, 0 escalations, 0 errors" in page.text
    assert "Calls 1 to 2 of 2" in page.text
    whole = get(client_of(shop.alice), shop.url("runs/cross"))
    assert "of other teams" not in whole.text
    assert "1 retry, 1 escalation, 1 error" in whole.text
    assert "Calls 1 to 4 of 4" in whole.text


def test_a_child_run_is_summed_and_shown_by_the_leads_calls_alone(shop: Shop, lead: Client) -> None:
    response = lead.get(shop.url("runs/mine"))
    assert OTHER not in response.content.decode()
    page = get(lead, shop.url("runs/mine"))
    costs = [cost for cells in page.rows() for cost in amounts_in(cells[-1])]
    # The run's one call, the child run and its one call.
    assert costs[-3:] == [COST] * 3
    assert "more call" not in page.text


@pytest.mark.parametrize("sort", ["newest", "cost"])
def test_the_list_holds_the_sums_of_the_leads_teams(shop: Shop, lead: Client, sort: str) -> None:
    found = lines(lead, shop, f"sort={sort}")
    costs = {name: amounts_in(cells[-1]) for name, cells in found.items()}
    assert costs == {"cross": [2 * COST], "mine": [COST], "child": [COST], "below": [COST]}
    assert "2 calls of other teams not shown" in text_of(found["cross"][0])
    assert "of other teams" not in text_of(found["mine"][0])
    everything = lines(client_of(shop.alice), shop, f"sort={sort}")
    assert amounts_in(everything["cross"][-1]) != [2 * COST]


def test_a_parent_of_another_team_is_not_named(shop: Shop, lead: Client) -> None:
    assert "child of" not in text_of(lines(lead, shop)["below"][0])
    assert "child of mine" in text_of(lines(lead, shop)["child"][0])
    assert f"child of {OTHER}-run" in text_of(lines(client_of(shop.alice), shop)["below"][0])
    assert OTHER not in lead.get(shop.url("events/s3")).content.decode()
    links = [attribute(link, "href") for link in get(lead, shop.url("events/c1")).find("a")]
    assert {shop.url("runs/mine"), shop.url("runs/child")} <= set(links)


def test_pages_by_cost_hold_every_run_once_and_their_cursors_no_money(
    shop: Shop, lead: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.portal.views.runs.PAGE_ROWS", 1)
    seen, url = list[str](), shop.url("runs?team=search&sort=cost")
    for _ in range(4):
        page = get(lead, url)
        seen += [text_of(next(find(cells[0], "a"))) for cells in page.rows()]
        (url,) = [attribute(link, "href") for link in page.find("a", rel="next")] or [None]
    assert url is None
    assert sorted(seen) == ["below", "child", "cross", "mine"]


def test_the_fiftieth_child_run_of_others_hides_none_of_the_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_shop()
    create_team(org=shop.org, slug="search")
    create_team(org=shop.org, slug=OTHER)
    lead = make_lead(shop)
    monkeypatch.setattr("apps.reports.runs.CHILDREN_MAX", 1)
    monkeypatch.setattr("apps.portal.views.run.CHILDREN_MAX", 1)
    for number in range(3):
        shop.api.send(make_event(run_id=f"{OTHER}-{number}", parent_run_id="p", **DEAR))
    shop.api.send(make_event(team="search", run_id="p"), make_event(team="search", run_id="theirs", parent_run_id="p"))
    roll(shop.org)
    page = get(lead, shop.url("runs/p"))
    assert "theirs" in page.text
    assert "Not all child runs" not in page.text


def test_it_asks_as_often_for_many_calls_of_others_as_for_few() -> None:
    shop = make_crossed()
    lead = make_lead(shop)

    def asked(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert lead.get(shop.url(path)).status_code == 200
        return len(queries)

    paths = ("runs/cross", "runs?team=search")
    few = [asked(path) for path in paths]
    shop.api.send(*(make_event(run_id="cross", **DEAR) for _ in range(200)))
    shop.api.send(*(make_event(run_id=f"r{n % 40}", team=("search", OTHER)[n // 40]) for n in range(80)))
    roll(shop.org)
    assert [asked(path) for path in paths] == few
    (cost, *_) = get(lead, shop.url("runs/cross")).find("dd")
    assert amounts_in(cost) == [2 * COST]
