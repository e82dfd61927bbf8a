"""Decisions per second on one hot budget and over a thousand, three ways side by side in every round:

the site's own road, a plain REST framework view around the same statement, and the statement alone.
"""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bench.load import Measured, Target, over_http, over_sql
from bench.site import serving

CLIENTS = (1, 16, 64)
ROUNDS = 3
SECONDS = 1.5
OPEN_RATE = 300
OPEN_SECONDS = 10
USERS = 1_000
PATH, PLAIN_PATH = "/api/v1/decisions", "/plain/decisions"
HOT, MANY = "hot", "many"


@dataclass(frozen=True, slots=True)
class Scene:
    """An organization under one budget (`users` = 1) or a budget for each of its users."""

    secret: str
    statement: str
    users: int


def measure() -> Iterator[dict[str, Any]]:
    scenes = {HOT: scene(1), MANY: scene(USERS)}
    database = os.environ["DATABASE_URL"]
    found: dict[tuple[str, str, int], list[Measured]] = {}
    with serving(settings="bench.plain_settings") as site:
        for number in range(ROUNDS + 1):
            for name, one in scenes.items():
                for clients in CLIENTS:
                    roads = {
                        "http": over_http(Target(site.url, PATH, one.secret, one.users), clients, SECONDS),
                        "plain": over_http(Target(site.url, PLAIN_PATH, one.secret, one.users), clients, SECONDS),
                        "sql": over_sql(database, one.statement, one.users, clients, SECONDS),
                    }
                    if number:  # the first round warms caches and connections, and opens the counters
                        for road, measured in roads.items():
                            found.setdefault((road, name, clients), []).append(measured)
        yield from _lines(found)
        yield from _ratios(found)
        hot = scenes[HOT]
        target = Target(site.url, PATH, hot.secret, hot.users)
        yield _open_line(over_http(target, 64, OPEN_SECONDS, OPEN_RATE))


def scene(users: int) -> Scene:
    """An organization of its own, with a key that decides and ingests."""
    from apps.budgets.services import BudgetTerms, create_budget
    from apps.organizations.selectors import principal_for
    from apps.organizations.services import create_organization, issue_key
    from apps.teams.services import create_on_first_sight
    from bench.questions import statement_for

    org = create_organization(name=f"decisions {os.urandom(4).hex()}", owner_email="bench@example.com")
    create_on_first_sight(org=org, seen=[("team-1", "project-1", "workflow-1")], actor="bench")
    scope = {"user": "*"} if users > 1 else {}
    terms = BudgetTerms(
        name="bench", period="month", amount_usd=Decimal(1_000_000), mode="block", scope=scope, thresholds=()
    )
    create_budget(org=org, terms=terms, actor="bench")
    secret = issue_key(org=org, name="decisions", scopes=["decide", "ingest"]).secret
    return Scene(secret, statement_for(principal_for(secret, at=datetime.now(UTC))), users)


def _lines(found: dict[tuple[str, str, int], list[Measured]]) -> Iterator[dict[str, Any]]:
    titles = {"http": "POST /api/v1/decisions", "plain": "a plain view, same statement", "sql": "the statement alone"}
    for (road, name, clients), rounds in found.items():
        yield {
            "name": f"decisions_{road}_{name}_{clients}",
            "value": round(statistics.median(one.per_second for one in rounds)),
            "unit": "decisions/s",
            "detail": {
                "road": titles[road],
                "clients": clients,
                "budgets": "one" if name == HOT else f"one for each of {USERS} users",
                "p50_ms": round(statistics.median(one.p50 for one in rounds) * 1000, 2),
                "p99_ms": round(statistics.median(one.p99 for one in rounds) * 1000, 2),
                "rounds": ROUNDS,
            },
        }


def _ratios(found: dict[tuple[str, str, int], list[Measured]]) -> Iterator[dict[str, Any]]:
    for name in (HOT, MANY):
        for clients in CLIENTS:
            yield _ratio(found, "plain", name, clients, "aim: at least 2")
        yield _ratio(found, "sql", name, 16, "aim: at least 0.4")


def _ratio(
    found: dict[tuple[str, str, int], list[Measured]], other: str, name: str, clients: int, aim: str
) -> dict[str, Any]:
    rounds = zip(found["http", name, clients], found[other, name, clients], strict=True)
    return {
        "name": f"decisions_over_{other}_{name}_{clients}",
        "value": round(statistics.median(own.per_second / than.per_second for own, than in rounds), 2),
        "unit": f"HTTP / {other}",
        "detail": aim,
    }


def _open_line(measured: Measured) -> dict[str, Any]:
    return {
        "name": f"decisions_open_{OPEN_RATE}_p99",
        "value": round(measured.p99 * 1000, 1),
        "unit": "ms",
        "detail": f"{OPEN_RATE}/s whatever the answers do, {OPEN_SECONDS} s, counted from when a request was due;"
        f" p50 {measured.p50 * 1000:.1f} ms, {measured.per_second:.0f}/s answered; aim: below 50 ms",
    }
