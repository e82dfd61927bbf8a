"""The operations of the API that change something, in an order in which none makes what a later one looks up."""

from tests.api.recipes.recipe import A_PLAN, KNOWN_MODEL, MONTH, RANGE, WORDS, Recipe
from tests.api.stage import LABELS, REVIEWED, Names, usage_line
from tests.world import make_event, unique

PLANNED = ("team", "project", "workflow", "user", "task_type", "environment", "provider")
KNOWN = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
# Months with nothing in them, one for each act: what is closed is not reviewed.
CLOSED, LOOKED_OVER, REOPENED = ({"month": f"2020-0{number}"} for number in (1, 3, 4))
CHANNEL_WORDS = frozenset({"kind", "min_severity", "quiet_from", "quiet_until", "digest"})
GIVEN_BY_RULES = {"team": "{given}", "project": "{project}", "workflow": "{workflow}"}
A_POOL = {"source": "amount", "amount_usd": "1", "method": "central"}
NAMED_BY_POOLS = {"contract": "{contract}", "team": "{given}", "to_team": "{given}", "percents": {"{given}": "100"}}
PLAN_WORDS = frozenset({"definition", "prices_at", "prices", "seed", "budget_usd"})
POOL_WORDS = frozenset({"name", "source", "method", "order", "amount_usd", "driver", "base", "capacity", "from_month"})


def a_bill() -> dict[str, object]:
    """A day of OpenAI's costs, another each time."""
    result = {"amount": {"value": 1, "currency": "usd"}, "line_item": unique("gpt-4o")}
    return {"data": [{"start_time": 1793491200, "end_time": 1793577600, "results": [result]}]}


MARK_WORDS = frozenset({"kind", "name", "scope_kind", "starts_at", "ends_at"})


def a_mark(own: Names) -> dict[str, object]:
    """Of a workflow, for a day."""
    return {
        "kind": "event", "name": "tests", "scope_kind": "workflow", "scope": own.fill("{workflow}"),
        "starts_at": "2026-12-01T00:00:00Z", "ends_at": "2026-12-02T00:00:00Z",
    }  # fmt: skip


