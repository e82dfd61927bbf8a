"""events + postings = rollups + pending deltas: it agrees on everything the road does, and on nothing else."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import current_thread, main_thread
from typing import Any, TypeVar

import pytest
from django.core.management import CommandError, call_command
from structlog.testing import capture_logs

from apps.organizations.models import Organization
from apps.teams.services import create_team
from apps.usage import services, sql
from tests.usage.ledger import Aside, Books, accept, as_owner, open_books, post, reconcile, retain, roll, rows
from tests.world import make_event, unique

T = TypeVar("T")


def keeping_one_month(books: Books) -> datetime:
    """Let the organization keep one month of events; the instant from which on it does."""
    Organization.objects.filter(pk=books.org.pk).update(retention_months=1)
    return services.oldest_kept(Organization.objects.get(pk=books.org.pk), datetime.now(UTC))


@pytest.fixture
def books() -> Books:
    """A bit of everything: a sealed month, postings, rollups and deltas that still wait."""
    books = open_books()
    create_team(org=books.org, slug="search")
    sealed = keeping_one_month(books) - timedelta(days=3)
    old = [make_event(event_id=f"old-{n}", run_id="old", occurred_at=sealed.isoformat()) for n in range(3)]
    accept(books, *old, make_event(event_id="old-unpriced", model="nobody", occurred_at=sealed.isoformat()))
    roll(books.org)
    post(books.org, "old-unpriced", cost_usd=Decimal("1.000000000001"))
    retain(books.org)
    books.api.send(
        make_event(event_id="a", team="search", run_id="r", step=0, user="u1"),
        make_event(event_id="b", team="search", run_id="r", step=1, attempt=2, status="error"),
        make_event(event_id="c", provider="nobody", model="unknown", run_id="r2"),
        make_event(event_id="d", escalated_from="claude-haiku-4-5", usage={"input_tokens": 0}),
    )
    roll(books.org)
    post(books.org, "a", cost_usd=Decimal("0.004400000001"))
    post(books.org, "c", cost_usd=Decimal("0.5"))
    roll(books.org)
    post(books.org, "b", team="search", team_id=None, workflow="rag")
    books.api.send(make_event(event_id="waits", team="search", run_id="r", user="u2"))
    return books


def test_it_agrees_on_a_mixed_world(books: Books) -> None:
    assert reconcile(books.org) == []
    roll(books.org)
    assert reconcile(books.org) == []


def test_postings_change_spend_by_their_difference(books: Books) -> None:
    total = books.api.get("spend").json()["total"]
    # a, b, waits at 0.0045, d at 0.0015 less its missing input; a is corrected, c is priced.
    assert Decimal(total["cost_usd"]) == Decimal("0.009") + Decimal("0.004400000001") + Decimal("0.5")
    assert (total["events"], total["unpriced_events"]) == (5, 0)


CORRUPTIONS = {
    "an hour's cost": (
        "UPDATE usage_hourrollup SET cost_usd = cost_usd + 1e-12 WHERE organization_id = %s AND model = 'unknown'",
        {"spend", "day"},
    ),
    "an hour's meter": (
        "UPDATE usage_hourrollup SET output_tokens = output_tokens + 1 WHERE organization_id = %s AND errors > 0",
        {"spend", "day"},
    ),
    "a sealed hour": (
        "UPDATE usage_hourrollup SET ln_input_micro = ln_input_micro - 1 WHERE organization_id = %s"
        " AND hour_start = (SELECT min(hour_start) FROM usage_hourrollup WHERE organization_id = %s) AND priced",
        {"seal", "day"},
    ),
    "a team of an hour": (
        "UPDATE usage_hourrollup SET team = 'ads' WHERE organization_id = %s AND team = 'search'",
        {"spend"},
    ),
    "a day": ("UPDATE usage_dayrollup SET events = events + 1 WHERE organization_id = %s AND errors > 0", {"day"}),
    "a day that is gone": ("DELETE FROM usage_dayrollup WHERE organization_id = %s AND errors > 0", {"day"}),
    "a user's hour": (
        "UPDATE usage_userhourrollup SET cost_usd = cost_usd - 1e-12 WHERE organization_id = %s AND user_name = 'u1'",
        {"user", "day"},
    ),
    "a user's day": (
        "UPDATE usage_userdayrollup SET requests = requests + 1 WHERE organization_id = %s AND user_name = 'u1'",
        {"day"},
    ),
    "a run": (
        "UPDATE usage_run SET cost_usd = cost_usd + 1e-12 WHERE organization_id = %s AND run_id = 'r'",
        {"run"},
    ),
    "a run's steps": ("UPDATE usage_run SET steps = steps + 1 WHERE organization_id = %s AND run_id = 'r'", {"run"}),
    "a run's slope": (
        "UPDATE usage_run SET slope_step_input = slope_step_input + 1 WHERE organization_id = %s AND run_id = 'r'",
        {"run"},
    ),
    "a run that is gone": ("DELETE FROM usage_run WHERE organization_id = %s AND run_id = 'r2'", {"run"}),
    "an event that is gone": (
        "DELETE FROM usage_event WHERE organization_id = %s AND event_id = 'a'",
        {"spend", "user", "run"},
    ),
    "an event's cost": (
        "UPDATE usage_event SET cost_usd = cost_usd + 1e-12 WHERE organization_id = %s AND event_id = 'd'",
        {"spend", "user"},
    ),
    "a posting that is gone": (
        "DELETE FROM usage_posting WHERE organization_id = %s AND event_id = 'a' AND side = 1",
        {"spend", "user", "run"},
    ),
    "a posting of a sealed month": (
        "DELETE FROM usage_posting WHERE organization_id = %s AND event_id = 'old-unpriced' AND side = -1",
        {"seal"},
    ),
    "a delta that is gone": ("DELETE FROM usage_delta WHERE organization_id = %s AND events = 1", {"spend"}),
    "a user's delta": ("DELETE FROM usage_userdelta WHERE organization_id = %s", {"user"}),
    "a run's delta": ("DELETE FROM usage_rundelta WHERE organization_id = %s", {"run"}),
    "a seal": ("UPDATE usage_seal SET cost_usd = cost_usd + 1e-12 WHERE organization_id = %s", {"seal"}),
    "a seal that is gone": ("DELETE FROM usage_seal WHERE organization_id = %s", {"spend", "user", "run"}),
}


@pytest.mark.parametrize(("statement", "checks"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_it_reports_a_corruption_of(statement: str, checks: set[str], books: Books) -> None:
    as_owner(statement, *[books.org.pk] * statement.count("%s"))
    with capture_logs() as logged:
        differences = reconcile(books.org)
    assert {difference["check"] for difference in differences} == checks
    [line] = logged
    assert line["log_level"] == "error"
    assert line["organization_id"] == books.org.pk
    assert len(line["differences"]) == len(differences)


def test_it_reports_a_seal_missing_among_others() -> None:
    """A later seal must not hide that an earlier month has neither events nor a seal."""
    books = open_books()
    before = keeping_one_month(books)
    for days in (50, 1):
        accept(books, make_event(occurred_at=(before - timedelta(days=days)).isoformat()))
    roll(books.org)
    retain(books.org)
    assert reconcile(books.org) == []
    earliest = rows("usage_seal", books.org)[0]["month"]
    as_owner("DELETE FROM usage_seal WHERE organization_id = %s AND month = %s", books.org.pk, earliest)
    [difference] = reconcile(books.org)
    assert (difference["check"], difference["month"], difference["events"]) == ("seal", earliest, -1)


def test_a_difference_names_where_and_how_much(books: Books) -> None:
    as_owner(
        "UPDATE usage_hourrollup SET cost_usd = cost_usd + 1e-12 WHERE organization_id = %s AND model = 'unknown'"
        " AND priced",
        books.org.pk,
    )
    spend, day = reconcile(books.org)
    assert (spend["check"], spend["model"], spend["cost_usd"]) == ("spend", "unknown", Decimal("-1e-12"))
    assert "events" not in spend
    assert (day["check"], day["cost_usd"]) == ("day", Decimal("1e-12"))


def test_what_happens_between_the_checks_raises_no_false_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingestion, rollups and retention commit after each statement of the proof; its snapshot does not move."""
    books = open_books()
    before = keeping_one_month(books)
    for days in (100, 60, 30, 0):
        accept(books, make_event(run_id="r", occurred_at=(before - timedelta(days=days, hours=1)).isoformat()))
    books.api.send(make_event(run_id="r", user="u3"))

    def meanwhile(find: Callable[..., T]) -> Callable[..., T]:
        def found(*arguments: Any) -> T:
            result = find(*arguments)
            if current_thread() is main_thread():
                with Aside(happen) as other:
                    pass
                assert other.error is None
            return result

        return found

    def happen() -> None:
        books.api.send(make_event(run_id="r", user="u3"), make_event(run_id=unique("run")))
        roll(books.org)
        retain(books.org)

    for name in ("sealed_before", "unbalanced_spend", "unbalanced_users", "unbalanced_days", "unbalanced_runs"):
        monkeypatch.setattr(sql, name, meanwhile(getattr(sql, name)))
    assert reconcile(books.org) == []
    assert len(rows("usage_event", books.org)) == 11
    assert len(rows("usage_seal", books.org)) == 4


