"""Runs in pages: the list, one as a tree, its charts and its bounds, and the doors to it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest

from apps.core.cursors import cursor_of
from apps.core.money import sum_usd
from apps.portal.views import run as run_page
from apps.reports import runs as run_rows
from tests.portal.agent import CHILD, GRANDCHILD, RUN, STEPS, TIGHT, agent_run, call
from tests.portal.conftest import HOSTILE_NAME, client_of, make_shop
from tests.portal.reading import THIN, attribute, elements, find, get, number_of, text_of
from tests.portal.shop import HUGE, amounts_in, hold
from tests.usage.ledger import roll
from tests.world import make_event


@pytest.fixture(scope="module")
def agent():
    """Only looked at, never changed."""
    shop = make_shop()
    agent_run(shop, **TIGHT)
    return shop


@pytest.fixture
def viewer(agent):
    return client_of(agent.bob)


def run_url(shop, run_id):
    return shop.url("runs/" + quote(run_id, safe=""))


def listed(client, shop, query="range=30d"):
    return [text_of(next(find(cells[0], "a"))) for cells in get(client, shop.url(f"runs?{query}")).rows()]


def tree_rows(page):
    (section,) = page.find("section", aria_labelledby="tree")
    return page.rows_of(section)


def level(cells):
    return int(re.search(r"level-(\d)", attribute(cells[0], "class"))[1])


def shown(page):
    return [(level(cells), re.sub(r"[ \n]+", " ", text_of(cells[0])).strip()) for cells in tree_rows(page)]


# --- the list ----------------------------------------------------------------------------------------


def test_the_list_says_how_each_run_went(agent, viewer):
    rows = {text_of(next(find(cells[0], "a"))): cells for cells in get(viewer, agent.url("runs?range=30d")).rows()}
    assert list(rows) == [GRANDCHILD, CHILD, RUN]
    cells = rows[RUN]
    assert [text_of(cell).strip() for cell in (cells[1], cells[2], cells[4])] == [
        "success",
        "rag",
        f"3{THIN}min 40{THIN}s",
    ]
    assert [number_of(cell).value for cell in cells[5:8]] == [STEPS, 2, 1]
    assert text_of(cells[8]) == f"76.5{THIN}%"
    assert "+ 1 unpriced" in text_of(cells[9])
    assert f"child of {CHILD}" in text_of(rows[GRANDCHILD][0])
    assert attribute(next(find(cells[9], "a")), "href") == run_url(agent, RUN)
    doors = [attribute(link, "href") for link in find(rows[GRANDCHILD][0], "a")]
    assert doors == [run_url(agent, GRANDCHILD), run_url(agent, CHILD)]


def test_the_list_is_sorted_and_filtered_by_its_address(agent, viewer):
    assert listed(viewer, agent, "range=30d&sort=cost") == [RUN, CHILD, GRANDCHILD]
    assert listed(viewer, agent, "range=30d&with=retries") == [RUN]
    assert listed(viewer, agent, "range=30d&outcome=success") == [RUN]
    assert listed(viewer, agent, "range=30d&parent_run_id=") == [RUN]
    assert listed(viewer, agent, f"range=30d&parent_run_id={quote(RUN)}") == [CHILD]
    assert listed(viewer, agent, f"range=30d&run_id={quote(CHILD)}") == [CHILD]
    # A form sends every field, chosen or not.
    assert len(listed(viewer, agent, "range=30d&outcome=&status=&with=&run_id=&sort=newest")) == 3
    page = get(viewer, agent.url("runs?range=30d&status=ended&user=ana"))
    assert "None began in" in page.text
    remove = {attribute(link, "aria_label"): attribute(link, "href") for link in page.find("a")}
    assert len(get(viewer, remove["Remove the filter Status: ended"]).rows()) == 3


def test_the_list_goes_on_where_it_ended(monkeypatch):
    shop = make_shop()
    shop.api.send(*(call(f"r{n:02}", 60 * n) for n in range(7)))
    roll(shop.org)
    monkeypatch.setattr("apps.portal.views.runs.PAGE_ROWS", 3)
    client = client_of(shop.alice)
    for sort in ("newest", "cost"):
        seen, following = [], shop.url(f"runs?range=30d&sort={sort}")
        while following:
            page = get(client, following)
            seen += [text_of(cells[0]) for cells in page.rows()]
            following = page.link("next")
        assert sorted(seen) == [f"r{n:02}" for n in range(7)]


# The same in every process that collects these tests.
LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize("query", [
    f"run_id={HUGE}", "run_id=%00", "status=stopped&outcome=great&with=luck&sort=__class__", "cursor=AAAA",
    "cursor=" + cursor_of((LONG_AGO, "a\0b")), "sort=cost&cursor=" + cursor_of(("1e99999", "r")),
    "sort=cost&cursor=" + cursor_of((LONG_AGO, "r")), "parent_run_id=%00&workflow=%0A", "team=&project=&user=",
])  # fmt: skip
def test_no_query_breaks_the_list_or_a_run(agent, viewer, query):
    get(viewer, agent.url(f"runs?range=30d&{query}"))
    get(viewer, f"{run_url(agent, RUN)}?{query}")


# --- one run -----------------------------------------------------------------------------------------


def test_a_run_is_a_tree_of_steps_attempts_tools_and_child_runs(agent, viewer):
    rows = shown(get(viewer, run_url(agent, RUN)))
    step = [(1, f"Step {n} claude-sonnet-4-5") for n in range(12)]
    assert rows[:4] == step[:4]
    assert rows[4] == (2, f"child run {CHILD} 14 steps in 13{THIN}s")
    below = [row for row in rows[5:] if row[0] > 2]
    assert (4, f"child run {GRANDCHILD} 1 step") in below
    assert (5, "Call claude-sonnet-4-5") in below
    assert (3, "4 more calls") in below
    place = rows.index((1, "Step 4 3 attempts"))
    assert rows[place + 1 : place + 5] == [
        (2, "Attempt 1 claude-sonnet-4-5 error"),
        (2, "Attempt 2 claude-sonnet-4-5 retry error"),
        (2, "Beyond the bound of attempts of a step: 2. The run would have stopped here."),
        (2, "Attempt 3 claude-sonnet-4-5 retry"),
    ]
    assert (1, "Step 9 claude-opus-4-1, tool apply_patch escalation") in rows
    assert rows[-1] == (1, "Step 11 nobody-priced-it")


def test_every_cost_of_the_tree_opens_its_explanation_and_adds_up_to_the_run(agent, viewer):
    page = get(viewer, run_url(agent, RUN))
    own, costs = tree_rows(page), []
    for cells in own:
        if len(cells) < 6 or "child run" in text_of(cells[0]) or "attempts" in text_of(cells[0]) or level(cells) > 2:
            continue
        (link,) = find(cells[5], "a")
        href = attribute(link, "href")
        assert href == attribute(next(find(cells[0], "a")), "href")
        explained = get(viewer, href)
        assert "Cost, explained" in explained.text
        costs += amounts_in(cells[5])
    assert len(costs) == 13  # fourteen calls, one of them unpriced
    figure = next(page.find("dl", **{"class": "figures"}))
    (total,) = amounts_in(next(find(figure, "dd")))
    assert sum_usd(costs) == total
    assert "1 unpriced" in text_of(figure)
    assert "3 runs in all" in text_of(figure)


def test_bars_stand_where_their_calls_happened_and_are_cut_by_what_meters_cost(agent, viewer):
    page = get(viewer, run_url(agent, RUN))
    rows = [cells for cells in tree_rows(page) if level(cells) == 1]
    bars = {text_of(cells[0]).split(" claude")[0].strip(): list(find(cells[1], "rect")) for cells in rows}
    first = bars["Step 0"]
    # Nothing was read from the cache yet: written to it, input, output and reasoning.
    assert [attribute(part, "class") for part in first] == ["fill-5", "fill-1", "fill-2", "fill-4"]
    assert attribute(first[0], "x") == "0.00%"
    ends = [float(attribute(part, "x")[:-1]) + float(attribute(part, "width")[:-1]) for part in bars["Step 10"]]
    assert ends == sorted(ends)
    assert max(ends) <= 100.02
    (unpriced,) = bars["Step 11 nobody-priced-it"]
    assert attribute(unpriced, "class") == "fill-none"


def test_charts_draw_what_the_tables_say(agent, viewer):
    page = get(viewer, run_url(agent, RUN))
    specs = {attribute(one, "id"): one for one in page.find("script", type="application/json")}
    assert set(specs) == {"run-context", "run-cached", "run-cost"}
    regions = {attribute(one, "aria_label"): one for one in page.find("div", role="region")}
    numbers = "{}, numbers behind the chart"
    context, costs = (page.rows_of(regions[numbers.format(name)]) for name in ("Context per call", "Cost per call"))
    first = ["Call 1, step 0", "0", f"2{THIN}000", "40", f"2{THIN}040", f"0{THIN}%"]
    assert [text_of(cell) for cell in context[0]] == first
    assert text_of(context[5][0]) == "Call 6, step 4, attempt 2"
    assert [text_of(cell) for cell in costs[-1]][-1] == "unpriced"
    assert len(context) == len(costs) == 14
    assert "a bound would have stopped the run there" in page.text


def test_bounds_show_what_was_used_and_the_first_call_beyond(agent, viewer):
    page = get(viewer, run_url(agent, RUN))
    rows = page.rows_of(next(page.find("section", aria_labelledby="bounds")))
    lines = {text_of(cells[0]): [text_of(cell).strip() for cell in cells[1:]] for cells in rows}
    assert set(lines) == {"Cost, USD", "Steps", "Attempts of a step", "Time"}
    assert [line[0] for line in lines.values()].count("reached") == 3
    assert lines["Time"] == ["within", "—", f"1{THIN}h", "—"]
    assert lines["Steps"][1:3] == ["27", "15"]
    door = attribute(next(find(rows[2][4], "a")), "href")
    # The third attempt is the first beyond two.
    assert quote(f"{RUN}@86", safe="") in door
    # Child runs count on the root, so a child shows the same.
    child = get(viewer, run_url(agent, CHILD))
    there = child.rows_of(next(child.find("section", aria_labelledby="bounds")))
    assert [[text_of(cell) for cell in cells] for cells in there] == [
        [text_of(cell) for cell in cells] for cells in rows
    ]
    assert (1, "Beyond the bound of steps: 15. The run would have stopped here.") in shown(child)


def test_the_cost_bound_falls_on_the_call_that_passes_it(agent, viewer):
    """By plain sums over the whole tree in the order of time."""
    events = [event for run in (RUN, CHILD, GRANDCHILD) for event in agent.api.get("events", run_id=run).json()["data"]]
    events.sort(key=lambda event: (datetime.fromisoformat(event["occurred_at"]), event["event_id"]))
    spent, beyond = Decimal(0), None
    for event in events:
        spent += Decimal(event["cost_usd"] or 0)
        if spent > TIGHT["max_cost_usd"]:
            beyond = event["event_id"]
            break
    page = get(viewer, run_url(agent, RUN))
    rows = page.rows_of(next(page.find("section", aria_labelledby="bounds")))
    assert attribute(next(find(rows[0][4], "a")), "href").endswith(quote(beyond, safe=""))


def test_a_run_leads_upwards_and_down(agent, viewer):
    page = get(viewer, run_url(agent, GRANDCHILD))
    crumbs = [attribute(link, "href") for link in find(next(page.find("nav", aria_label="Breadcrumb")), "a")]
    assert crumbs == [agent.url(), agent.url("runs"), run_url(agent, RUN), run_url(agent, CHILD)]
    root = next(link for link in page.find("a") if text_of(link) == "Open the root run")
    assert attribute(root, "href") == run_url(agent, RUN)


def test_a_long_run_is_shown_page_by_page(monkeypatch):
    monkeypatch.setattr(run_page, "CALLS_SHOWN", 5)
    shop = make_shop()
    agent_run(shop)
    client = client_of(shop.alice)
    seen, numbers, children, following = [], [], 0, run_url(shop, RUN)
    while following:
        page = get(client, following)
        rows = tree_rows(page)
        children += sum(f"child run {CHILD} " in re.sub(r"[ \n]+", " ", text_of(cells[0])) for cells in rows)
        seen += [attribute(link, "href") for cells in rows if len(cells) == 6 for link in find(cells[5], "a")]
        numbers.append(re.search(r"Calls (\d+) to (\d+) of 14", page.text).groups())
        following = page.link("next")
    assert numbers == [("1", "5"), ("6", "10"), ("11", "14")]
    assert children == 1
    own = [href for href in seen if f"events/{quote(RUN, safe='')}%40" in href]
    assert len(own) == len(set(own)) == 14


def test_child_runs_that_are_not_shown_are_said(monkeypatch):
    monkeypatch.setattr(run_page, "CHILDREN_MAX", 2)
    monkeypatch.setattr(run_rows, "CHILDREN_MAX", 2)
    shop = make_shop()
    shop.api.send(call("top", 0), *(call(f"below-{n}", n + 1, parent_run_id="top") for n in range(4)))
    roll(shop.org)
    page = get(client_of(shop.alice), run_url(shop, "top"))
    assert sum("child run" in text for _, text in shown(page)) == 2
    assert "Not all child runs are shown" in page.text
    there = next(link for link in page.find("a") if text_of(link) == "open them")
    assert len(get(client_of(shop.alice), attribute(there, "href")).rows()) == 4


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_runs_that_are_their_own_ancestors_are_shown(parents):
    shop = make_shop()
    shop.api.send(*(call(run, n, parent_run_id=parent) for n, (run, parent) in enumerate(parents.items())))
    roll(shop.org)
    for run in parents:
        assert (1, "Call 1 claude-sonnet-4-5") in shown(get(client_of(shop.alice), run_url(shop, run)))


def test_a_run_without_a_call_of_its_own_shows_what_it_started():
    shop = make_shop()
    shop.api.send(call("below", 0, parent_run_id="only-named"))
    roll(shop.org)
    page = get(client_of(shop.alice), run_url(shop, "only-named"))
    assert "No call of its own" in page.text
    assert shown(page)[0] == (2, "child run below 1 step")


def test_names_in_a_run_are_text():
    shop = make_shop()
    said = {"model": HOSTILE_NAME, "tool_name": HOSTILE_NAME, "escalated_from": HOSTILE_NAME, "user": HOSTILE_NAME}
    shop.api.send(
        call(HOSTILE_NAME, 0, error_type=HOSTILE_NAME, status="error", parent_run_id=HOSTILE_NAME * 2, **said)
    )
    roll(shop.org)
    client = client_of(shop.alice)
    for url in (run_url(shop, HOSTILE_NAME), shop.url("runs?range=30d"), shop.url("events?range=30d")):
        page = get(client, url)
        assert "<script>alert" not in page.html
        assert "&lt;script&gt;alert" in page.html


def test_another_organization_has_no_such_run(agent):
    assert client_of(agent.charlie).get(run_url(agent, RUN)).status_code == 404
    other = make_shop()
    assert client_of(other.alice).get(run_url(other, RUN)).status_code == 404


# --- doors -------------------------------------------------------------------------------------------


def test_run_ids_lead_to_their_run(agent, viewer):
    def doors(url):
        return {attribute(one, "href") for one in elements(get(viewer, url).root) if one.name == "a"}

    assert {run_url(agent, RUN), run_url(agent, CHILD)} <= doors(agent.url("events?range=30d"))
    event = agent.url("events/" + quote(f"{CHILD}@65", safe=""))
    assert {run_url(agent, RUN), run_url(agent, CHILD)} <= doors(event)
    assert run_url(agent, RUN) in doors(agent.url("run-bounds"))


def test_a_reservation_leads_to_its_run():
    shop = make_shop()
    hold(shop, "0.4", run_id="held/run", team=None)
    client = client_of(shop.alice)
    page = get(client, shop.url("reservations"))
    assert run_url(shop, "held/run") in {attribute(link, "href") for link in page.find("a")}
    assert "No call of its own" in get(client, run_url(shop, "held/run")).text


# --- a long one --------------------------------------------------------------------------------------


def test_the_calls_of_a_long_run_have_pages():
    shop = make_shop()
    start = datetime.now(UTC) - timedelta(hours=2)
    at = [(start + timedelta(seconds=n)).isoformat() for n in range(150)]
    shop.api.send(*(make_event(run_id="long", step=n, occurred_at=when) for n, when in enumerate(at)))
    roll(shop.org)
    assert "Calls 1 to 100 of 150" in get(client_of(shop.alice), run_url(shop, "long")).text
