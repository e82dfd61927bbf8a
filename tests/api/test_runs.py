"""GET /api/v1/runs and /api/v1/runs/{run_id}: sums, filters, pages, pins and parameters that cannot be read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.budgets.runs import forget_runs
from apps.budgets.services import set_run_bound
from apps.core.cursors import cursor_of, position_of
from apps.core.meters import METERS
from apps.core.tenancy import tenant
from apps.reports.runs import CHOICES, FILTERS
from apps.teams.services import create_project, create_team, create_workflow, map_name
from apps.usage.postings import attribute_known_names
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.usage.ledger import roll
from tests.world import make_event, unique

NOW = datetime.now(UTC)
SINCE = (NOW - timedelta(days=9)).isoformat()


def event(run="r", minutes=60, **fields):
    return make_event(run_id=run, occurred_at=(NOW - timedelta(minutes=minutes)).isoformat(), **fields)


def send(org, api, *events):
    assert api.send(*events)["accepted"] == len(events)
    roll(org)


def found(api, **query):
    response = api.get("runs", **{"from": SINCE, **query})
    assert response.status_code == 200, response.json()
    return [run["run_id"] for run in response.json()["data"]]


def one(api, run_id="r"):
    response = api.get(f"runs/{run_id}")
    assert response.status_code == 200, response.json()
    return response.json()


def put(api, run="r", **fields):
    path = f"/api/v1/runs/{run}"
    return api.client.put(path, fields, content_type="application/json", headers=api.headers)


@pytest.fixture
def names(org):
    project = create_project(org=org, slug="answers", team=create_team(org=org, slug="search"))
    create_workflow(org=org, slug="rag", project=project)


# --- what it says ------------------------------------------------------------------------------------


def test_a_run_says_what_its_events_sum_to(org, api, names):
    usage = {
        "input_tokens": 100, "cache_read_tokens": 300, "cache_write_5m_tokens": 60, "cache_write_1h_tokens": 40,
        "output_tokens": 7, "reasoning_tokens": 5,
    }  # fmt: skip
    send(
        org,
        api,
        event(minutes=50, step=0, usage=usage, workflow="rag", user="ana", environment="prod", outcome="failure"),
        event(minutes=40, step=1, usage={"input_tokens": 500}, status="error"),
        event(minutes=30, step=1, attempt=2, usage={"input_tokens": 500}, escalated_from="gpt-5-mini"),
        event(minutes=20, step=2, usage={"output_tokens": 9}, model="nobody-priced-it", outcome="success"),
    )
    (listed,) = api.get("runs", **{"from": SINCE}).json()["data"]
    shown = one(api)
    assert {name: shown[name] for name in listed} == listed
    assert (listed["team"], listed["project"], listed["workflow"]) == ("search", "answers", "rag")
    assert (listed["user"], listed["environment"], listed["outcome"]) == ("ana", "prod", "success")
    assert (listed["status"], listed["duration_ms"]) == ("running", 30 * 60 * 1000)
    used = listed["usage"]
    counts = {"steps": 3, "events": 4, "retries": 1, "escalations": 1, "errors": 1, "unpriced_events": 1}
    assert {name: used[name] for name in counts} == counts
    # 300 of 100 + 300 + 60 + 40 + 500 + 500
    assert used["cache_hit_share"] == "0.200000"
    assert used["meters"] == {
        "input_tokens": 1100, "cache_read_tokens": 300, "cache_write_5m_tokens": 60, "cache_write_1h_tokens": 40,
        "output_tokens": 16, "reasoning_tokens": 5,
    }  # fmt: skip
    events = api.get("events", run_id="r").json()["data"]
    assert Decimal(used["cost_usd"]) == sum(Decimal(row["cost_usd"]) for row in events if row["cost_usd"])


def test_what_has_no_price_costs_nothing_known(org, api):
    send(org, api, event(model="nobody-priced-it", usage={"output_tokens": 1}))
    used = one(api)["usage"]
    assert (used["cost_usd"], used["unpriced_events"], used["cache_hit_share"]) == (None, 1, None)
    assert one(api)["tree"]["cost_usd"] is None


def test_one_run_is_there_before_it_is_rolled_up_and_the_list_says_how_fresh_it_is(org, api):
    send(org, api, event())
    fresh = api.get("runs", **{"from": SINCE}).json()["as_of"]
    assert datetime.fromisoformat(fresh) > NOW
    assert api.send(event(step=7), event("new"))["accepted"] == 2
    assert one(api)["usage"]["events"] == 2
    assert one(api, "new")["usage"]["events"] == 1
    listed = api.get("runs", **{"from": SINCE}).json()
    assert [run["run_id"] for run in listed["data"]] == ["r"]
    assert datetime.fromisoformat(listed["as_of"]) < datetime.fromisoformat(fresh)


def test_what_the_caller_says_of_a_run_wins_over_its_events(org, api):
    send(org, api, event(outcome="success"))
    assert put(api, status="ended", outcome="failure", units=3).status_code == 200
    (listed,) = api.get("runs", **{"from": SINCE}).json()["data"]
    assert (listed["status"], listed["outcome"], listed["units"]) == ("ended", "failure", 3)
    shown = one(api)
    assert (shown["status"], shown["outcome"], shown["units"]) == ("ended", "failure", 3)
    assert found(api, outcome="failure") == found(api, status="ended") == ["r"]
    assert found(api, outcome="success") == found(api, status="running") == []


def test_what_was_said_of_a_run_outlives_its_tally(org, api):
    send(org, api, event(outcome="success"), event("other"))
    put(api, status="ended", outcome="failure", units=3)
    before = one(api)
    with tenant(org), connection.cursor() as cursor:
        cursor.execute("UPDATE budgets_runtally SET last_at = last_at - interval '31 days'")
    with as_worker():
        assert forget_runs(org) == 1
    after = one(api)
    for name in ("status", "outcome", "units", "ended_at"):
        assert after[name] == before[name], name
    assert found(api, outcome="failure") == found(api, status="ended") == ["r"]
    assert found(api, status="running") == ["other"]
    put(api, status="running")
    assert one(api)["status"] == "running"


def test_a_run_shows_its_tree_and_its_bounds(org, api, names):
    set_run_bound(org=org, workflow="rag", bounds={"max_steps": 5, "max_cost_usd": Decimal("1.5")}, actor="tests")
    send(
        org,
        api,
        event("main", 50, workflow="rag"),
        event("child", 40, parent_run_id="main"),
        event("grandchild", 30, parent_run_id="child", model="nobody-priced-it"),
    )
    main, below = one(api, "main"), one(api, "grandchild")
    tree = main["tree"]
    assert (tree["runs"], tree["events"], tree["steps"], tree["unpriced_events"]) == (3, 3, 3, 1)
    assert Decimal(tree["cost_usd"]) == 2 * Decimal(main["usage"]["cost_usd"])
    assert (main["root_run_id"], below["root_run_id"], below["parent_run_id"]) == ("main", "main", "child")
    assert (main["bounds"]["max_steps"], main["bounds"]["max_cost_usd"]) == (5, "1.500000000000")
    assert below["bounds"] == main["bounds"]
    assert (main["steps"], main["usage"]["steps"], below["depth"]) == (3, 1, 2)
    assert found(api, parent_run_id="main") == ["child"]
    assert found(api, parent_run_id="") == ["main"]


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_runs_that_are_their_own_ancestors_end_somewhere(org, api, parents):
    send(org, api, *(event(run, parent_run_id=parent) for run, parent in parents.items()))
    for run in parents:
        assert one(api, run)["tree"]["runs"] == len(parents)
    assert set(found(api)) == set(parents)


def test_a_run_that_only_started_others_is_there(org, api):
    send(org, api, event("child", parent_run_id="only/named"))
    shown = one(api, "only/named")
    assert (shown["usage"], shown["tree"]["runs"], shown["status"]) == (None, 1, "running")
    assert api.get("runs/nobody").status_code == 404


# --- finding them ------------------------------------------------------------------------------------

FOUND = {
    "workflow": ("rag", {"workflow": "rag"}),
    "team": ("search", {"workflow": "rag"}),
    "project": ("answers", {"workflow": "rag"}),
    "environment": ("prod", {"environment": "prod"}),
    "user": ("ana", {"user": "ana"}),
    "outcome": ("success", {"outcome": "success"}),
    "parent_run_id": ("p", {"parent_run_id": "p"}),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_finds_runs_by(org, api, names, name):
    value, fields = FOUND[name]
    send(org, api, event("this", **fields), event("other", workflow="unknown", team="unknown", project="unknown"))
    assert found(api, **{name: value}) == ["this"]
    assert found(api, **{name: ""}) == ["other"]
    if name != "outcome":
        assert found(api, **{name: "unknown"}) == []


def test_it_finds_runs_with(org, api):
    send(
        org,
        api,
        event("retries", attempt=2),
        event("escalations", escalated_from="gpt-5-mini"),
        event("errors", status="error"),
        event("unpriced", model="nobody-priced-it"),
        event("plain"),
    )
    assert set(CHOICES["with"]) == {"retries", "escalations", "errors", "unpriced"}
    for word in CHOICES["with"]:
        assert found(api, **{"with": word}) == [word]


def test_every_filter_is_tried():
    assert set(FILTERS) == {*FOUND, "run_id", "status", "with"}


def test_it_finds_a_run_by_its_id(org, api):
    send(org, api, event("this/one"), event("other"))
    assert found(api, run_id="this/one") == ["this/one"]
    assert found(api, run_id="never") == found(api, run_id="") == []


def test_a_run_is_found_by_when_it_began(org, api):
    send(org, api, event("old", 120), event("old", 5), event("new", 60))
    middle = (NOW - timedelta(minutes=90)).isoformat()
    assert found(api, to=middle) == ["old"]
    assert found(api, **{"from": middle}) == ["new"]
    assert found(api) == ["new", "old"]


@pytest.mark.parametrize("sort", ["newest", "cost"])
def test_pages_hold_every_run_once(org, api, sort):
    # Ties in time and in cost, so that the id decides.
    send(org, api, *(event(f"r{n}", 60 + n // 3, usage={"output_tokens": n // 4}) for n in range(11)))
    seen, cursor = [], None
    for _ in range(10):
        query = {"from": SINCE, "limit": 2, "sort": sort, **({"cursor": cursor} if cursor else {})}
        answer = api.get("runs", **query).json()
        seen += answer["data"]
        if (cursor := answer["next"]) is None:
            break
    assert sorted(run["run_id"] for run in seen) == sorted(f"r{n}" for n in range(11))
    key = (lambda run: run["first_event_at"]) if sort == "newest" else (lambda run: Decimal(run["usage"]["cost_usd"]))
    assert [key(run) for run in seen] == sorted(map(key, seen), reverse=True)


# --- whose they are ----------------------------------------------------------------------------------


def test_a_pinned_key_reads_its_own_runs_and_no_sums_of_others(org, api, names):
    create_team(org=org, slug="growth")
    send(
        org,
        api,
        event("ours", workflow="rag", environment="prod"),
        event("theirs", team="growth", parent_run_id="ours"),
        event("nobodys"),
    )
    for pins in ({"team": "search"}, {"project": "answers"}, {"environment": "prod"}):
        pinned = make_api(org, "read", **pins)
        assert found(pinned) == ["ours"]
        assert one(pinned, "ours")["usage"]["events"] == 1
        of_the_tree = {"tree", "bounds", "root_run_id", "depth", "steps", "spent_usd", "children", "reached"}
        assert {one(pinned, "ours")[name] for name in of_the_tree} == {None}
        for run in ("theirs", "nobodys", "never"):
            assert pinned.get(f"runs/{run}").status_code == 404, run
    assert make_api(org, "read", team="search").get("runs", team="growth").json()["code"] == "pinned_dimension"


def test_a_pinned_key_reads_of_a_run_what_is_within_its_pins(org, api, names):
    """Where its events belong now: what came as `serach` is search's once that name is mapped."""
    create_team(org=org, slug="growth")
    dear = {"team": "growth", "model": "claude-opus-4-1", "status": "error", "parent_run_id": "r"}
    send(
        org,
        api,
        event(minutes=50, workflow="rag", environment="prod", usage={"input_tokens": 7}),
        event(minutes=40, team="serach", project="unknown", environment="prod", usage={"input_tokens": 5}),
        event(minutes=30, attempt=2, usage={"input_tokens": 90_000}, **dear),
    )
    pins = {"search": {"team": "search"}, "answers": {"project": "answers"}, "prod": {"environment": "prod"}}
    pinned = {name: make_api(org, "read", **pin) for name, pin in pins.items()}
    for name, (tokens, others) in {"search": (7, 2), "answers": (7, 2), "prod": (12, 1)}.items():
        shown = one(pinned[name])
        (listed,) = pinned[name].get("runs", **{"from": SINCE}).json()["data"]
        assert {key: shown[key] for key in listed} == listed
        used = shown["usage"]
        assert (used["meters"], used["retries"], used["errors"]) == ({"input_tokens": tokens}, 0, 0), name
        assert (used["events"], shown["other_events"]) == (3 - others, others), name
        events = pinned[name].get("events", run_id="r").json()["data"]
        assert Decimal(used["cost_usd"]) == sum(Decimal(row["cost_usd"]) for row in events)
        assert (shown["last_event_at"] == shown["first_event_at"]) == (others == 2)
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    org.refresh_from_db()
    with as_worker():
        assert attribute_known_names(org) == 1
    after = one(pinned["search"])
    assert (after["usage"]["meters"], after["other_events"]) == ({"input_tokens": 12}, 1)
    assert (one(api)["usage"]["events"], one(api)["other_events"]) == (3, 0)


