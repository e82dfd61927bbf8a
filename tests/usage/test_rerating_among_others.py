"""Re-rating beside what else changes money: names, late events, other re-ratings, other versions of the catalog."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import psycopg
import pytest
import time_machine
from django.utils import timezone

from apps.core import tenancy
from apps.core.periods import month_before
from apps.organizations.models import Organization
from apps.pricing.catalog import PublishedModel, PublishedPrice
from apps.pricing.services import publish_catalog
from apps.teams.services import create_team
from apps.usage import postings
from tests.api.tenants import make_api
from tests.database import as_worker, owner_url
from tests.usage import ledger
from tests.usage.reratings import HALVED, LISTED, act, contract, cost, costs_by, preview, read, rerate, settle, work
from tests.world import Api, make_event, unique


def post_names(org: Organization) -> int:
    org.refresh_from_db()
    with as_worker():
        return postings.attribute_known_names(org)


@pytest.fixture
def model() -> dict[str, Any]:
    """A model of which each publication says the input price anew."""
    name = unique("lab")

    def publish(micro_usd: int) -> int:
        price = PublishedPrice("standard", datetime(2020, 1, 1, tzinfo=UTC), {"input_tokens": micro_usd})
        offered = PublishedModel(name, "m-1", {"equals": "m-1"}, (price,))
        with as_worker():
            return publish_catalog(models=[offered], source=name, source_version=str(micro_usd)).version

    return {"publish": publish, "event": {"provider": name, "model": "m-1", "usage": {"input_tokens": 1_000_000}}}


def test_a_corrected_price_is_chosen_by_its_version(org: Organization, api: Api, model: Any) -> None:
    unpriced = make_event(**model["event"])
    api.send(unpriced)
    first = model["publish"](2_000_000)
    api.send(make_event(**model["event"]), make_event())
    second = model["publish"](3_000_000)

    done = rerate(api, org)
    assert (done["catalog_version"], done["totals"]["newly_priced"]) == (second, 1)
    assert cost(api) == 3 + 3 + LISTED
    settle(org)

    older = rerate(api, org, catalog_version=first, filters={"model": "m-1"})
    assert (older["totals"]["events"], Decimal(older["totals"]["posted_usd"])) == (2, Decimal(-2))
    assert cost(api) == 2 + 2 + LISTED
    settle(org)

    before_any = rerate(api, org, catalog_version=first - 1, filters={"model": "m-1"})
    assert before_any["totals"]["newly_unpriced"] == 2
    total = api.get("spend").json()["total"]
    assert (Decimal(total["cost_usd"]), total["unpriced_events"]) == (LISTED, 2)
    settle(org)
    assert rerate(api, org, catalog_version=first - 1)["totals"]["events"] == 0


def test_money_that_was_priced_again_moves_with_its_name_and_the_other_way_round(org: Organization, api: Api) -> None:
    api.send(make_event(team="search", user="u", run_id="r"), make_event(team="labs", user="u", run_id="r"))
    own = contract(api)
    done = rerate(api, org)
    assert [line["team"] for line in done["lines"]] == [None]

    create_team(org=org, slug="search")
    assert post_names(org) == 1
    assert costs_by(api, "team") == {("search",): f"{HALVED:.12f}", (None,): f"{HALVED:.12f}"}
    settle(org)

    api.post(f"contracts/{own['id']}/end", {"ends_at": own["starts_at"]})
    back = rerate(api, org, filters={"team": "search"})
    assert [(line["team"], line["posted_events"]) for line in back["lines"]] == [("search", 1)]
    assert costs_by(api, "team") == {("search",): f"{LISTED:.12f}", (None,): f"{HALVED:.12f}"}
    rest = rerate(api, org, filters={"team": "", "contract_id": str(own["id"])})
    assert [(line["team"], line["posted_events"]) for line in rest["lines"]] == [(None, 1)]
    assert cost(api) == cost(api, run_id="r") == cost(api, user="u") == 2 * LISTED
    settle(org)


def test_a_name_that_is_posted_after_a_re_rating_is_the_latest_word(
    org: Organization, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run that posts names had begun before."""
    api.send(make_event(team="search"), make_event(team="search"))
    create_team(org=org, slug="search")
    contract(api)
    found = preview(api)
    work(org)
    act(api, found, "post")
    turns = count(1)

    def batches(org: Organization) -> AbstractContextManager[None]:
        if next(turns) == 3:  # the names, the first event, and before the second
            work(org)
        return tenancy.tenant(org)

    monkeypatch.setattr(postings, "EVENTS_A_BATCH", 1)
    monkeypatch.setattr(postings, "tenant", batches)
    assert post_names(org) == 2
    assert len(api.get("events", team="search").json()["data"]) == 2
    assert costs_by(api, "team") == {("search",): f"{2 * HALVED:.12f}"}
    settle(org)
    assert rerate(api, org)["totals"]["events"] == 0


