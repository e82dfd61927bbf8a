"""A name that becomes known: the spend of events that came before moves, and nothing is lost or counted twice."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg

from apps.core.periods import month_before
from apps.ingest.record import read_batch
from apps.ingest.services import accept_batch, window_for
from apps.organizations.models import Organization
from apps.organizations.selectors import principal_for
from apps.teams.services import create_project, create_team, create_workflow, map_name
from apps.usage.postings import attribute_known_names
from apps.usage.services import reconcile, roll_up
from tests.database import as_worker, owner_url
from tests.world import World, make_event


def spend_by(world: World, *groups: str) -> dict[Any, Decimal]:
    rows = world.acme.api.get("spend", group_by=",".join(groups)).json()["rows"]
    return {tuple(row[group] for group in groups): Decimal(row["cost_usd"]) for row in rows if row["events"]}


def post_names(org: Organization) -> int:
    org.refresh_from_db()
    with as_worker():
        roll_up(org)
        moved = attribute_known_names(org)
        assert reconcile(org).differences == []
        roll_up(org)
        assert reconcile(org).differences == []
    return moved


def test_the_spend_of_a_mapped_name_moves_once(world: World) -> None:
    org, api = world.acme.org, world.acme.api
    search = create_team(org=org, slug="search")
    create_project(org=org, slug="answers", team=search)
    api.send(make_event(team="serach", user="u1", run_id="r1"), make_event(team="search"), make_event(team="other"))
    total = api.get("spend").json()["total"]
    assert spend_by(world, "team") == {("search",): Decimal("0.0045"), (None,): Decimal("0.009")}

    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    assert post_names(org) == 1
    assert spend_by(world, "team") == {("search",): Decimal("0.009"), (None,): Decimal("0.0045")}
    assert spend_by(world, "user", "team")[("u1", "search")] == Decimal("0.0045")
    assert api.get("spend").json()["total"] == total

    found = api.get("events", team="search").json()["data"]
    assert {event.get("team") for event in found} == {"serach", "search"}
    assert {event["attributed"]["team"] for event in found} == {"search"}

    assert post_names(org) == 0
    assert spend_by(world, "team") == {("search",): Decimal("0.009"), (None,): Decimal("0.0045")}


def test_a_workflow_that_is_created_later_brings_its_project_and_team(world: World) -> None:
    org, api = world.acme.org, world.acme.api
    api.send(make_event(workflow="rag"), make_event(workflow="rag"))
    project = create_project(org=org, slug="answers", team=create_team(org=org, slug="search"))
    create_workflow(org=org, slug="rag", project=project)
    assert post_names(org) == 2
    assert spend_by(world, "team", "project", "workflow") == {("search", "answers", "rag"): Decimal("0.009")}


def test_a_second_name_moves_from_where_the_first_left_it(world: World) -> None:
    org, api = world.acme.org, world.acme.api
    api.send(make_event(team="serach", workflow="rga"))
    search = create_team(org=org, slug="search")
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    assert post_names(org) == 1
    project = create_project(org=org, slug="answers", team=search)
    create_workflow(org=org, slug="rag", project=project)
    map_name(org=org, kind="workflow", name="rga", slug="rag", actor=None)
    assert post_names(org) == 1
    assert spend_by(world, "team", "workflow") == {("search", "rag"): Decimal("0.0045")}


def test_a_closed_month_keeps_its_statement_and_the_move_is_booked_in_the_open_one(world: World) -> None:
    org, api = world.acme.org, world.acme.api
    now = datetime.now(UTC)
    this_month = now.date().replace(day=1)
    last_month = month_before(this_month)
    api.send(make_event(team="serach", occurred_at=f"{last_month:%Y-%m}-27T12:00:00Z"))
    with psycopg.connect(owner_url()) as owner:
        owner.execute(
            "UPDATE usage_openmonth SET first_open_month = %s WHERE organization_id = %s", [this_month, org.pk]
        )
    closed = api.get("statements", month=f"{last_month:%Y-%m}").json()["data"]
    create_team(org=org, slug="search")
    map_name(org=org, kind="team", name="serach", slug="search", actor=None)
    assert post_names(org) == 1
    after = api.get("statements", month=f"{last_month:%Y-%m}").json()["data"]
    assert [one["lines"] for one in after] == [one["lines"] for one in closed]
    totals = {one["team"]: Decimal(one["total_usd"]) for one in _booked(world, this_month)}
    assert totals == {"search": Decimal("0.0045"), None: Decimal("-0.0045")}


def _booked(world: World, month: date) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.acme.api.get("statements", month=f"{month:%Y-%m}").json()["data"]
    return found


def test_an_event_is_attributed_by_the_names_in_force_when_it_is_stored(world: World) -> None:
    """A name that becomes known while a batch is on its way is not missed by it, nor by the move."""
    org, api = world.acme.org, world.acme.api
    api.send(make_event(team="search"))
    stale = Organization.objects.get(pk=org.pk)
    create_team(org=org, slug="search")
    assert post_names(org) == 1
    principal = replace(principal_for(api.secret, at=datetime.now(UTC)), organization=stale)
    body = json.dumps([make_event(team="search")]).encode()
    at = datetime.now(UTC)
    batch = read_batch(body, "application/json", window_for(principal, at))
    assert accept_batch(principal=principal, items=batch.items, received_at=at).accepted == 1
    assert spend_by(world, "team") == {("search",): Decimal("0.009")}
