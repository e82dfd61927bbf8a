"""The operations of the API that change nothing."""

from apps.reports.papers import PAPERS
from tests.api.recipes.recipe import A_PLAN, FOUND_BY, MONTH, RANGE, RUN_FOUND_BY, WORDS, Recipe
from tests.api.stage import REVIEWED, SEALED

LISTED = frozenset({"limit", "cursor"})

READS: dict[str, Recipe] = {
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
    "GET /api/v1/forecasts": Recipe(
        query={"team": "{team}", "project": "{project}", "workflow": "{workflow}", "cursor": "{forecast_cursor}"},
        asks=({"scope": "team"}, {"limit": "1"}),
        neutral=LISTED | MONTH | {"scope"},
    ),
    "GET /api/v1/statements": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements.csv": Recipe(query={"team": "{team}"}, neutral=MONTH),
    "GET /api/v1/statements/{statement_id}": Recipe(path={"statement_id": "{statement}"}),
    **{
        f"GET /api/v1/statements/{{statement_id}}.{paper}": Recipe(path={"statement_id": "{statement}"})
        for paper in PAPERS
    },
    "GET /api/v1/statements/terms": Recipe(),
    "GET /api/v1/statements/rates": Recipe(asks=({"month": REVIEWED},), neutral=LISTED | MONTH),
    "GET /api/v1/statements/adjustments": Recipe(asks=({"month": REVIEWED},), neutral=LISTED | MONTH),
    "GET /api/v1/statements/disputes": Recipe(query={"team": "{team}"}, neutral=LISTED | MONTH | {"state"}),
    "GET /api/v1/signals": Recipe(
        query={"team": "{team}", "project": "{project}", "workflow": "{workflow}"},
        asks=({"state": "live"}, {"signal": "loops_per_run", "tier": "notify"}),
        neutral=LISTED | {"state", "signal", "tier"},
    ),
    "GET /api/v1/signals/{incident_id}": Recipe(path={"incident_id": "{incident}"}),
    "GET /api/v1/workflows/{slug}/signals": Recipe(path={"slug": "{workflow}"}, neutral=frozenset({"from", "to"})),
    "GET /api/v1/marks": Recipe(neutral=LISTED),
    "GET /api/v1/statements/months/{month}": Recipe(path={"month": SEALED}, neutral=MONTH),
    "GET /api/v1/recommendations": Recipe(
        query={"team": "{team}", "project": "{project}", "workflow": "{workflow}"},
        neutral=LISTED | {"state", "kind", "vanished"},
    ),
    "GET /api/v1/recommendations/{recommendation_id}": Recipe(path={"recommendation_id": "{recommendation}"}),
    "GET /api/v1/savings": Recipe(neutral=LISTED),
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
    "GET /api/v1/allocations": Recipe(neutral=MONTH),
    "GET /api/v1/allocations/{pool_id}": Recipe(path={"pool_id": "{pool}"}),
    "GET /api/v1/plans": Recipe(
        query={"team": "{given}", "project": "{idle}", "workflow": "{plan_workflow}"},
        asks=({"state": "approved"},),
        neutral=frozenset({"state", "limit", "cursor"}),
    ),
    "GET /api/v1/plans/{plan_id}": Recipe(path={"plan_id": "{plan}"}),
    "GET /api/v1/plans/{plan_id}/versions": Recipe(path={"plan_id": "{plan}"}),
    "GET /api/v1/plans/{plan_id}/versions/{number}": Recipe(
        path={"plan_id": "{plan}", "number": "1"}, neutral=frozenset({"number"})
    ),
    "GET /api/v1/plans/{plan_id}/variance": Recipe(path={"plan_id": "{plan}"}, neutral=MONTH),
    "GET /api/v1/variance": Recipe(
        query={name: f"{{{name}}}" for name in ("workflow", "team", "project", "environment")},
        neutral=MONTH | {"before"},
    ),
    "GET /api/v1/plans/missing": Recipe(query={"team": "{team}", "project": "{project}"}),
    "GET /api/v1/plans/templates": Recipe(),
    "POST /api/v1/plans/estimate": Recipe(
        needs=lambda own: {"definition": A_PLAN},
        neutral=frozenset({"definition", "prices_at", "prices", "seed", "budget_usd", "variants"}),
    ),
    "POST /api/v1/plans/fit": Recipe(
        body={"workflow": "{workflow}"},
        needs=lambda own: {"workflow": own.values["workflow"]},
        neutral=frozenset({"days"}),
    ),
    "GET /api/v1/contracts/{contract_id}": Recipe(path={"contract_id": "{contract}"}),
    "GET /api/v1/model-aliases": Recipe(),
    "GET /api/v1/reratings": Recipe(),
    "GET /api/v1/reratings/{rerating_id}": Recipe(path={"rerating_id": "{rerating}"}),
    "GET /api/v1/statements/mail": Recipe(),
    "GET /api/v1/statements/recipients": Recipe(),
    "GET /api/v1/statements/mails": Recipe(
        asks=({"month": "{this_month}"}, {"state": "refused"}), neutral=frozenset({"state", "month", "limit", "cursor"})
    ),
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
    "GET /api/v1/invoices": Recipe(query={"provider": "{provider}"}, neutral=MONTH | LISTED),
    "GET /api/v1/invoices/mappings": Recipe(),
    "GET /api/v1/invoices/{invoice_id}": Recipe(path={"invoice_id": "{invoice}"}, neutral=LISTED),
    "GET /api/v1/invoices/{invoice_id}/reconciliation": Recipe(
        path={"invoice_id": "{invoice}"}, query={"model": "{model}"}
    ),
    "GET /api/v1/invoices/{invoice_id}/true-up": Recipe(path={"invoice_id": "{invoice}"}),
    "GET /api/v1/views": Recipe(neutral=LISTED),
    "GET /api/v1/views/{view_id}": Recipe(path={"view_id": "{view}"}),
    "GET /api/v1/exports": Recipe(neutral=LISTED),
    "GET /api/v1/exports/{export_id}": Recipe(path={"export_id": "{key_export}"}),
    "GET /api/v1/exports/{export_id}/file": Recipe(path={"export_id": "{key_export}"}),
}
