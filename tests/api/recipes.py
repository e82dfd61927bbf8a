"""How to call every operation of the API and every page, and where in the call an id or a name can stand.

Texts are templates over one side's names (`tests.api.stage.Names`): "{team}" is the team of whoever is meant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.api.stage import LABELS, Names
from tests.world import make_event, unique


def _as_given(fields: dict[str, Any]) -> Any:
    return fields


def _nothing(own: Names) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Recipe:
    """`path` names every path parameter; each entry of `path`, `query` and `body` is a position, tried alone.

    `needs` are the body fields of a valid call, `wrap` makes the body of fields; `asks` are further queries whose
    answers must not depend on another organization; `neutral` are parameters that can name nothing of anybody's.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    needs: Callable[[Names], dict[str, Any]] = _nothing
    wrap: Callable[[dict[str, Any]], Any] = _as_given
    asks: tuple[Mapping[str, str], ...] = ()
    neutral: frozenset[str] = frozenset()


TAGGED = {"tags.{tag}": "{tag_value}"}
FOUND_BY = {
    "team": "{team}",
    "project": "{project}",
    "workflow": "{workflow}",
    "team_name": "{team}",
    "project_name": "{project}",
    "workflow_name": "{workflow}",
    "api_key": "{api_key}",
    **{
        name: f"{{{name}}}"
        for name in (
            "user", "task_type", "provider", "model", "environment", "run_id", "parent_run_id", "operation", "region",
            "workflow_version", "tool_name", "error_type", "stop_reason", "prompt_version", "escalated_from",
            "model_served",
        )
    },
    **TAGGED,
}  # fmt: skip
# Fields of a closed list of words.
WORDS = frozenset({"service_tier", "status", "outcome", "priced"})
RANGE = frozenset({"from", "to", "limit"})
MONTH = frozenset({"month"})

API: dict[str, Recipe] = {
    "GET /api/v1/events": Recipe(
        query={**FOUND_BY, "event_id": "{event_id}", "request_id": "{request_id}", "cursor": "{cursor}"},
        asks=({"from": "{since}"}, {"from": "{since}", "limit": "1"}),
        neutral=RANGE | WORDS,
    ),
    "GET /api/v1/spend": Recipe(
        query={**FOUND_BY, "group_by": "tags.{tag}", "cursor": "{cursor}"},
        asks=(
            {"from": "{since}"},
            {"from": "{since}", "granularity": "hour", "group_by": "team,project,workflow"},
            {"from": "{since}", "granularity": "day", "group_by": "model"},
            {"from": "{since}", "group_by": "user"},
            {"from": "{since}", "granularity": "hour", "group_by": "user"},
            {"from": "{since}", "group_by": "run_id"},
            {"group_by": "api_key,environment,task_type"},
        ),
        neutral=RANGE | WORDS | {"granularity", "basis"},
    ),
    "GET /api/v1/statements": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements.csv": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements/{statement_id}": Recipe(path={"statement_id": "{statement}"}),
    "GET /api/v1/statements/{statement_id}.csv": Recipe(path={"statement_id": "{statement}"}),
    "GET /api/v1/teams": Recipe(),
    "GET /api/v1/aliases": Recipe(),
    "GET /api/v1/keys": Recipe(),
    "GET /api/v1/projects": Recipe(),
    "GET /api/v1/workflows": Recipe(),
    # Writes, in an order in which none makes what a later one looks up.
    "POST /api/v1/projects/{slug}/move": Recipe(
        path={"slug": "{project}"},
        body={"team": "{team}"},
        needs=lambda own: {"team": own.fill("{team}")},
        neutral=frozenset({"at"}),
    ),
    "POST /api/v1/workflows": Recipe(
        body={"slug": "{workflow}", "name": "{workflow}", "project": "{project}"},
        needs=lambda own: {"slug": unique("w"), "project": own.fill("{project}")},
    ),
    "POST /api/v1/projects": Recipe(
        body={"slug": "{project}", "name": "{project}", "team": "{team}"}, needs=lambda own: {"slug": unique("p")}
    ),
    "POST /api/v1/aliases": Recipe(
        body={"name": "{team}", "slug": "{team}"},
        needs=lambda own: {"kind": "team", "name": unique("a"), "slug": own.fill("{team}")},
        neutral=frozenset({"kind"}),
    ),
    "POST /api/v1/keys": Recipe(
        body={"name": "{team}", "team": "{team}", "project": "{project}", "environment": "{environment}"},
        needs=lambda own: {"name": "tests", "scopes": ["read"]},
        neutral=frozenset({"expires_at"}),
    ),
    # Not the key that calls: it would be gone.
    "POST /api/v1/keys/{key_id}/revoke": Recipe(path={"key_id": "{spare_key}"}),
    "POST /api/v1/teams": Recipe(body={"slug": "{team}", "name": "{team}"}, needs=lambda own: {"slug": unique("t")}),
    "POST /api/v1/events": Recipe(
        body={**{label: f"{{{label}}}" for label in LABELS}, "tags": {"{tag}": "{tag_value}"}},
        needs=lambda own: make_event(),
        wrap=lambda fields: [fields],
        neutral=WORDS | {"occurred_at", "cost_usd", "usage_format"},
    ),
}

_ORG = {"slug": "{org}"}
PAGES: dict[str, Recipe] = {
    "GET /": Recipe(),
    "GET /o/": Recipe(),
    "GET /o/{slug}/": Recipe(path=_ORG),
    "GET /o/{slug}/spend": Recipe(
        path=_ORG,
        query=FOUND_BY,
        asks=({"group_by": "user", "then_by": "model"}, {"range": "30d", "group_by": "team"}),
    ),
    "GET /o/{slug}/events": Recipe(
        path=_ORG, query={**FOUND_BY, "event_id": "{event_id}", "cursor": "{cursor}"}, asks=({"range": "30d"},)
    ),
    "GET /o/{slug}/events/{event_id}": Recipe(path={**_ORG, "event_id": "{event_id}"}),
    "GET /o/{slug}/statements": Recipe(path=_ORG),
    "GET /o/{slug}/statements.csv": Recipe(path=_ORG, query={"team": "{team}"}),
    "GET /o/{slug}/statements/{statement_id}": Recipe(path={**_ORG, "statement_id": "{statement}"}),
    "GET /o/{slug}/unattributed": Recipe(path=_ORG, asks=({"range": "30d"},)),
    "GET /o/{slug}/unpriced": Recipe(path=_ORG, asks=({"range": "30d"},)),
}

# Addresses that belong to no organization, and why each may stay without a recipe.
PUBLIC = {
    "/healthz": "asked by a load balancer",
    "/readyz": "asked by a load balancer",
    "/api/v1/schema": "describes the API, holds no data",
    "/api/v1/docs": "describes the API, holds no data",
    "/accounts/": "allauth: signing in and out, before any organization is chosen",
}
