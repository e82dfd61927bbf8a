"""How to call every operation of the API and every page, and where in the call an id or a name can stand.

Texts are templates over one side's names (`tests.api.stage.Names`): "{team}" is the team of whoever is meant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.api.stage import LABELS, Names
from tests.identity import SAML, certificate
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
LEFT_OUT = {"not.team": "{team}", "not.user": "{user}", "not.tags.{tag}": "{tag_value}"}
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
    **LEFT_OUT,
}  # fmt: skip
RUN_FOUND_BY = ("workflow", "team", "project", "environment", "user", "run_id", "parent_run_id")
PLANNED = ("team", "project", "workflow", "user", "task_type", "environment", "provider")
KNOWN = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
# Fields of a closed list of words.
WORDS = frozenset({"service_tier", "status", "outcome", "priced"})
RANGE = frozenset({"from", "to", "limit"})
MONTH = frozenset({"month"})
LISTED = frozenset({"limit", "cursor"})
CHANNEL_WORDS = frozenset({"kind", "min_severity", "quiet_from", "quiet_until", "digest"})
GIVEN_BY_RULES = {"team": "{given}", "project": "{project}", "workflow": "{workflow}"}
KNOWN_MODEL = {"to_provider": "anthropic", "to_model": "claude-sonnet-4-5"}

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
    "GET /api/v1/events/{event_id}/explain": Recipe(path={"event_id": "{event_id}"}),
    "GET /api/v1/unpriced": Recipe(asks=({"from": "{since}"},), neutral=frozenset({"from", "to"})),
    "GET /api/v1/cost-differences": Recipe(
        asks=({"from": "{since}"},), neutral=frozenset({"from", "to", "over_percent", "over_usd"})
    ),
    # The catalog is everybody's: nothing of an organization is found in it.
    "GET /api/v1/prices": Recipe(neutral=frozenset({"search", "provider", "at", "limit", "cursor"})),
    "GET /api/v1/prices/{provider}/{model}": Recipe(
        path={"provider": "openai", "model": "o3"}, neutral=frozenset({"provider", "model"})
    ),
    "POST /api/v1/prices/quote": Recipe(
        body={"provider": "{provider}", "model": "{model}", "region": "{region}"},
        needs=lambda own: {"provider": "openai", "model": "gpt-5", "usage": {"input_tokens": 1}},
        neutral=frozenset({"service_tier", "at"}),
    ),
    "GET /api/v1/statements": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements.csv": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements/{statement_id}": Recipe(path={"statement_id": "{statement}"}),
    "GET /api/v1/statements/{statement_id}.csv": Recipe(path={"statement_id": "{statement}"}),
    "GET /api/v1/teams": Recipe(neutral=LISTED),
    "GET /api/v1/aliases": Recipe(neutral=LISTED),
    "GET /api/v1/keys": Recipe(),
    "GET /api/v1/members": Recipe(query={"search": "{member_name}"}),
    "GET /api/v1/invitations": Recipe(),
    "GET /api/v1/projects": Recipe(neutral=LISTED),
    "GET /api/v1/workflows": Recipe(neutral=LISTED),
    "GET /api/v1/attribution-rules": Recipe(),
    "GET /api/v1/attribution-rules/{rule_id}": Recipe(path={"rule_id": "{rule}"}),
    "GET /api/v1/contracts": Recipe(neutral=frozenset({"kind", "active"})),
    "GET /api/v1/contracts/{contract_id}": Recipe(path={"contract_id": "{contract}"}),
    "GET /api/v1/model-aliases": Recipe(),
    "GET /api/v1/reratings": Recipe(),
    "GET /api/v1/reratings/{rerating_id}": Recipe(path={"rerating_id": "{rerating}"}),
    "GET /api/v1/alerts/channels": Recipe(),
    "GET /api/v1/alerts/channels/{channel_id}": Recipe(path={"channel_id": "{channel}"}),
    "GET /api/v1/alerts/deliveries": Recipe(
        query={"channel": "{channel}"}, asks=({"state": "pending"},), neutral=frozenset({"state", "limit", "cursor"})
    ),
    "GET /api/v1/alerts/deliveries/{delivery_id}": Recipe(path={"delivery_id": "{delivery}"}),
    "GET /api/v1/budgets": Recipe(neutral=frozenset({"mode", "period", "dimension", "ended", "limit", "cursor"})),
    "GET /api/v1/budgets/{budget_id}": Recipe(path={"budget_id": "{budget}"}),
    "GET /api/v1/budgets/{budget_id}/raises": Recipe(path={"budget_id": "{budget}"}),
    "GET /api/v1/run-bounds": Recipe(),
    "GET /api/v1/run-bounds/{workflow}": Recipe(path={"workflow": "{workflow}"}),
    "GET /api/v1/unpriced-policy": Recipe(),
    "GET /api/v1/crossings": Recipe(
        query={"budget": "{budget}"}, neutral=frozenset({"kind", "since", "limit", "cursor"})
    ),
    "GET /api/v1/audit": Recipe(
        query={"actor": "{actor}", "subject": "{budget_name}"}, neutral=RANGE | {"action", "cursor"}
    ),
    "GET /api/v1/stops": Recipe(neutral=frozenset({"standing"})),
    "GET /api/v1/reservations": Recipe(
        query={"run_id": "{run_id}", "api_key": "{api_key}"}, neutral=frozenset({"state", "kind", "limit", "cursor"})
    ),
    "GET /api/v1/reservations/{reservation_id}": Recipe(path={"reservation_id": "{reservation}"}),
    "GET /api/v1/runs": Recipe(
        query={
            **{name: f"{{{name}}}" for name in RUN_FOUND_BY},
            "cursor": "{run_cursor}",
        },
        asks=({"from": "{since}"}, {"from": "{since}", "sort": "cost"}, {"from": "{since}", "limit": "1"}),
        neutral=RANGE | {"outcome", "status", "with", "sort"},
    ),
    "GET /api/v1/runs/{run_id}": Recipe(path={"run_id": "{run_id}"}),
    # Writes, in an order in which none makes what a later one looks up.
    "POST /api/v1/projects/{slug}/move": Recipe(
        path={"slug": "{project}"},
        body={"team": "{team}"},
        needs=lambda own: {"team": own.fill("{team}")},
        neutral=frozenset({"at"}),
    ),
    "DELETE /api/v1/projects/{slug}/move": Recipe(path={"slug": "{idle}"}),
    "PATCH /api/v1/projects/{slug}": Recipe(
        path={"slug": "{project}"}, body={"name": "{project}"}, needs=lambda own: {"name": own.fill("{project}")}
    ),
    "PATCH /api/v1/teams/{slug}": Recipe(
        path={"slug": "{team}"}, body={"name": "{team}"}, needs=lambda own: {"name": own.fill("{team}")}
    ),
    "PATCH /api/v1/workflows/{slug}": Recipe(
        path={"slug": "{workflow}"},
        body={"name": "{workflow}", "owner": "{owner_email}"},
        needs=lambda own: {"name": own.fill("{workflow}")},
    ),
    "POST /api/v1/workflows/{slug}/move": Recipe(
        path={"slug": "{workflow}"},
        body={"project": "{idle}"},
        needs=lambda own: {"project": own.fill("{idle}")},
    ),
    "POST /api/v1/attribution-rules/preview": Recipe(
        body={**GIVEN_BY_RULES, "when": {"tags.{tag}": "{tag_value}"}},
        needs=lambda own: {"name": "tests", "when": {"user": own.fill("{user}")}, "team": own.fill("{given}")},
        neutral=frozenset({"name"}),
    ),
    "POST /api/v1/attribution-rules": Recipe(
        body=GIVEN_BY_RULES,
        needs=lambda own: {"name": "tests", "when": {"user": "nobody"}, "team": own.fill("{given}")},
        neutral=frozenset({"name"}),
    ),
    "PUT /api/v1/attribution-rules/{rule_id}": Recipe(
        path={"rule_id": "{rule}"},
        body=GIVEN_BY_RULES,
        needs=lambda own: {"name": "tests", "when": {"user": "nobody"}, "team": own.fill("{given}")},
        neutral=frozenset({"name"}),
    ),
    "POST /api/v1/attribution-rules/{rule_id}/move": Recipe(
        path={"rule_id": "{rule}"}, needs=lambda own: {"direction": "up"}, neutral=frozenset({"direction"})
    ),
    "DELETE /api/v1/attribution-rules/{rule_id}": Recipe(path={"rule_id": "{spare_rule}"}),
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
    "DELETE /api/v1/aliases/{kind}/{name}": Recipe(
        path={"kind": "team", "name": "{alias}"}, neutral=frozenset({"kind"})
    ),
    "POST /api/v1/keys": Recipe(
        body={"name": "{team}", "team": "{team}", "project": "{project}", "environment": "{environment}"},
        needs=lambda own: {"name": "tests", "scopes": ["read"]},
        neutral=frozenset({"expires_at"}),
    ),
    # Not the key that calls: it would be gone.
    "POST /api/v1/keys/{key_id}/revoke": Recipe(path={"key_id": "{spare_key}"}),
    "POST /api/v1/keys/{key_id}/rotate": Recipe(
        path={"key_id": "{worn_key}"}, needs=lambda own: {"overlap_seconds": 60}
    ),
    "POST /api/v1/invitations": Recipe(
        body={"email": "{team}@people.example"},
        needs=lambda own: {"email": f"{unique('bob')}@people.example", "role": "viewer"},
        neutral=frozenset({"role"}),
    ),
    "POST /api/v1/invitations/{invitation_id}/revoke": Recipe(path={"invitation_id": "{invitation}"}),
    "PATCH /api/v1/members/{member_id}": Recipe(
        path={"member_id": "{member}"}, needs=lambda own: {"role": "viewer"}, neutral=frozenset({"role"})
    ),
    "DELETE /api/v1/members/{member_id}": Recipe(path={"member_id": "{member}"}),
    "POST /api/v1/teams": Recipe(body={"slug": "{team}", "name": "{team}"}, needs=lambda own: {"slug": unique("t")}),
    "POST /api/v1/contracts/{contract_id}/end": Recipe(
        path={"contract_id": "{contract}"}, neutral=frozenset({"ends_at"})
    ),
    "POST /api/v1/contracts": Recipe(
        body={
            "name": "{team}",
            "provider": "{provider}",
            "model": "{model}",
            "team": "{team}",
            "note": "{team}",
        },
        needs=lambda own: {
            "kind": "throughput",
            "name": "tests",
            "provider": "tests",
            "model": unique("m"),
            "amount_usd": "1",
        },
        neutral=frozenset({"kind", "service_tier", "starts_at", "ends_at", "percent", "amount_usd"}),
    ),
    "POST /api/v1/alerts/channels": Recipe(
        body={"name": "{channel_name}", "target": "{team}@example.com", "team": "{team}"},
        needs=lambda own: {"kind": "email", "name": unique("ch"), "target": "ops@example.com"},
        neutral=CHANNEL_WORDS,
    ),
    "PATCH /api/v1/alerts/channels/{channel_id}": Recipe(
        path={"channel_id": "{channel}"},
        body={"name": "{channel_name}", "target": "https://93.184.215.14/{team}", "team": "{team}"},
        needs=lambda own: {"min_severity": "info"},
        neutral=CHANNEL_WORDS,
    ),
    "POST /api/v1/alerts/channels/{channel_id}/test": Recipe(path={"channel_id": "{channel}"}),
    "POST /api/v1/alerts/channels/{channel_id}/rotate": Recipe(path={"channel_id": "{channel}"}),
    "POST /api/v1/alerts/channels/{channel_id}/enable": Recipe(path={"channel_id": "{channel}"}),
    "POST /api/v1/alerts/channels/{channel_id}/disable": Recipe(path={"channel_id": "{channel}"}),
    "DELETE /api/v1/alerts/channels/{channel_id}": Recipe(path={"channel_id": "{spare_channel}"}),
    "POST /api/v1/alerts/deliveries/{delivery_id}/retry": Recipe(path={"delivery_id": "{delivery}"}),
    "POST /api/v1/model-aliases": Recipe(
        body={"provider": "{provider}", "name": "{alias}", "to_provider": "{provider}", "to_model": "{model}"},
        needs=lambda own: {"provider": "tests", "name": unique("m"), **KNOWN_MODEL},
    ),
    "DELETE /api/v1/model-aliases/{alias_id}": Recipe(path={"alias_id": "{model_alias}"}),
    "POST /api/v1/decisions": Recipe(
        body={
            **{name: f"{{{name}}}" for name in PLANNED},
            "model": "{model}",
            "run_id": "{run_id}",
            "tags": {"{tag}": "{tag_value}"},
        },
        needs=lambda own: {"request_id": unique("r"), **KNOWN, "estimate_usd": "0"},
        neutral=frozenset(
            {
                "request_id",
                "ttl_seconds",
                "estimate_usd",
                "input_tokens",
                "max_output_tokens",
                "step",
                "attempt",
                "service_tier",
            }
        ),
    ),
    "POST /api/v1/leases": Recipe(
        body={
            **{name: f"{{{name}}}" for name in PLANNED},
            "model": "{model}",
            "run_id": "{run_id}",
            "tags": {"{tag}": "{tag_value}"},
        },
        needs=lambda own: {"request_id": unique("r"), **KNOWN, "amount_usd": "0"},
        neutral=frozenset({"request_id", "ttl_seconds", "amount_usd", "steps", "service_tier"}),
    ),
    "POST /api/v1/reservations/{reservation_id}/extend": Recipe(
        path={"reservation_id": "{reservation}"}, needs=lambda own: {"ttl_seconds": 600}
    ),
    "POST /api/v1/reservations/{reservation_id}/settle": Recipe(
        path={"reservation_id": "{reservation}"},
        needs=lambda own: {"event": make_event(event_id=own.fill("{held_event}"))},
    ),
    "POST /api/v1/reservations/{reservation_id}/release": Recipe(path={"reservation_id": "{released}"}),
    "POST /api/v1/leases/{lease_id}/renew": Recipe(
        path={"lease_id": "{lease}"},
        needs=lambda own: {"request_id": unique("r"), "amount_usd": "0"},
        neutral=frozenset({"request_id", "amount_usd"}),
    ),
    "POST /api/v1/leases/{lease_id}/return": Recipe(
        path={"lease_id": "{lease}"},
        needs=lambda own: {"unused_usd": "0"},
        neutral=frozenset({"unused_usd"}),
    ),
    "POST /api/v1/unavailable-allowances": Recipe(
        needs=lambda own: {"events": 1, "amount_usd": "1", "from": own.fill("{since}"), "to": own.fill("{now}")},
        neutral=RANGE | {"events", "amount_usd", "reason"},
    ),
    "PUT /api/v1/runs/{run_id}": Recipe(path={"run_id": "{parent_run_id}"}, needs=lambda own: {"status": "running"}),
    "POST /api/v1/budgets": Recipe(
        body={"name": "{project}", "scope": {"team": "{team}"}},
        needs=lambda own: {"name": unique("b"), "period": "month", "amount_usd": "1"},
        neutral=frozenset({"period", "mode", "amount_usd", "starts_at", "ends_at"}),
    ),
    "PATCH /api/v1/budgets/{budget_id}": Recipe(
        path={"budget_id": "{budget}"},
        body={"scope": {"team": "{team}"}},
        needs=lambda own: {"rollover": False},
        neutral=frozenset({"name", "period", "starts_at", "ends_at", "mode", "amount_usd"}),
    ),
    "POST /api/v1/budgets/{budget_id}/raises": Recipe(
        path={"budget_id": "{budget}"},
        needs=lambda own: {"amount_usd": "1", "expires_at": own.fill("{tomorrow}T00:00:00Z"), "reason": "tests"},
        neutral=frozenset({"amount_usd", "expires_at", "reason"}),
    ),
    "POST /api/v1/budget-raises/{raise_id}/approve": Recipe(path={"raise_id": "{raise}"}),
    "POST /api/v1/budget-raises/{raise_id}/refuse": Recipe(path={"raise_id": "{raise}"}),
    "DELETE /api/v1/budgets/{budget_id}": Recipe(path={"budget_id": "{budget}"}),
    "PUT /api/v1/run-bounds/{workflow}": Recipe(
        path={"workflow": "{workflow}"}, needs=lambda own: {"max_steps": 1000}, neutral=frozenset({"max_cost_usd"})
    ),
    "DELETE /api/v1/run-bounds/{workflow}": Recipe(path={"workflow": "{workflow}"}),
    "PUT /api/v1/unpriced-policy": Recipe(
        needs=lambda own: {"unpriced_policy": "refuse"}, neutral=frozenset({"unpriced_policy"})
    ),
    "POST /api/v1/stops/{stop_id}/lift": Recipe(path={"stop_id": "{stop}"}),
    "POST /api/v1/stops": Recipe(
        body={"target": "{team}"},
        needs=lambda own: {"kind": "team", "target": own.fill("{team}"), "reason": "tests"},
        neutral=frozenset({"kind", "reason"}),
    ),
    "POST /api/v1/reratings/{rerating_id}/resume": Recipe(path={"rerating_id": "{stopped_rerating}"}),
    "POST /api/v1/reratings/{rerating_id}/stop": Recipe(path={"rerating_id": "{stopped_rerating}"}),
    "POST /api/v1/reratings/{rerating_id}/post": Recipe(path={"rerating_id": "{rerating}"}),
    "POST /api/v1/reratings": Recipe(
        needs=lambda own: {"reason": "tests", "from": own.fill("{since}"), "to": own.fill("{now}")},
        neutral=RANGE | {"reason"},
    ),
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
        asks=(
            {"group_by": "user", "then_by": "model"},
            {"range": "30d", "group_by": "team", "compare": "previous", "chart": "line"},
        ),
    ),
    "GET /o/{slug}/spend/values": Recipe(
        path=_ORG,
        query={"add": "tags.{tag}"},
        asks=({"range": "30d", "add": "team"}, {"range": "30d", "add": "user", "not.team": "{team}"}),
    ),
    "GET /o/{slug}/exports": Recipe(path=_ORG),
    "GET /o/{slug}/exports/{export_id}": Recipe(path={**_ORG, "export_id": "{export}"}),
    "POST /o/{slug}/exports": Recipe(path=_ORG, needs=lambda own: {"format": "csv", "query": "group_by=user"}),
    "POST /o/{slug}/exports/{export_id}/delete": Recipe(path={**_ORG, "export_id": "{spare_export}"}),
    "GET /o/{slug}/views": Recipe(path=_ORG, asks=({"save": "group_by=team&user={user}"},)),
    "POST /o/{slug}/views": Recipe(path=_ORG, needs=lambda own: {"name": unique("view"), "query": "group_by=model"}),
    "POST /o/{slug}/views/{view_id}/{act}": Recipe(
        path={**_ORG, "view_id": "{view}", "act": "rename"}, needs=lambda own: {"name": unique("view")}
    ),
    "GET /o/{slug}/events": Recipe(
        path=_ORG, query={**FOUND_BY, "event_id": "{event_id}", "cursor": "{cursor}"}, asks=({"range": "30d"},)
    ),
    "GET /o/{slug}/events/{event_id}": Recipe(path={**_ORG, "event_id": "{event_id}"}),
    "GET /o/{slug}/runs": Recipe(
        path=_ORG,
        query={**{name: f"{{{name}}}" for name in RUN_FOUND_BY}, "cursor": "{run_cursor}"},
        asks=({"range": "30d"}, {"range": "30d", "sort": "cost"}),
    ),
    "GET /o/{slug}/runs/{run_id}": Recipe(path={**_ORG, "run_id": "{run_id}"}, query={"cursor": "{call_cursor}"}),
    "GET /o/{slug}/statements": Recipe(path=_ORG),
    "GET /o/{slug}/statements.csv": Recipe(path=_ORG, query={"team": "{team}"}),
    "GET /o/{slug}/statements/{statement_id}": Recipe(path={**_ORG, "statement_id": "{statement}"}),
    "GET /o/{slug}/unattributed": Recipe(
        path=_ORG, asks=({"range": "30d"}, {"range": "30d", "act": "map", "kind": "team", "name": "x"})
    ),
    "POST /o/{slug}/unattributed": Recipe(
        path=_ORG,
        body={"slug": "{team}"},
        needs=lambda own: {"act": "map", "kind": "team", "name": unique("a"), "slug": own.fill("{team}")},
    ),
    "GET /o/{slug}/names": Recipe(path=_ORG),
    "POST /o/{slug}/names": Recipe(
        path=_ORG, body={"name": "{spare_alias}"}, needs=lambda own: {"kind": "team", "name": own.fill("{spare_alias}")}
    ),
    "GET /o/{slug}/teams": Recipe(path=_ORG, query={"q": "{team}"}),
    "GET /o/{slug}/teams/{team}": Recipe(path={**_ORG, "team": "{team}"}),
    "GET /o/{slug}/projects": Recipe(path=_ORG, query={"q": "{project}"}),
    "GET /o/{slug}/projects/{project}": Recipe(path={**_ORG, "project": "{project}"}),
    "GET /o/{slug}/workflows": Recipe(path=_ORG, query={"q": "{workflow}"}),
    "GET /o/{slug}/workflows/{workflow}": Recipe(path={**_ORG, "workflow": "{workflow}"}),
    "GET /o/{slug}/rules": Recipe(path=_ORG),
    "GET /o/{slug}/rules/new": Recipe(path=_ORG),
    "GET /o/{slug}/rules/{rule_id}": Recipe(path={**_ORG, "rule_id": "{rule}"}),
    "POST /o/{slug}/teams": Recipe(path=_ORG, body={"name": "{team}"}, needs=lambda own: {"slug": unique("t")}),
    "POST /o/{slug}/projects": Recipe(path=_ORG, body={"of": "{team}"}, needs=lambda own: {"slug": unique("p")}),
    "POST /o/{slug}/workflows": Recipe(
        path=_ORG,
        body={"of": "{project}"},
        needs=lambda own: {"slug": unique("w"), "of": own.fill("{project}")},
    ),
    "POST /o/{slug}/teams/{team}": Recipe(
        path={**_ORG, "team": "{team}"}, needs=lambda own: {"act": "rename", "name": own.fill("{team}")}
    ),
    "POST /o/{slug}/projects/{project}": Recipe(
        path={**_ORG, "project": "{project}"},
        body={"to": "{team}"},
        needs=lambda own: {"act": "move", "to": own.fill("{given}")},
    ),
    "POST /o/{slug}/workflows/{workflow}": Recipe(
        path={**_ORG, "workflow": "{workflow}"},
        body={"to": "{project}"},
        needs=lambda own: {"act": "move", "to": own.fill("{idle}")},
    ),
    "POST /o/{slug}/rules/new": Recipe(
        path=_ORG,
        body={"gives.team": "{team}", "gives.project": "{project}", "gives.workflow": "{workflow}"},
        needs=lambda own: {"name": "tests", "scope.user": "nobody", "gives.team": own.fill("{given}")},
    ),
    "POST /o/{slug}/rules/{rule_id}": Recipe(
        path={**_ORG, "rule_id": "{rule}"},
        body={"gives.team": "{team}"},
        needs=lambda own: {"name": "tests", "scope.user": "nobody", "gives.team": own.fill("{given}")},
    ),
    "POST /o/{slug}/rules/{rule_id}/{act}": Recipe(path={**_ORG, "rule_id": "{rule}", "act": "up"}),
    "GET /o/{slug}/unpriced": Recipe(path=_ORG, asks=({"range": "30d"},)),
    "GET /o/{slug}/declared": Recipe(path=_ORG, asks=({"range": "30d"},)),
    "GET /o/{slug}/prices": Recipe(path=_ORG),
    "GET /o/{slug}/prices/{provider}/{model}": Recipe(path={**_ORG, "provider": "openai", "model": "o3"}),
    "GET /o/{slug}/contracts": Recipe(path=_ORG),
    "GET /o/{slug}/contracts/new": Recipe(path=_ORG),
    "GET /o/{slug}/reratings": Recipe(path=_ORG),
    "GET /o/{slug}/reratings/new": Recipe(path=_ORG),
    "GET /o/{slug}/reratings/{rerating_id}": Recipe(path={**_ORG, "rerating_id": "{rerating}"}),
    "GET /o/{slug}/alerts": Recipe(path=_ORG),
    "GET /o/{slug}/alerts/channels/new": Recipe(path=_ORG),
    "GET /o/{slug}/alerts/channels/{channel_id}": Recipe(path={**_ORG, "channel_id": "{channel}"}),
    "GET /o/{slug}/alerts/deliveries": Recipe(path=_ORG, query={"channel": "{channel}"}),
    "POST /o/{slug}/alerts/channels/new": Recipe(
        path=_ORG,
        body={"team": "{team}"},
        needs=lambda own: {"kind": "email", "name": unique("ch"), "target": "ops@example.com"},
    ),
    "POST /o/{slug}/alerts/channels/{channel_id}": Recipe(
        path={**_ORG, "channel_id": "{channel}"}, body={"team": "{team}"}, needs=lambda own: {"name": unique("ch")}
    ),
    "POST /o/{slug}/alerts/channels/{channel_id}/{act}": Recipe(
        path={**_ORG, "channel_id": "{channel}", "act": "test"}
    ),
    "POST /o/{slug}/alerts/deliveries/{delivery_id}/retry": Recipe(path={**_ORG, "delivery_id": "{delivery}"}),
    "POST /o/{slug}/contracts": Recipe(
        path=_ORG, needs=lambda own: {"provider": "tests", "name": unique("m"), **KNOWN_MODEL}
    ),
    "POST /o/{slug}/contracts/new": Recipe(
        path=_ORG,
        body={"team": "{team}"},
        needs=lambda own: {
            "kind": "throughput",
            "name": "tests",
            "provider": "tests",
            "model": unique("m"),
            "amount_usd": "1",
        },
    ),
    "POST /o/{slug}/contracts/end/{contract_id}": Recipe(
        path={**_ORG, "contract_id": "{contract}"}, needs=lambda own: {"ends": "2198-01-01"}
    ),
    "POST /o/{slug}/contracts/aliases/{alias_id}": Recipe(path={**_ORG, "alias_id": "{model_alias}"}),
    "GET /o/{slug}/budgets": Recipe(path=_ORG),
    "GET /o/{slug}/budgets/new": Recipe(path=_ORG),
    "GET /o/{slug}/budgets/{budget_id}": Recipe(path={**_ORG, "budget_id": "{budget}"}),
    "GET /o/{slug}/budgets/{budget_id}/edit": Recipe(path={**_ORG, "budget_id": "{budget}"}),
    "GET /o/{slug}/reservations": Recipe(path=_ORG, query={"run_id": "{run_id}"}, asks=({"state": "held"},)),
    "GET /o/{slug}/run-bounds": Recipe(path=_ORG, query={"workflow": "{workflow}"}),
    "GET /o/{slug}/stop": Recipe(path=_ORG, asks=({"kind": "team", "target": "{team}"}, {"kind": "organization"})),
    **{
        f"GET /o/{{slug}}/audit{ending}": Recipe(path=_ORG, query={"actor": "{actor}", "subject": "{budget_name}"})
        for ending in ("", ".csv", ".ndjson")
    },
    "POST /o/{slug}/budgets/new": Recipe(
        path=_ORG,
        body={
            "name": "{team}",
            "scope.team": "{team}",
            "scope.project": "{project}",
            "scope.workflow": "{workflow}",
            "scope.user": "{user}",
        },
        needs=lambda own: {"name": unique("b"), "amount_usd": "1", "period": "month", "mode": "notify"},
    ),
    "POST /o/{slug}/budgets/unpriced-policy": Recipe(path=_ORG, needs=lambda own: {"unpriced_policy": "allow"}),
    "POST /o/{slug}/budgets/raises/{raise_id}/{act}": Recipe(path={**_ORG, "raise_id": "{raise}", "act": "approve"}),
    "POST /o/{slug}/budgets/{budget_id}": Recipe(
        path={**_ORG, "budget_id": "{budget}"},
        needs=lambda own: {"amount_usd": "1", "until": own.fill("{tomorrow}"), "reason": "tests"},
    ),
    "POST /o/{slug}/budgets/{budget_id}/edit": Recipe(
        path={**_ORG, "budget_id": "{budget}"},
        body={"name": "{team}"},
        needs=lambda own: {"name": unique("b"), "amount_usd": "2", "mode": "notify"},
    ),
    "POST /o/{slug}/budgets/{budget_id}/end": Recipe(path={**_ORG, "budget_id": "{budget}"}),
    "POST /o/{slug}/run-bounds": Recipe(
        path=_ORG,
        body={"workflow": "{workflow}"},
        needs=lambda own: {"workflow": own.fill("{workflow}"), "max_steps": "5"},
    ),
    "POST /o/{slug}/run-bounds/{workflow}/remove": Recipe(path={**_ORG, "workflow": "{workflow}"}),
    "POST /o/{slug}/stop/{stop_id}/lift": Recipe(path={**_ORG, "stop_id": "{stop}"}),
    "POST /o/{slug}/stop": Recipe(
        path=_ORG,
        body={"target": "{team}"},
        needs=lambda own: {"kind": "team", "target": own.fill("{team}"), "reason": "tests"},
    ),
    "POST /o/{slug}/reratings/new": Recipe(
        path=_ORG, needs=lambda own: {"reason": "tests", "from": "2026-01-01", "to": "2026-01-02"}
    ),
    "POST /o/{slug}/reratings/{rerating_id}/{act}": Recipe(
        path={**_ORG, "rerating_id": "{stopped_rerating}", "act": "stop"}
    ),
}

# What members and owners do; the acts that end something stand last.
PAGES |= {
    "GET /organizations/new": Recipe(),
    "GET /o/{slug}/members": Recipe(path=_ORG, query={"q": "{member_name}"}),
    "GET /o/{slug}/members/invite": Recipe(path=_ORG),
    "GET /o/{slug}/members/{member_id}": Recipe(path={**_ORG, "member_id": "{member}"}),
    "GET /o/{slug}/keys": Recipe(path=_ORG),
    "GET /o/{slug}/keys/new": Recipe(path=_ORG),
    "GET /o/{slug}/keys/{key_id}/rotate": Recipe(path={**_ORG, "key_id": "{worn_key}"}),
    "GET /o/{slug}/organization": Recipe(path=_ORG),
    "GET /o/{slug}/first-event": Recipe(path=_ORG),
    "GET /o/{slug}/first-event/seen": Recipe(path=_ORG),
    # Slugs are everybody's: a name that is taken gets a number.
    "POST /organizations/new": Recipe(needs=lambda own: {"name": unique("new"), "zone": "UTC"}),
    "POST /o/{slug}/members/invite": Recipe(
        path=_ORG,
        body={"email": "{team}@people.example", "teams": "{team}"},
        needs=lambda own: {"email": f"{unique('bob')}@people.example", "role": "lead", "teams": own.fill("{team}")},
    ),
    "POST /o/{slug}/members/{member_id}": Recipe(
        path={**_ORG, "member_id": "{member}"},
        body={"teams": "{team}"},
        needs=lambda own: {"role": "lead", "teams": own.fill("{team}")},
    ),
    "POST /o/{slug}/members/invitations/{invitation_id}/{act}": Recipe(
        path={**_ORG, "invitation_id": "{invitation}", "act": "revoke"}
    ),
    "POST /o/{slug}/keys/new": Recipe(
        path=_ORG,
        body={"team": "{team}", "project": "{project}", "environment": "{environment}"},
        needs=lambda own: {"name": "tests", "scopes": "read"},
    ),
    "POST /o/{slug}/keys/{key_id}/rotate": Recipe(
        path={**_ORG, "key_id": "{worn_key}"}, needs=lambda own: {"overlap": "3600"}
    ),
    "POST /o/{slug}/keys/{key_id}/revoke": Recipe(path={**_ORG, "key_id": "{spare_key}"}),
    "POST /o/{slug}/organization/zone": Recipe(path=_ORG, needs=lambda own: {"zone": "Asia/Tokyo", "month": "2100-01"}),
    "POST /o/{slug}/organization/second-factor": Recipe(path=_ORG, needs=lambda own: {"required": "no"}),
    "GET /o/{slug}/single-sign-on": Recipe(path=_ORG),
    # A domain that another organization has is taken: that is the point of proving it.
    "POST /o/{slug}/single-sign-on/domains": Recipe(
        path=_ORG, needs=lambda own: {"domain": f"{unique('new')}.example"}
    ),
    "POST /o/{slug}/single-sign-on/domains/{domain_id}/verify": Recipe(path={**_ORG, "domain_id": "{domain}"}),
    "POST /o/{slug}/single-sign-on/oidc": Recipe(
        path=_ORG,
        body={"client_id": "{team}"},
        needs=lambda own: {
            "server_url": "https://id.example.com",
            "client_id": "x",
            "client_secret": "y",
            "default_role": "viewer",
        },
    ),
    "POST /o/{slug}/single-sign-on/saml": Recipe(path=_ORG, needs=lambda own: {**SAML, "certificate": certificate()}),
    "POST /o/{slug}/single-sign-on/enforce": Recipe(path=_ORG, needs=lambda own: {"enforced": "no"}),
    "POST /o/{slug}/single-sign-on/domains/{domain_id}/remove": Recipe(path={**_ORG, "domain_id": "{domain}"}),
    "POST /o/{slug}/single-sign-on/disconnect": Recipe(path=_ORG),
    "POST /o/{slug}/members/{member_id}/transfer": Recipe(path={**_ORG, "member_id": "{member}"}),
    "POST /o/{slug}/members/{member_id}/remove": Recipe(path={**_ORG, "member_id": "{member}"}),
    "POST /o/{slug}/members/leave": Recipe(path=_ORG),
    "POST /o/{slug}/organization/delete": Recipe(path=_ORG, needs=lambda own: {"slug": own.fill("{org}")}),
    "POST /o/{slug}/organization/restore": Recipe(path=_ORG),
}

# Addresses that belong to no organization, and why each may stay without a recipe.
PUBLIC = {
    "/healthz": "asked by a load balancer",
    "/readyz": "asked by a load balancer",
    "/metrics": "asked by Prometheus, with a token: figures of the installation",
    "/api/v1/schema": "describes the API, holds no data",
    "/operator/prices": "for operators: the catalog, which is nobody's",
    "/staff/": "for operators, who look after every organization: tests/portal/test_staff.py says who enters",
    "/looking/end": "an operator's own looking as a member, of no organization",
    "/api/v1/docs": "describes the API, holds no data",
    "/sso/": "leads to an organization's own sign-in, before anybody belongs to anything",
    "/invitations/{token}": "read by whoever got the mail, before they belong to anything",
    "/account/sessions/{session_id}/end": "a person's own sessions, of no organization",
    "/accounts/": "allauth: signing in and out, before any organization is chosen",
}