def test_what_came_between_two_previews_is_in_the_second(org: Organization, api: Api) -> None:
    """Also where the worker of the first had a clock that was ahead."""
    api.send(make_event())
    contract(api)
    first = preview(api)
    with time_machine.travel(timezone.now() + timedelta(seconds=30), tick=True):
        work(org)
    api.send(make_event())
    assert read(api, first)["totals"]["events"] == 1
    contract(api, name="twice", rates={"input_tokens": "6"})
    second = preview(api)
    work(org)
    assert read(api, second)["totals"]["events"] == 2


def test_a_late_event_is_listed_in_the_month_of_its_call(org: Organization) -> None:
    books = ledger.Books(org, make_api(org))
    this_month = timezone.now().date().replace(day=1)
    call = datetime(this_month.year, this_month.month, 1, tzinfo=UTC) - timedelta(days=2)
    ledger.accept(books, make_event(), at=timezone.now())
    with psycopg.connect(owner_url(), autocommit=True) as owner:
        owner.execute(
            "UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", [this_month, org.pk]
        )
    ledger.accept(books, make_event(occurred_at=call.isoformat()), at=timezone.now())
    contract(books.api)
    done = rerate(books.api, org, **{"from": (call - timedelta(days=1)).isoformat()})
    assert [(line["month"], line["booked_month"], line["posted_events"]) for line in done["lines"]] == [
        (str(month_before(this_month)), str(this_month), 1),
        (str(this_month), str(this_month), 1),
    ]
    settle(org)


def test_any_number_of_price_changes_ends_at_the_last(org: Organization, api: Api) -> None:
    api.send(
        *(make_event(user=f"u{n % 2}", run_id=f"r{n % 3}") for n in range(6)),
        make_event(provider="openai", model="gpt-5-mini"),
    )
    untouched = costs_by(api, "model")["gpt-5-mini",]
    posted = Decimal(0)
    for rate in ("1.5", "0", "7.25", "3"):
        contract(api, name=rate, rates={"input_tokens": rate})
        done = rerate(api, org)
        assert done["totals"]["posted_usd"] == done["totals"]["difference_usd"]
        posted += Decimal(done["totals"]["posted_usd"])
        settle(org)
        assert cost(api) - Decimal(untouched) == 6 * (Decimal(rate) * 1000 + 15 * 100) / 10**6
    assert posted == 0
    assert costs_by(api, "model")["gpt-5-mini",] == untouched


@pytest.mark.parametrize(
    ("code", "param", "fields"),
    [
        ("range_invalid", "from", {"from": "0001-01-01T00:00:00Z"}),
        ("range_invalid", "to", {"to": "9999-12-31T23:59:59Z"}),
        ("catalog_version_unknown", "catalog_version", {"catalog_version": 10**30}),
        ("filter_invalid", "filters.price_id", {"filters": {"price_id": "-1"}}),
        ("invalid", "reason", {"reason": " "}),
        ("invalid", "reason", {"reason": "x" * 501}),
        ("invalid", "reason", {"reason": None}),
        ("invalid", "filters", {"filters": []}),
        ("invalid", None, {"filters": {"team": "\x00"}}),
        ("invalid", None, {"filters": {"team": "\ud800"}}),
        ("invalid", None, {"reason": "\ud800"}),
    ],
)
def test_what_cannot_be_asked_is_named(api: Api, code: str, param: str | None, fields: dict[str, Any]) -> None:
    now = timezone.now()
    body = {"reason": "tests", "from": (now - timedelta(days=1)).isoformat(), "to": now.isoformat(), **fields}
    response = api.post("reratings", body)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, code), problem
    assert param is None or problem.get("param") == param, problem


def test_who_may_only_read_or_sees_a_part_cannot_re_rate(org: Organization, api: Api) -> None:
    found = preview(api)
    reader, pinned = make_api(org, "read"), make_api(org, team="search")
    assert reader.get(f"reratings/{found['id']}").status_code == 200
    assert reader.get("reratings").json()["data"][0]["id"] == found["id"]
    for path in ("reratings", *(f"reratings/{found['id']}/{verb}" for verb in ("post", "stop", "resume"))):
        assert reader.post(path, {}).status_code == 403
        assert pinned.post(path, {}).status_code == 403
    assert pinned.get("reratings").status_code == 403
    assert pinned.get(f"reratings/{found['id']}").status_code == 403
    assert read(api, found)["state"] == "previewing"