def test_a_run_that_retention_cuts_before_its_rollup_raises_no_false_alarm() -> None:
    books = open_books()
    before = keeping_one_month(books)
    for hours in (-1, 1):
        accept(books, make_event(run_id="long", occurred_at=(before + timedelta(hours=hours)).isoformat()))
    retain(books.org)
    assert reconcile(books.org) == []
    roll(books.org)
    assert reconcile(books.org) == []


# --- the command ----------------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("reconcile", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_that_an_organization_agrees(books: Books) -> None:
    said = run_command("--organization", books.org.slug)
    assert said == f"{books.org.slug}: events and rollups agree, difference 0\n"


def test_the_command_fails_and_prints_each_difference(books: Books) -> None:
    as_owner("UPDATE usage_dayrollup SET events = events + 1 WHERE organization_id = %s AND errors > 0", books.org.pk)
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 of 1 organizations differ") as failure:
        call_command("reconcile", "--organization", books.org.slug, stdout=out)
    assert failure.value.returncode == 1
    [line] = out.getvalue().splitlines()
    assert line.startswith(f'{books.org.slug}: {{"booked_month"')
    assert '"check": "day"' in line
    assert '"events": "-1"' in line


def test_the_command_knows_no_such_organization() -> None:
    with pytest.raises(CommandError, match="No such organization"):
        run_command("--organization", "nobody")


def test_the_command_proves_every_organization(books: Books) -> None:
    as_owner("UPDATE usage_dayrollup SET events = events + 1 WHERE organization_id = %s AND errors > 0", books.org.pk)
    other, out = open_books(), io.StringIO()
    with pytest.raises(CommandError, match="organizations differ"):
        call_command("reconcile", stdout=out)
    assert f"{other.org.slug}: events and rollups agree, difference 0\n" in out.getvalue()
    assert f"{books.org.slug}: {{" in out.getvalue()