WRITES: dict[str, Recipe] = {
    # A file is the body: what of it could be somebody's, its mapping, is named in the query.
    "POST /api/v1/invoices": Recipe(
        query={"mapping": "{bill_mapping_name}", "provider": "{provider}", "format": "openai_costs"},
        needs=lambda own: a_bill(),
        neutral=frozenset({"format", "month", "number", "per_usd", "source", "days", "category", "file", "data"}),
    ),
    "POST /api/v1/invoices/mappings": Recipe(
        body={"name": "{bill_mapping_name}"},
        needs=lambda own: {"name": unique("m"), "mapped": {"provider": "=x", "amount": "A", "currency": "=USD"}},
    ),
    "DELETE /api/v1/invoices/mappings/{mapping_id}": Recipe(path={"mapping_id": "{spare_bill_mapping}"}),
    "POST /api/v1/invoices/{invoice_id}/true-up": Recipe(path={"invoice_id": "{invoice}"}),
    "DELETE /api/v1/invoices/{invoice_id}": Recipe(path={"invoice_id": "{spare_invoice}"}),
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
    "POST /api/v1/views": Recipe(
        body={"query": "team={team}"},
        needs=lambda own: {"name": unique("view"), "query": "group_by=model"},
        neutral=frozenset({"name"}),
    ),
    "PATCH /api/v1/views/{view_id}": Recipe(
        path={"view_id": "{view}"},
        body={"query": "team={team}"},
        needs=lambda own: {"query": "group_by=model"},
        neutral=frozenset({"name"}),
    ),
    "POST /api/v1/exports": Recipe(
        # What is left out is named in the same way, and a fourth export at a time would be one too many.
        body={"filters": {"team": "{team}"}},
        needs=lambda own: {
            "format": "csv",
            "group_by": ["model"],
            "from": "2026-11-01T00:00:00Z",
            "to": "2026-11-02T00:00:00Z",
        },
        neutral=frozenset({"format", "from", "to", "group_by", "basis", "excluded"}),
    ),
    "DELETE /api/v1/exports/{export_id}": Recipe(path={"export_id": "{spare_key_export}"}),
    "DELETE /api/v1/views/{view_id}": Recipe(path={"view_id": "{spare_view}"}),
    "PATCH /api/v1/teams/{slug}": Recipe(
        path={"slug": "{team}"},
        body={"name": "{team}"},
        needs=lambda own: {"name": own.fill("{team}")},
        neutral=frozenset({"cost_centre"}),
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
    "POST /api/v1/plans": Recipe(
        body={"workflow": "{workflow}", "team": "{given}", "project": "{project}", "owner": "{owner_email}"},
        needs=lambda own: {"name": unique("plan"), "workflow": unique("w"), "definition": A_PLAN},
        neutral=PLAN_WORDS | {"name", "launch_on", "template", "note"},
    ),
    "PATCH /api/v1/plans/{plan_id}": Recipe(
        path={"plan_id": "{plan}"},
        body={"team": "{given}", "project": "{project}", "owner": "{owner_email}"},
        neutral=frozenset({"name", "workflow", "launch_on"}),
    ),
    "POST /api/v1/plans/{plan_id}/versions": Recipe(
        path={"plan_id": "{plan}"},
        needs=lambda own: {"base_version": 1, "definition": A_PLAN},
        neutral=PLAN_WORDS | {"base_version", "note"},
    ),
    "POST /api/v1/plans/{plan_id}/approve": Recipe(
        path={"plan_id": "{spare_plan}"},
        needs=lambda own: {"version": 1},
        neutral=frozenset({"version", "conditions"}),
    ),
    "POST /api/v1/plans/{plan_id}/reject": Recipe(
        path={"plan_id": "{worn_plan}"},
        needs=lambda own: {"version": 1, "reason": "tests"},
        neutral=frozenset({"version", "reason"}),
    ),
    "POST /api/v1/plans/{plan_id}/launch": Recipe(path={"plan_id": "{spare_plan}"}),
    "POST /api/v1/plans/{plan_id}/budgets": Recipe(
        path={"plan_id": "{spare_plan}"}, neutral=frozenset({"controls", "month"})
    ),
    "POST /api/v1/plans/{plan_id}/retire": Recipe(
        path={"plan_id": "{worn_plan}"}, neutral=frozenset({"reason", "ends_on"})
    ),
    "POST /api/v1/allocations/preview": Recipe(
        body={"replaces": "{pool}"},
        needs=lambda own: {"pool": {"name": unique("pool"), **A_POOL}},
        neutral=frozenset({"month", "pool"}),
    ),
    "POST /api/v1/allocations": Recipe(
        body=NAMED_BY_POOLS, needs=lambda own: {"name": unique("pool"), **A_POOL}, neutral=POOL_WORDS | {"until_month"}
    ),
    "POST /api/v1/allocations/{pool_id}/move": Recipe(
        path={"pool_id": "{pool}"},
        needs=lambda own: {"direction": "up"},
        neutral=frozenset({"direction", "from_month"}),
    ),
    "PUT /api/v1/allocations/{pool_id}": Recipe(
        path={"pool_id": "{pool}"},
        body=NAMED_BY_POOLS,
        needs=lambda own: {"name": unique("pool"), **A_POOL},
        neutral=POOL_WORDS,
    ),
    "DELETE /api/v1/allocations/{pool_id}": Recipe(path={"pool_id": "{spare_pool}"}, neutral=MONTH),
    "POST /api/v1/teams": Recipe(
        body={"slug": "{team}", "name": "{team}"},
        needs=lambda own: {"slug": unique("t")},
        neutral=frozenset({"cost_centre"}),
    ),
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
    "PUT /api/v1/statements/mail": Recipe(needs=lambda own: {"hours_after": 1}),
    "POST /api/v1/statements/recipients": Recipe(
        body={"team": "{team}"},
        needs=lambda own: {
            "address": f"{unique('a')}@people.example",
            "covers": "team",
            "team": own.fill("{team}"),
        },
        neutral=frozenset({"address", "covers"}),
    ),
    "POST /api/v1/statements/recipients/confirm": Recipe(
        body={"address": "{spare_bounced}"}, needs=lambda own: {"address": own.fill("{bounced}")}
    ),
    "DELETE /api/v1/statements/recipients/{recipient_id}": Recipe(path={"recipient_id": "{worn_recipient}"}),
    "POST /api/v1/statements/mails/{mail_id}/resend": Recipe(path={"mail_id": "{api_mail}"}),
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
    "PUT /api/v1/statements/terms": Recipe(
        needs=lambda own: {"close_after_hours": 24}, neutral=frozenset({"currency"})
    ),
    "POST /api/v1/statements/rates": Recipe(
        body={"source": "{team}"},
        needs=lambda own: {"month": REVIEWED, "currency": "EUR", "rate": "0.9", "source": "tests"},
        wrap=lambda fields: {"rates": [fields]},
        neutral=MONTH | {"currency", "rate"},
    ),
    "POST /api/v1/statements/adjustments": Recipe(
        body={"team": "{team}", "name": "{team}", "reason": "{team}"},
        needs=lambda own: {
            "month": REVIEWED,
            "team": own.fill("{team}"),
            "name": "tests",
            "amount_usd": "1",
            "reason": "tests",
        },
        neutral=MONTH | {"kind", "amount_usd", "refers_to", "request_id"},
    ),
    **{
        f"POST /api/v1/signals/{{incident_id}}/{act}": Recipe(
            path={"incident_id": f"{{{act}_incident}}"},
            needs=lambda own: {"reason": "tests"},
            neutral=frozenset({"reason"}),
        )
        for act in ("acknowledge", "expect", "dismiss", "resolve")
    },
    "POST /api/v1/marks": Recipe(body={"scope": "{workflow}"}, needs=a_mark, neutral=MARK_WORDS),
    "PUT /api/v1/marks/{mark_id}": Recipe(
        path={"mark_id": "{mark}"}, body={"scope": "{workflow}"}, needs=a_mark, neutral=MARK_WORDS
    ),
    "DELETE /api/v1/marks/{mark_id}": Recipe(path={"mark_id": "{spare_mark}"}),
    "POST /api/v1/recommendations/{recommendation_id}/accept": Recipe(
        path={"recommendation_id": "{recommendation}"},
        neutral=frozenset(
            (
                "hours",
                "hourly_rate_usd",
                "trial",
                "control_runs",
                "control_successes",
                "trial_runs",
                "trial_successes",
            )
        ),
    ),
    "POST /api/v1/recommendations/{recommendation_id}/dismiss": Recipe(
        path={"recommendation_id": "{spare_recommendation}"},
        needs=lambda own: {"reason": "tests"},
        neutral=frozenset({"reason"}),
    ),
    "POST /api/v1/recommendations/{recommendation_id}/done": Recipe(
        path={"recommendation_id": "{third_recommendation}"}, neutral=frozenset({"adopted_at"})
    ),
    "POST /api/v1/recommendations/{recommendation_id}/reopen": Recipe(
        path={"recommendation_id": "{spare_recommendation}"}
    ),
    "POST /api/v1/statements/disputes": Recipe(
        body={"statement": f"{REVIEWED}:{{team}}"},
        needs=lambda own: {
            "statement": own.fill("{statement}"),
            "line": usage_line(own.fill("{project}"), own.fill("{workflow}")),
            "reason": "tests",
        },
        neutral=frozenset(
            ("line", "kind", "project", "workflow", "provider", "model", "of_month", "name", "source", "reason")
        ),
    ),
    "POST /api/v1/statements/disputes/{dispute_id}/reject": Recipe(
        path={"dispute_id": "{spare_dispute}"}, needs=lambda own: {"answer": "tests"}, neutral=frozenset({"answer"})
    ),
    "POST /api/v1/statements/disputes/{dispute_id}/move": Recipe(
        path={"dispute_id": "{dispute}"},
        body={"team": "{team}"},
        needs=lambda own: {"team": own.fill("{given}"), "preview": True},
        neutral=frozenset({"answer", "from_day"}),
    ),
    "POST /api/v1/statements/months/{month}/review": Recipe(path=LOOKED_OVER, neutral=MONTH),
    "POST /api/v1/statements/months/{month}/reopen": Recipe(path=REOPENED, neutral=MONTH),
    "POST /api/v1/statements/months/{month}/close": Recipe(path=CLOSED, neutral=MONTH),
    "POST /api/v1/statements/{statement_id}/finalize": Recipe(path={"statement_id": "{reviewed_statement}"}),
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