def test_a_page_by_cost_goes_on_after_a_run_of_the_key_and_its_cursor_holds_no_cost(org, api, names):
    create_team(org=org, slug="growth")
    send(org, api, *(event(run, workflow="rag") for run in "abc"), event("theirs", team="growth"))
    pinned = make_api(org, "read", team="search")
    query = {"from": SINCE, "sort": "cost", "limit": 1}
    first = pinned.get("runs", **query).json()
    assert position_of(first["next"], list[str]) == [first["data"][0]["run_id"]]
    assert len(found(pinned, sort="cost", cursor=first["next"])) == 2
    for run_id in ("theirs", "never"):
        response = pinned.get("runs", **query, cursor=cursor_of((run_id,)))
        assert response.json()["code"] == "cursor_invalid", run_id
    assert found(api, sort="cost", cursor=cursor_of(("theirs",))) == ["c", "b", "a"]


def test_another_organization_has_none_of_them(org, api):
    send(org, api, event())
    elsewhere = make_api(make_org())
    assert found(elsewhere) == []
    assert elsewhere.get("runs/r").status_code == 404
    assert make_api(org, "ingest").get("runs").status_code == 403


# --- what cannot be read -----------------------------------------------------------------------------

AT, COST = NOW.isoformat(), "1.000000000000"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"sort": "oldest"}, "sort_unknown"),
        ({"status": "stopped"}, "parameter_invalid"),
        ({"status": ""}, "parameter_invalid"),
        ({"outcome": "great"}, "parameter_invalid"),
        ({"with": "luck"}, "parameter_invalid"),
        ({"user": "a\0b"}, "parameter_invalid"),
        ({"user": "u" * 257}, "parameter_invalid"),
        ({"model": "gpt-5"}, "parameter_unknown"),
        ({"limit": "201"}, "limit_invalid"),
        ({"limit": "0"}, "limit_invalid"),
        ({"from": "yesterday"}, "from_invalid"),
        ({"from": AT, "to": AT}, "range_empty"),
        ({"cursor": "x"}, "cursor_invalid"),
        ({"cursor": cursor_of((COST, "r"))}, "cursor_invalid"),
        ({"cursor": cursor_of((AT, "a\0b"))}, "cursor_invalid"),
        ({"cursor": cursor_of(("0001-01-01T00:00:00+14:00", "r"))}, "cursor_invalid"),
        ({"sort": "cost", "cursor": cursor_of((AT, "r"))}, "cursor_invalid"),
        ({"sort": "cost", "cursor": cursor_of(("NaN", "r"))}, "cursor_invalid"),
        ({"sort": "cost", "cursor": cursor_of(("1e999999", "r"))}, "cursor_invalid"),
    ],
)
def test_a_wrong_parameter_is_named(api, query, code):
    response = api.get("runs", **query)
    assert (response.status_code, response.json()["code"]) == (400, code)


