"""Pools of shared cost through the API: set from a month on, ordered, previewed, and never in a closed month."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from apps.core.money import pico_from_usd
from apps.core.periods import month_before, next_month
from apps.core.tenancy import tenant
from apps.reports import allocation, chargeback
from apps.reports.models_allocation import AllocationPool
from apps.reports.statements import statements
from apps.teams.services import create_team
from apps.usage import sql
from apps.usage.models import OpenMonth
from apps.usage.services import roll_up
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.world import make_event

NOW = datetime.now(UTC)
MONTH = NOW.date().replace(day=1)
LAST, NEXT = month_before(MONTH), next_month(MONTH)
COST = Decimal("0.0045")
LICENCE = {"name": "Gateway", "source": "amount", "amount_usd": "100", "method": "even"}


def text(month):
    return f"{month:%Y-%m}"


@pytest.fixture
def org():
    org = make_org()
    for slug in ("search", "legal", "platform"):
        create_team(org=org, slug=slug)
    return org


@pytest.fixture
def api(org):
    return make_api(org)


def make(api, **fields):
    response = api.post("allocations", {**LICENCE, **fields})
    assert response.status_code == 201, response.content
    return response.json()


def change(api, pool, **fields):
    return api.client.put(
        f"/api/v1/allocations/{pool['id']}",
        {**LICENCE, **fields},
        content_type="application/json",
        headers=api.headers,
    )


def end(api, pool, month):
    return api.client.delete(f"/api/v1/allocations/{pool['id']}?month={text(month)}", headers=api.headers)


def names(api, month=MONTH):
    return [row["name"] for row in api.get("allocations", month=text(month)).json()["data"]]


def preview(api, **fields):
    response = api.post("allocations/preview", fields)
    assert response.status_code == 200, response.content
    return response.json()


def after(looked):
    return {row["team"]: Decimal(row["after_usd"]) for row in looked["teams"]}


def refused(response, code, param, status=400):
    assert response.status_code == status, response.content
    problem = response.json()
    assert (problem["code"], problem.get("param")) == (code, param), problem
    return problem["detail"]


def close_until(org, month):
    """As if all months before this one were closed."""
    with tenant(org):
        sql.open_month(org.pk)
        OpenMonth.objects.for_org(org).update(first_open_month=month)


# --- what is kept ---


def test_a_pool_is_kept_as_it_was_said(api):
    made = make(api, source="team", team="platform", method="fixed", amount_usd=None,
                percents={"search": "62.50", "legal": "37.5"}, order=7, until_month=text(NEXT))  # fmt: skip
    assert made["percents"] == {"legal": "37.5", "search": "62.5"}
    assert (made["order"], made["from_month"], made["until_month"]) == (7, text(MONTH), text(NEXT))
    assert api.get(f"allocations/{made['id']}").json() == made
    assert api.get("allocations").json() == {"data": [made], "next": None}
    assert names(api, NEXT) == []


def test_pools_come_in_their_order_and_a_new_one_last(api):
    make(api, name="b", order=5)
    make(api, name="a", order=2)
    make(api, name="c")
    assert names(api) == ["a", "b", "c"]


def test_a_change_leaves_the_months_before(api, org):
    old = make(api, from_month=text(LAST))
    response = change(api, old, amount_usd="250")
    assert response.status_code == 200, response.content
    new = response.json()
    assert (new["replaces"], new["order"], new["from_month"]) == (old["id"], old["order"], text(MONTH))
    (before,), (now,) = (api.get("allocations", month=text(month)).json()["data"] for month in (LAST, MONTH))
    assert (before["id"], before["amount_usd"], before["until_month"]) == (old["id"], "100.000000000000", text(MONTH))
    assert (now["id"], now["amount_usd"]) == (new["id"], "250.000000000000")


def test_a_change_of_the_first_month_takes_the_pools_place(api):
    old = make(api)
    assert change(api, old, name="Proxy").status_code == 200
    assert names(api) == ["Proxy"]
    assert names(api, LAST) == []


def test_a_pool_ends_with_a_month(api):
    pool = make(api, from_month=text(LAST))
    assert end(api, pool, MONTH).status_code == 204
    assert (names(api, LAST), names(api)) == (["Gateway"], [])
    refused(end(api, pool, MONTH), "months_invalid", "from_month")


def test_an_ended_name_and_order_are_free_again(api):
    end(api, make(api, from_month=text(LAST), order=1), MONTH)
    make(api, order=1)
    assert names(api) == ["Gateway"]


def test_a_pool_is_moved_from_a_month_on(api):
    first, second, third = (make(api, name=name, from_month=text(LAST)) for name in ("a", "b", "c"))
    moved = api.post(f"allocations/{third['id']}/move", {"direction": "up"})
    assert moved.status_code == 200, moved.content
    assert (names(api, LAST), names(api)) == (["a", "b", "c"], ["a", "c", "b"])
    assert api.post(f"allocations/{first['id']}/move", {"direction": "up"}).json()["id"] == first["id"]
    refused(api.post(f"allocations/{second['id']}/move", {"direction": "up"}), "months_invalid", "from_month")


def test_everything_is_audited(api):
    pool = make(api, from_month=text(LAST))
    changed = change(api, pool, amount_usd="5").json()
    make(api, name="b")
    moved = api.post(f"allocations/{changed['id']}/move", {"direction": "down"}).json()
    end(api, moved, MONTH)
    entries = [row for row in api.get("audit").json()["data"] if row["action"].startswith("pools.")]
    assert [row["action"].removeprefix("pools.") for row in entries] == [
        "ended", "reordered", "created", "changed", "created",
    ]  # fmt: skip
    assert entries[3]["data"]["amount_usd"] == "5.000000000000"


# --- what is refused ---


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"name": "a\x85b"}, "name_invalid", "name"),
        ({"source": "somewhere"}, "source_unknown", "source"),
        ({"method": "dice"}, "method_unknown", "method"),
        ({"amount_usd": None}, "pool_field_missing", "amount_usd"),
        ({"source": "team", "amount_usd": None}, "pool_field_missing", "team"),
        ({"team": "search"}, "pool_field_unused", "team"),
        ({"method": "usage"}, "pool_field_missing", "driver"),
        ({"driver": "events"}, "pool_field_unused", "driver"),
        ({"amount_usd": "0"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "-1"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "1e3"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "1000000000001"}, "amount_invalid", "amount_usd"),
        ({"amount_usd": "0.0000000000001"}, "amount_invalid", "amount_usd"),
        ({"source": "contract", "contract": 1, "amount_usd": None}, "contract_unknown", "contract"),
        ({"method": "direct", "to_team": "nobody"}, "team_unknown", "to_team"),
        ({"source": "team", "team": "nobody", "amount_usd": None}, "team_unknown", "team"),
        ({"method": "fixed", "percents": {"nobody": "100"}}, "team_unknown", "percents"),
        ({"method": "fixed", "percents": {"search": "50", "legal": "49.99"}}, "percents_invalid", "percents"),
        ({"method": "fixed", "percents": {"search": "0", "legal": "100"}}, "percents_invalid", "percents"),
        ({"method": "fixed", "percents": {"search": "100.0000000"}}, "percents_invalid", "percents"),
        ({"method": "fixed"}, "pool_field_missing", "percents"),
        ({"method": "usage", "driver": "kilowatts"}, "driver_invalid", "driver"),
        ({"method": "proportional", "base": "luck"}, "base_unknown", "base"),
        ({"capacity": 5}, "pool_field_unused", "capacity"),
        ({"order": 0}, "order_invalid", "order"),
        ({"order": 10_001}, "order_invalid", "order"),
        ({"from_month": "2026-13"}, "month_invalid", "month"),
        ({"from_month": "2026-05", "until_month": "2026-05"}, "months_invalid", "until_month"),
        ({"colour": "red"}, "field_unknown", "colour"),
        (
            {"source": "team", "team": "search", "amount_usd": None, "method": "direct", "to_team": "search"},
            "pool_cycle",
            "method",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(api, fields, code, param):
    refused(api.post("allocations", {**LICENCE, **fields}), code, param)
    pool = make(api)
    changes = {name: value for name, value in fields.items() if name != "until_month"}
    if code != "months_invalid":
        refused(change(api, pool, **changes), code, param)
    assert api.get("allocations").json()["data"] == [pool]


def test_percentages_say_what_they_add_up_to(api):
    thirds = dict.fromkeys(("search", "legal", "platform"), "33.33")
    said = refused(
        api.post("allocations", {**LICENCE, "method": "fixed", "percents": thirds}), "percents_invalid", "percents"
    )
    assert "99.99" in said


def test_a_name_and_an_order_stand_once_in_a_month(api):
    make(api, from_month=text(NEXT), order=3)
    refused(api.post("allocations", {**LICENCE, "order": 4}), "pool_name_taken", "name")
    refused(api.post("allocations", {**LICENCE, "name": "b", "order": 3}), "pool_order_taken", "order")
    make(api, order=3, until_month=text(NEXT))


def test_circles_are_refused_whichever_pool_makes_them(api):
    team = {"source": "team", "amount_usd": None, "method": "direct"}
    first = make(api, name="a", **team, team="search", to_team="legal")
    refused(
        api.post("allocations", {"name": "b", **team, "team": "legal", "to_team": "search"}), "pool_cycle", "method"
    )
    refused(api.post("allocations", {"name": "b", **team, "team": "search", "to_team": "legal"}),
            "pool_source_taken", "source")  # fmt: skip
    second = make(api, name="b", **team, team="legal", to_team="platform")
    # The other way round the first would give to a team whose cost is shared by then.
    response = api.post(f"allocations/{second['id']}/move", {"direction": "up"})
    assert "'a' gives a part to team 'legal'" in refused(response, "pool_cycle", "method")
    assert names(api) == ["a", "b"]
    refused(change(api, first, name="a", **team, team="search", to_team="search"), "pool_cycle", "method")


def test_a_pool_of_a_later_month_counts(api):
    team = {"source": "team", "amount_usd": None, "method": "direct"}
    make(api, name="later", **team, team="legal", to_team="platform", from_month=text(NEXT), order=1)
    new = {"name": "new", "source": "amount", "amount_usd": "1", "method": "direct", "to_team": "legal", "order": 2}
    assert text(NEXT) in refused(api.post("allocations", new), "pool_cycle", "method")
    make(api, **new, until_month=text(NEXT))


def test_a_closed_month_is_never_changed(api, org):
    pool = make(api, from_month=text(LAST))
    close_until(org, MONTH)
    before = api.get("allocations", month=text(LAST)).json()
    refused(
        api.post("allocations", {**LICENCE, "name": "b", "from_month": text(LAST)}), "month_closed", "from_month", 409
    )
    refused(change(api, pool, from_month=text(LAST)), "month_closed", "from_month", 409)
    refused(end(api, pool, LAST), "month_closed", "from_month", 409)
    move = {"direction": "up", "from_month": text(LAST)}
    refused(api.post(f"allocations/{pool['id']}/move", move), "month_closed", "from_month", 409)
    assert api.get("allocations", month=text(LAST)).json() == before
    assert change(api, pool, amount_usd="7").status_code == 200
    (row,) = api.get("allocations", month=text(LAST)).json()["data"]
    assert row["amount_usd"] == "100.000000000000"


def test_a_month_has_a_most_of_pools(api, org, monkeypatch):
    monkeypatch.setattr("apps.reports.pools.POOLS_MAX", 2)
    make(api, name="a")
    make(api, name="b")
    refused(api.post("allocations", {**LICENCE, "name": "c"}), "too_many_pools", None)


def test_pools_are_found_by_nobody_else_and_by_no_pinned_key(api, org):
    pool = make(api)
    other = make_api(make_org())
    assert other.get(f"allocations/{pool['id']}").status_code == 404
    assert change(other, pool).status_code == 404
    assert end(other, pool, MONTH).status_code == 404
    pinned = make_api(org, team="search")
    assert pinned.get("allocations").json()["code"] == "pinned_dimension"


def test_history_is_granted_to_nobody(org, api):
    make(api)
    with tenant(org), pytest.raises(Exception, match="permission denied"):
        AllocationPool.objects.for_org(org).update(name="other")


# --- what it comes to ---


def spend(api, org):
    """legal 2 calls, search 3, and 1 of nobody; half of it rolled up."""
    api.send(*(make_event(team=team, occurred_at=NOW.isoformat()) for team in ("legal", "search", "search")))
    with as_worker():
        roll_up(org)
    api.send(*(make_event(team=team, occurred_at=NOW.isoformat()) for team in ("legal", "search")),
             make_event(occurred_at=NOW.isoformat()))  # fmt: skip


def test_without_pools_it_is_what_statements_say(api, org):
    spend(api, org)
    api.post("contracts", {"kind": "seats", "name": "s", "amount_usd": "31", "team": "legal",
                           "starts_at": datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC).isoformat()})  # fmt: skip
    api.post("contracts", {"kind": "grant", "name": "g", "amount_usd": "0.001",
                           "starts_at": datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC).isoformat()})  # fmt: skip
    looked = preview(api)
    assert after(looked) == {one.team: Decimal(one.total_usd) for one in statements(org, MONTH, at=NOW)}
    assert looked["shares"] == []


def test_a_preview_shows_before_and_after_and_changes_nothing(api, org):
    spend(api, org)
    licence = make(api, amount_usd="10")
    looked = preview(api, pool={**LICENCE, "amount_usd": "25", "method": "usage", "driver": "events"},
                     replaces=licence["id"])  # fmt: skip
    assert after(looked) == {"legal": 2 * COST + 10, "search": 3 * COST + 15, None: COST}
    assert {row["team"]: Decimal(row["before_usd"]) for row in looked["teams"]} == {
        "legal": 2 * COST + 5, "search": 3 * COST + 5, None: COST,
    }  # fmt: skip
    assert Decimal(looked["total"]["after_usd"]) - Decimal(looked["total"]["before_usd"]) == 15
    assert [(row["pool"], row["team"], row["driver"], row["share"]) for row in looked["shares"]] == [
        (None, "legal", "events 2 of 5", "0.4"),
        (None, "search", "events 3 of 5", "0.6"),
    ]
    assert names(api) == ["Gateway"]
    assert after(preview(api, replaces=licence["id"])) == {"legal": 2 * COST, "search": 3 * COST, None: COST}
    refused(api.post("allocations/preview", {"pool": LICENCE}), "pool_name_taken", "name")


@pytest.mark.parametrize(
    ("fields", "shares"),
    [
        ({"method": "usage", "driver": "tokens"}, {"legal": "0.4", "search": "0.6"}),
        ({"method": "usage", "driver": "output_tokens"}, {"legal": "0.4", "search": "0.6"}),
        ({"method": "proportional"}, {"legal": "0.4", "search": "0.6"}),
        ({"method": "proportional", "base": "direct_and_throughput"}, {"legal": "0.4", "search": "0.6"}),
        ({"method": "even"}, {"legal": "0.5", "search": "0.5"}),
        ({"method": "direct", "to_team": "platform"}, {"platform": "1"}),
        ({"method": "fixed", "percents": {"legal": "25", "platform": "75"}}, {"legal": "0.25", "platform": "0.75"}),
        ({"method": "central"}, {None: None}),
        ({"method": "usage", "driver": "searches"}, {None: None}),
    ],
)
def test_each_method_weighs_what_it_says(api, org, fields, shares):
    spend(api, org)
    looked = preview(api, pool={**LICENCE, **fields})
    assert {row["team"]: row["share"] for row in looked["shares"]} == shares
    assert sum(Decimal(row["cost_usd"]) for row in looked["shares"]) == 100


def test_runs_count_where_they_began(api, org):
    """The team of the first event, in the month of the first event, rolled up or waiting."""
    month_start = datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC)
    early = (month_start - timedelta(hours=3)).isoformat()
    api.send(make_event(team="legal", run_id="old", occurred_at=early), make_event(team="legal", run_id="a"))
    with as_worker():
        roll_up(org)
    api.send(
        make_event(team="search", run_id="old"),
        make_event(team="search", run_id="a"),
        *(make_event(team="search", run_id=run) for run in ("b", "b", "c")),
        make_event(run_id="d"),
    )
    for _ in range(2):
        looked = preview(api, pool={**LICENCE, "method": "usage", "driver": "runs"})
        assert [(row["team"], row["driver"]) for row in looked["shares"]] == [
            ("legal", "runs 1 of 3"), ("search", "runs 2 of 3"),
        ]  # fmt: skip
        with as_worker():
            roll_up(org)


def test_late_usage_is_shared_with_its_team_and_weighs_in_no_proportion(api, org):
    close_until(org, MONTH)
    early = (datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC) - timedelta(hours=3)).isoformat()
    api.send(make_event(team="legal", occurred_at=early), make_event(team="search"))
    (share,) = preview(api, pool={**LICENCE, "method": "proportional"})["shares"]
    assert share["team"] == "search"
    moved = preview(api, pool={"name": "p", "source": "team", "team": "legal", "method": "even"})
    assert after(moved) == {"legal": 0, "search": 2 * COST}


def throughput(api, **fields):
    first = datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC)
    response = api.post("contracts", {
        "kind": "throughput", "name": "PTU", "provider": "azure", "model": "prod-*", "amount_usd": "1",
        "starts_at": first.isoformat(), "ends_at": (first + timedelta(hours=100)).isoformat(), **fields,
    })  # fmt: skip
    assert response.status_code == 201, response.content
    return response.json()["id"]


def test_throughput_is_shared_by_the_calls_that_it_covers(api, org):
    first = datetime(MONTH.year, MONTH.month, 1, 1, tzinfo=UTC).isoformat()
    ptu = throughput(api)
    covered = {"provider": "azure", "model": "Prod-4", "occurred_at": first}
    usage = {"input_tokens": 100, "output_tokens": 20}
    api.send(
        *(make_event(team="search", **covered, usage=usage) for _ in range(3)),
        make_event(team="legal", **covered, usage=usage),
        make_event(team="legal", occurred_at=NOW.isoformat()),
    )
    pool = {"name": "p", "source": "contract", "contract": ptu, "method": "usage", "driver": "tokens", "capacity": 960}
    looked = preview(api, pool=pool)
    assert [(row["kind"], row["team"], Decimal(row["cost_usd"]), row["driver"]) for row in looked["shares"]] == [
        ("throughput", "legal", Decimal("12.5"), "tokens 120 of 960"),
        ("throughput", "search", Decimal("37.5"), "tokens 360 of 960"),
        ("throughput_idle", "legal", Decimal("12.5"), "tokens 120 of 480"),
        ("throughput_idle", "search", Decimal("37.5"), "tokens 360 of 480"),
    ]
    assert after(looked).get(None, 0) == 0
    refused(api.post("allocations", {**pool, "driver": "runs"}), "driver_invalid", "driver")
    refused(api.post("allocations", {**pool, "capacity": 0}), "capacity_invalid", "capacity")


@pytest.mark.parametrize(
    ("terms", "counted"),
    [
        ({}, True),
        ({"service_tier": "standard"}, True),
        ({"service_tier": "priority"}, False),
        ({"ends_at": datetime(MONTH.year, MONTH.month, 1, 0, 30, tzinfo=UTC).isoformat()}, True),
        ({"starts_at": (datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC) + timedelta(days=1)).isoformat()}, False),
    ],
)
def test_calls_count_on_the_days_and_in_the_tier_of_the_contract(api, org, terms, counted):
    first = datetime(MONTH.year, MONTH.month, 1, 0, 10, tzinfo=UTC).isoformat()
    number = throughput(api, **terms)
    api.send(make_event(team="search", provider="azure", model="prod-4", occurred_at=first))
    pool = {"name": "p", "source": "contract", "contract": number, "method": "usage", "driver": "events"}
    (share,) = preview(api, pool=pool)["shares"]
    assert (share["team"] == "search") is counted


def test_what_drafts_are_made_of_adds_up(api, org):
    """The interface that statements use."""
    spend(api, org)
    make(api, method="proportional")
    make(api, name="Nobody's", source="unattributed", amount_usd=None, method="even")
    with tenant(org, repeatable_read=True):
        pools = allocation.pools_of(org, MONTH)
        uses = allocation.drivers_of(org, MONTH, pools)
        lines = allocation.contract_lines_of(org, MONTH)
    totals = chargeback.totals(uses, lines, chargeback.allocate(pools, uses, lines))
    assert totals[None] == 0
    assert sum(totals.values()) == pico_from_usd(6 * COST + 100)


def test_a_month_before_any_pool_has_none(api):
    make(api)
    assert names(api, date(1990, 1, 1)) == []
