"""The pages and their forms."""

from apps.reports.disputes import line_key
from apps.reports.papers import PAPERS
from tests.api.recipes.recipe import FOUND_BY, KNOWN_MODEL, RUN_FOUND_BY, Recipe
from tests.api.stage import REVIEWED, SEALED, usage_line
from tests.identity import SAML, certificate
from tests.world import unique

_ORG = {"slug": "{org}"}
PLAN_FORM = {
    "steps": "1",
    "steps[0].name": "answer",
    "steps[0].model": "anthropic/claude-sonnet-4-5",
    "runs_per_month.likely": "1000",
}
A_POOL = {"source": "amount", "amount_usd": "1", "method": "central", "from_month": "2198-01"}
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
    "GET /o/{slug}/search": Recipe(
        path=_ORG, query={"q": "{run_id}"}, asks=({"q": "team"}, {"q": "e"}, {"q": "view"}, {"q": "{owner_email}"})
    ),
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
    "GET /o/{slug}/statements": Recipe(path=_ORG, asks=({"month": REVIEWED}, {"month": SEALED})),
    "GET /o/{slug}/statements.csv": Recipe(path=_ORG, query={"team": "{team}"}),
    "GET /o/{slug}/statements/{statement_id}": Recipe(path={**_ORG, "statement_id": "{statement}"}),
    **{
        f"GET /o/{{slug}}/statements/{{statement_id}}.{paper}": Recipe(path={**_ORG, "statement_id": "{statement}"})
        for paper in PAPERS
    },
    "GET /o/{slug}/allocations": Recipe(path=_ORG),
    "GET /o/{slug}/allocations/new": Recipe(path=_ORG),
    "GET /o/{slug}/allocations/{pool_id}": Recipe(path={**_ORG, "pool_id": "{pool}"}),
    "GET /o/{slug}/plans": Recipe(path=_ORG, asks=({"state": "approved"},)),
    "GET /o/{slug}/plans/missing": Recipe(path=_ORG),
    "GET /o/{slug}/plans/new": Recipe(path=_ORG, asks=({"from": "chat"},)),
    "GET /o/{slug}/plans/{plan_id}": Recipe(path={**_ORG, "plan_id": "{plan}"}),
    "GET /o/{slug}/plans/{plan_id}/against": Recipe(path={**_ORG, "plan_id": "{plan}"}),
    "GET /o/{slug}/spend/months": Recipe(
        path=_ORG, query={name: f"{{{name}}}" for name in ("workflow", "team", "project", "environment")}
    ),
    "GET /o/{slug}/plans/{plan_id}/edit": Recipe(path={**_ORG, "plan_id": "{plan}"}),
    "GET /o/{slug}/plans/{plan_id}/what-if": Recipe(path={**_ORG, "plan_id": "{plan}"}),
    "GET /o/{slug}/statements/adjustments": Recipe(path=_ORG, asks=({"month": REVIEWED}, {"month": SEALED})),
    "GET /o/{slug}/statements/closing": Recipe(path=_ORG),
    "GET /o/{slug}/invoices": Recipe(path=_ORG),
    "GET /o/{slug}/invoices/new": Recipe(path=_ORG),
    "POST /o/{slug}/invoices/new": Recipe(path=_ORG),
    "GET /o/{slug}/invoices/mappings": Recipe(path=_ORG),
    "POST /o/{slug}/invoices/mappings": Recipe(
        path=_ORG,
        body={"name": "{bill_mapping_name}"},
        needs=lambda own: {
            "name": unique("m"),
            "sample": '[["A"], []]',
            "column.amount": "A",
            "always.provider": "x",
            "always.currency": "USD",
        },
    ),
    "POST /o/{slug}/invoices/mappings/{mapping_id}/remove": Recipe(path={**_ORG, "mapping_id": "{spare_bill_mapping}"}),
    "GET /o/{slug}/invoices/{invoice_id}": Recipe(path={**_ORG, "invoice_id": "{invoice}"}),
    "GET /o/{slug}/invoices/{invoice_id}/reconciliation": Recipe(
        path={**_ORG, "invoice_id": "{invoice}"}, query={"model": "{model}"}
    ),
    "POST /o/{slug}/invoices/{invoice_id}/true-up": Recipe(
        path={**_ORG, "invoice_id": "{invoice}"}, needs=lambda own: {"bucket": "unmetered"}
    ),
    "POST /o/{slug}/invoices/{invoice_id}/delete": Recipe(path={**_ORG, "invoice_id": "{spare_invoice}"}),
    "GET /o/{slug}/savings": Recipe(path=_ORG, asks=({"state": "done"}, {"workflow": "{workflow}"})),
    "GET /o/{slug}/savings/{recommendation_id}": Recipe(path={**_ORG, "recommendation_id": "{recommendation}"}),
    "GET /o/{slug}/statements/disputes": Recipe(path=_ORG),
    "GET /o/{slug}/statements/disputes/new": Recipe(path=_ORG),
    "GET /o/{slug}/statements/disputes/{dispute_id}": Recipe(path={**_ORG, "dispute_id": "{dispute}"}),
    "GET /o/{slug}/signals": Recipe(
        path=_ORG, query={"workflow": "{workflow}", "team": "{team}"}, asks=({"state": ""}, {"state": "expected"})
    ),
    "GET /o/{slug}/signals/{incident_id}": Recipe(path={**_ORG, "incident_id": "{incident}"}),
    "POST /o/{slug}/signals/{incident_id}": Recipe(
        path={**_ORG, "incident_id": "{page_incident}"}, needs=lambda own: {"act": "acknowledge"}
    ),
    "GET /o/{slug}/statements/mail": Recipe(path=_ORG, asks=({"state": "unclear"},)),
    "GET /o/{slug}/statements/mail/preview": Recipe(
        path=_ORG, query={"to": "{mail_address}"}, asks=({"month": "{this_month}"},)
    ),
    "POST /o/{slug}/statements/mail": Recipe(
        path=_ORG,
        body={"team": "{team}"},
        needs=lambda own: {
            "act": "add",
            "address": f"{unique('a')}@people.example",
            "covers": "team",
            "team": own.fill("{team}"),
        },
    ),
    "POST /o/{slug}/statements/mail/recipients/{recipient_id}/remove": Recipe(
        path={**_ORG, "recipient_id": "{spare_recipient}"}
    ),
    "POST /o/{slug}/statements/mail/{mail_id}/resend": Recipe(path={**_ORG, "mail_id": "{mail}"}),
    "GET /o/{slug}/forecast": Recipe(
        path=_ORG, asks=({"team": "{team}"}, {"project": "{project}"}, {"workflow": "{workflow}"})
    ),
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
    "POST /o/{slug}/allocations/new": Recipe(
        path=_ORG,
        body={"team": "{given}", "to_team": "{given}", "contract": "{contract}", "share_team.1": "{given}"},
        needs=lambda own: {**A_POOL, "name": unique("pool")},
    ),
    "POST /o/{slug}/allocations/{pool_id}": Recipe(
        path={**_ORG, "pool_id": "{spare_pool}"}, needs=lambda own: {**A_POOL, "name": unique("pool")}
    ),
    "POST /o/{slug}/allocations/{pool_id}/{act}": Recipe(
        path={**_ORG, "pool_id": "{pool}", "act": "up"}, needs=lambda own: {"month": own.values["now"][:7]}
    ),
    "POST /o/{slug}/plans/new": Recipe(
        path=_ORG,
        # A team that is not there is refused on a page that suggests one's own names: the API's recipe tries it.
        body={"workflow": "{workflow}"},
        needs=lambda own: {**PLAN_FORM, "name": unique("plan"), "workflow": unique("w")},
    ),
    "POST /o/{slug}/plans/{plan_id}/edit": Recipe(
        path={**_ORG, "plan_id": "{plan}"}, needs=lambda own: {**PLAN_FORM, "base": "1"}
    ),
    "POST /o/{slug}/plans/{plan_id}/change": Recipe(
        path={**_ORG, "plan_id": "{plan}"},
        body={"owner": "{owner_email}", "team": "{given}"},
        needs=lambda own: {"name": unique("plan")},
    ),
    "POST /o/{slug}/plans/{plan_id}/decide": Recipe(
        path={**_ORG, "plan_id": "{spare_plan}"}, needs=lambda own: {"act": "approve", "version": "1"}
    ),
    "POST /o/{slug}/plans/{plan_id}/launch": Recipe(path={**_ORG, "plan_id": "{spare_plan}"}),
    "POST /o/{slug}/plans/{plan_id}/retire": Recipe(path={**_ORG, "plan_id": "{worn_plan}"}),
    "POST /o/{slug}/plans/{plan_id}/controls": Recipe(path={**_ORG, "plan_id": "{spare_plan}"}),
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
    "POST /o/{slug}/statements/adjustments": Recipe(
        path=_ORG,
        body={"team": "{team}"},
        needs=lambda own: {
            "kind": "adjustment",
            "month": REVIEWED,
            "team": own.fill("{team}"),
            "name": "tests",
            "amount_usd": "1",
            "reason": "tests",
        },
    ),
    "POST /o/{slug}/savings/{recommendation_id}": Recipe(
        path={**_ORG, "recommendation_id": "{spare_recommendation}"}, needs=lambda own: {"act": "reopen"}
    ),
    "POST /o/{slug}/statements/disputes/new": Recipe(
        path=_ORG,
        body={"team": "{team}"},
        needs=lambda own: {
            "month": own.fill("{statement}")[:7],
            "team": own.fill("{team}"),
            "line": line_key(usage_line(own.fill("{project}"), own.fill("{workflow}"))),
            "reason": "tests",
        },
    ),
    "POST /o/{slug}/statements/disputes/{dispute_id}": Recipe(
        path={**_ORG, "dispute_id": "{dispute}"},
        needs=lambda own: {"act": "preview", "team": own.fill("{given}")},
    ),
    "POST /o/{slug}/statements/closing": Recipe(
        path=_ORG, needs=lambda own: {"month": REVIEWED, "currency": "EUR", "rate": "0.9", "source": "tests"}
    ),
    "POST /o/{slug}/statements/months/{month}/{act}": Recipe(path={**_ORG, "month": "2020-02", "act": "review"}),
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