TEXT = st.text(max_size=40) | st.sampled_from([*CHOICES["status"], AT, "", "%", "'", "\ud800", "x" * 300])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*FILTERS, "from", "to", "limit", "cursor", "sort", "else"]), TEXT, max_size=5))
def test_no_query_breaks_it(api, query):
    safe = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    assert api.get("runs", **safe).status_code in (200, 400)


@pytest.mark.parametrize("run_id", ["%00", "a%01b", "x" * 257])
def test_a_run_that_cannot_be_stored_is_none(api, run_id):
    assert api.get(f"runs/{run_id}").json()["code"] == "run_id_invalid"


def test_other_methods_are_refused(api):
    response = api.post("runs/r", {})
    assert (response.status_code, set(response["Allow"].split(", "))) == (405, {"GET", "HEAD", "OPTIONS", "PUT"})


# --- how much it asks --------------------------------------------------------------------------------


def test_it_asks_as_often_for_many_runs_and_calls_as_for_few(org, api):
    send(org, api, *(event(f"r{n}", usage={"input_tokens": 1}) for n in range(10)))
    few = asked(api, "runs", **{"from": SINCE}), asked(api, "runs/r1")
    for _ in range(2):
        send(org, api, *(event(unique("r"), step=n) for n in range(500)), *(event("r1", step=n) for n in range(500)))
    assert (asked(api, "runs", **{"from": SINCE, "limit": 200}), asked(api, "runs/r1")) == few
    assert max(few) <= 16


def asked(api, path, **query):
    with CaptureQueriesContext(connection) as queries:
        assert api.get(path, **query).status_code == 200
    return len(queries)


def test_meters_of_a_run_are_all_there_are(org, api):
    send(org, api, event(usage=dict.fromkeys(METERS, 2)))
    assert one(api)["usage"]["meters"] == dict.fromkeys(METERS, 2)


@pytest.mark.parametrize("path", ["runs", "runs/r"])
def test_what_takes_too_long_is_refused_with_a_way_out(org, api, monkeypatch, path):
    send(org, api, event())
    monkeypatch.setattr("apps.reports.runs_sql.list_runs", slow)
    monkeypatch.setattr("apps.reports.runs_sql.tree_sums", slow)
    monkeypatch.setattr("apps.usage.selectors.FIND_TIMEOUT_MS", 50)
    response = api.get(path)
    assert (response.status_code, response.json()["code"]) == (422, "query_too_slow")


def slow(*_, **__):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")
