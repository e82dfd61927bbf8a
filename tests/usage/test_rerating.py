"""Re-rating through the API: what is previewed is what is posted, nothing else moves, and it can stop anywhere."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.teams.services import create_team
from apps.usage import repricing
from apps.usage.models import Rerating
from tests.api.tenants import make_api, make_org
from tests.database import owner_url
from tests.usage.reratings import (
    HALVED,
    LISTED,
    MODEL,
    act,
    contract,
    cost,
    costs_by,
    preview,
    read,
    rerate,
    settle,
    work,
)
from tests.world import Api, make_event, unique

# Every test here walks several batches.
pytestmark = pytest.mark.usefixtures("small_batches")


def test_what_is_previewed_is_what_is_posted_and_nothing_else_moves(org: Organization, api: Api) -> None:
    create_team(org=org, slug="search")
    events = [make_event(team="search" if n % 2 else None, user="u", run_id="r") for n in range(20)]
    others = [make_event(model="claude-haiku-4-5", run_id="r") for _ in range(5)]
    api.send(*events, *others)
    settle(org)
    before = costs_by(api, "team", "model")
    untouched = before[(None, "claude-haiku-4-5")]
    contract(api)

    found = preview(api)
    assert (found["state"], found["totals"]["events"]) == ("previewing", 0)
    work(org)
    seen = read(api, found)
    assert (seen["state"], seen["scanned"], seen["expected"]) == ("previewed", 25, 25)
    assert Decimal(seen["totals"]["difference_usd"]) == 20 * (HALVED - LISTED)
    assert [(line["team"], line["events"]) for line in seen["lines"]] == [("search", 10), (None, 10)]
    assert costs_by(api, "team", "model") == before

    act(api, found, "post")
    work(org)
    posted = read(api, found)
    assert posted["state"] == "posted"
    assert posted["totals"]["posted_usd"] == posted["totals"]["difference_usd"] == seen["totals"]["difference_usd"]
    assert [line["posted_usd"] for line in posted["lines"]] == [line["difference_usd"] for line in seen["lines"]]
    after = costs_by(api, "team", "model")
    assert after[(None, "claude-haiku-4-5")] == untouched
    assert Decimal(after[("search", MODEL)]) == Decimal(after[(None, MODEL)]) == 10 * HALVED
    assert cost(api, run_id="r") == cost(api, user="u") + Decimal(untouched)
    settle(org)
    assert costs_by(api, "team", "model") == after


def test_twice_changes_nothing(org: Organization, api: Api) -> None:
    api.send(*(make_event() for _ in range(9)))
    contract(api)
    first = rerate(api, org)
    settle(org)
    total = cost(api)
    assert act(api, first, "post")["state"] == "posted"
    work(org)
    again = rerate(api, org)
    assert again["totals"]["events"] == again["totals"]["posted_events"] == 0
    assert cost(api) == total == 9 * HALVED
    settle(org)


def test_a_missing_price_is_filled_in(org: Organization, api: Api) -> None:
    sent = api.send(*(make_event(model="in-house-7b", run_id="r") for _ in range(8)), make_event(run_id="r"))
    assert sent["unpriced"] == 8
    settle(org)
    contract(api, model="in-house-7b", rates={"input_tokens": "1", "output_tokens": "2"})
    done = rerate(api, org, filters={"priced": "false", "model": "in-house-7b"})
    assert done["totals"]["newly_priced"] == done["totals"]["posted_events"] == 8
    total = api.get("spend").json()["total"]
    assert (total["events"], total["unpriced_events"]) == (9, 0)
    assert Decimal(total["cost_usd"]) == LISTED + 8 * Decimal("0.0012")
    settle(org)
    assert {row["events"] for row in api.get("spend", group_by="priced").json()["rows"] if row["events"]} == {9}


def test_what_no_version_prices_becomes_unpriced(org: Organization, api: Api) -> None:
    own = contract(api, model="in-house-7b", rates={"input_tokens": "1", "output_tokens": "2"})
    api.send(*(make_event(model="in-house-7b") for _ in range(3)), make_event())
    api.post(f"contracts/{own['id']}/end", {"ends_at": own["starts_at"]})
    done = rerate(api, org)
    assert done["totals"]["newly_unpriced"] == 3
    total = api.get("spend").json()["total"]
    assert (total["events"], total["unpriced_events"], Decimal(total["cost_usd"])) == (4, 3, LISTED)
    settle(org)


def test_a_closed_month_stays_and_the_difference_is_in_the_open_one(org: Organization, api: Api) -> None:
    now = timezone.now()
    this_month = now.date().replace(day=1)
    last = datetime(this_month.year, this_month.month, 1, tzinfo=UTC) - timedelta(days=2)
    last_month = last.date().replace(day=1)
    api.send(*(make_event(occurred_at=last.isoformat()) for _ in range(4)), make_event())
    settle(org)
    with psycopg.connect(owner_url(), autocommit=True) as owner:
        owner.execute(
            "UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", [this_month, org.pk]
        )

    def statement(month: Any) -> Decimal:
        rows = api.get("statements", month=f"{month:%Y-%m}").json()["data"]
        return sum((Decimal(row["total_usd"]) for row in rows), Decimal(0))

    closed = statement(last_month)
    contract(api)
    done = rerate(api, org, **{"from": (last - timedelta(days=5)).isoformat()})
    assert [(line["month"], line["booked_month"]) for line in done["lines"]] == [
        (str(last_month), str(this_month)),
        (str(this_month), str(this_month)),
    ]
    assert statement(last_month) == closed == 4 * LISTED
    assert statement(this_month) == HALVED + 4 * (HALVED - LISTED)
    settle(org)


def test_it_stops_between_batches_and_goes_on_where_it_was(org: Organization, api: Api) -> None:
    api.send(*(make_event() for _ in range(20)))
    contract(api)
    found = preview(api)
    work(org, steps=1)
    assert act(api, found, "stop")["state"] == "stopped"
    work(org)
    assert read(api, found)["scanned"] == 7
    assert act(api, found, "resume")["state"] == "previewing"
    work(org)
    act(api, found, "post")
    work(org, steps=2)
    act(api, found, "stop")
    work(org)
    halfway = read(api, found)
    assert (halfway["scanned"], halfway["totals"]["posted_events"]) == (14, 14)
    assert cost(api) == 14 * HALVED + 6 * LISTED
    act(api, found, "resume")
    work(org)
    assert cost(api) == 20 * HALVED
    assert read(api, found)["totals"]["posted_events"] == 20
    settle(org)


def test_a_batch_that_breaks_leaves_nothing_half(org: Organization, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.send(*(make_event() for _ in range(10)))
    contract(api)
    found = preview(api)
    work(org)
    act(api, found, "post")
    advance = repricing._advance

    def breaks(*arguments: Any) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(repricing, "_advance", breaks)
    with pytest.raises(RuntimeError):
        work(org)
    assert cost(api) == 10 * LISTED
    monkeypatch.setattr(repricing, "_advance", advance)
    work(org)
    assert cost(api) == 10 * HALVED
    settle(org)


def test_two_workers_post_once(org: Organization, api: Api) -> None:
    api.send(*(make_event() for _ in range(60)))
    contract(api)
    found = preview(api)
    work(org)
    act(api, found, "post")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, [org] * 12))
    work(org)
    assert read(api, found)["totals"]["posted_events"] == 60
    assert cost(api) == 60 * HALVED
    settle(org)


def test_events_that_come_after_the_preview_are_not_touched(org: Organization, api: Api) -> None:
    api.send(*(make_event() for _ in range(3)))
    own = contract(api, starts_at="2026-01-01T00:00:00Z")
    found = preview(api, catalog_version=1)
    work(org)
    # Before everything that the preview has seen, and priced by the contract already.
    early = (timezone.now() - timedelta(days=20)).isoformat()
    api.send(make_event(occurred_at=early), make_event())
    act(api, found, "post")
    work(org)
    done = read(api, found)
    assert (done["scanned"], done["totals"]["posted_events"]) == (3, 3)
    assert own["rates"] == {"input_tokens": "1.500000"}
    assert cost(api, **{"from": "2026-01-01T00:00:00Z"}) == 5 * HALVED
    settle(org)


def test_a_preview_that_was_overtaken_cannot_be_posted(org: Organization, api: Api) -> None:
    api.send(*(make_event() for _ in range(3)))
    contract(api)
    first = preview(api)
    work(org)
    contract(api, rates={"input_tokens": "2"}, name="newer")
    act(api, first, "post")
    work(org)
    assert read(api, first)["state"] == "stale"
    assert act(api, first, "post", 409)["code"] == "rerating_stale"
    assert cost(api) == 3 * LISTED
    second = rerate(api, org)
    assert second["totals"]["posted_events"] == 3
    settle(org)


def test_one_at_a_time_and_every_wrong_turn_is_named(org: Organization, api: Api) -> None:
    api.send(make_event())
    found = preview(api)
    now = timezone.now().isoformat()
    for status, code, body in (
        (409, "rerating_active", {"reason": "x", "from": "2026-01-01T00:00:00Z", "to": now}),
        (400, "range_invalid", {"reason": "x", "from": now, "to": "2026-01-01T00:00:00Z"}),
        (
            400,
            "filter_unknown",
            {"reason": "x", "from": "2026-01-01T00:00:00Z", "to": now, "filters": {"colour": "red"}},
        ),
        (
            400,
            "filter_invalid",
            {"reason": "x", "from": "2026-01-01T00:00:00Z", "to": now, "filters": {"priced": "si"}},
        ),
        (
            400,
            "catalog_version_unknown",
            {"reason": "x", "from": "2026-01-01T00:00:00Z", "to": now, "catalog_version": 10**6},
        ),
    ):
        response = api.post("reratings", body)
        assert (response.status_code, response.json()["code"]) == (status, code)
    assert act(api, found, "post", 409)["code"] == "rerating_not_previewed"
    assert act(api, found, "resume")["state"] == "previewing"
    work(org)
    assert act(api, found, "stop", 409)["code"] == "rerating_not_running"
    assert act(api, found, "resume", 409)["code"] == "rerating_not_stopped"
    assert api.post(f"reratings/{uuid.uuid4()}/post", {}).status_code == 404
    assert make_api(make_org()).get(f"reratings/{found['id']}").status_code == 404


def test_who_when_and_why_are_in_the_audit_log(org: Organization, api: Api) -> None:
    api.send(make_event())
    contract(api)
    done = rerate(api, org)
    with psycopg.connect(owner_url()) as owner:
        entries = owner.execute(
            "SELECT action, actor, data FROM audit_auditentry WHERE organization_id = %s AND subject = %s"
            " ORDER BY sequence",
            [org.pk, done["id"]],
        ).fetchall()
    assert [action for action, _, _ in entries] == ["reratings.previewed", "reratings.posting", "reratings.posted"]
    assert {actor for _, actor, _ in entries} == {done["actor"]}
    data = [entry if isinstance(entry, dict) else json.loads(entry) for _, _, entry in entries]
    assert {entry["reason"] for entry in data} == {"the contract was signed in January"}
    assert data[-1]["difference_usd"] == "-0.001500000000"
    with tenant(org):
        assert Rerating.objects.for_org(org).count() == 1


def test_a_worker_finds_it_by_the_tick_and_clears_the_flag(org: Organization, api: Api) -> None:
    from apps.organizations.selectors import organizations_rerating

    api.send(make_event(team=unique("t")))
    preview(api)
    assert org.pk in {found.pk for found in organizations_rerating()}
    work(org)
    assert org.pk not in {found.pk for found in organizations_rerating()}
