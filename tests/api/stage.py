"""Acme and Globex with the same shape of data; everything of Acme's carries a canary."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.alerts.channels import create_channel, send_test
from apps.alerts.mail_terms import add_recipient, note_bounce
from apps.alerts.models_statement_mail import StatementMail
from apps.api.schema import USAGE_EVENT
from apps.budgets import services as budgets
from apps.budgets.decisions import Asked, decide, release
from apps.budgets.services import BudgetTerms
from apps.core.cursors import cursor_of
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.insights import recommending
from apps.insights.models import Incident, Mark, Reading
from apps.insights.models_savings import Recommendation
from apps.organizations import sso
from apps.organizations.members import invite
from apps.organizations.models import Organization
from apps.organizations.permissions import Role
from apps.organizations.selectors import Principal, principal_for
from apps.organizations.services import add_member, issue_key
from apps.planner.reckoning import reckon
from apps.planner.services import PlanTerms, approve_plan, change_plan, create_plan
from apps.planner.templates import TEMPLATES
from apps.pricing.agreements import create_contract, set_model_alias
from apps.reports import adjustments, chargeback_terms, closing
from apps.reports.adjustments import AdjustmentDraft
from apps.reports.chargeback_terms import GivenRate
from apps.reports.disputes import IDENTITY
from apps.reports.document import Line
from apps.reports.exporting import Asked as Wanted
from apps.reports.exporting import ask_export, work
from apps.reports.invoices import BillFile, import_invoice, save_mapping
from apps.reports.models import Export, View
from apps.reports.models_disputes import Dispute
from apps.reports.pool_terms import PoolTerms
from apps.reports.pools import create_pool
from apps.reports.selectors import SpendQuestion
from apps.reports.views import save_view
from apps.teams.rulebook import RuleTerms, create_rule
from apps.teams.services import create_project, create_team, create_workflow, map_name, move_project
from apps.usage import repricing, rerating
from apps.usage.forecasting import forecast_month
from apps.usage.services import roll_up
from tests import database
from tests.database import as_worker
from tests.world import Tenant, make_event, make_tenant

# As long as each other, so that answers can be compared byte by byte.
CANARY, NOBODY, GLOBEX = "acmecanary", "nobodyhere", "globexsown"
LABELS = [
    name
    for name, shape in USAGE_EVENT["properties"].items()
    if shape.get("type") == "string" and "enum" not in shape and name not in ("occurred_at", "cost_usd")
]
INCIDENT_ACTS = ("acknowledge", "expect", "dismiss", "resolve")
# What is named by an id, which says nothing of whose it is.
NUMBERED = (
    "api_key", "spare_key", "worn_key", "member", "invitation", "domain", "contract", "model_alias", "budget", "raise",
    "stop", "channel", "spare_channel", "rule", "spare_rule", "view", "spare_view", "export",
    "plan", "spare_plan", "worn_plan",
    "spare_export", "pool", "spare_pool", "dispute", "spare_dispute",
    "incident", "page_incident", *(f"{act}_incident" for act in INCIDENT_ACTS), "mark", "spare_mark",
    "recommendation", "spare_recommendation", "third_recommendation",
    "mail", "api_mail", "spare_recipient", "worn_recipient",
    "key_export", "spare_key_export",
    "invoice", "spare_invoice", "bill_mapping", "spare_bill_mapping",
)  # fmt: skip
RERATINGS = ("rerating", "stopped_rerating")
BY_UUID = (*RERATINGS, "delivery", "reservation", "released", "lease")
# Months that are over, whatever today is: one that is final, and the one after it, in review.
_THIS_MONTH = datetime.now(UTC).date().replace(day=1)
SEALED, REVIEWED = (f"{month_before(_THIS_MONTH, count):%Y-%m}" for count in (3, 2))
# Rolled up are one event of days ago and one of hours ago; one of hours ago and one of this minute still wait.
ROLLED_UP = (timedelta(days=3), timedelta(hours=2))
WAITING = (timedelta(hours=5), timedelta(0))


@dataclass(frozen=True)
class Names:
    """What one side's things are called: values for the templates of recipes."""

    word: str
    values: Mapping[str, str]

    def fill(self, template: Any) -> Any:
        """The template with these names in it; of a mapping, its keys and its values."""
        if isinstance(template, Mapping):
            return {self.fill(key): self.fill(value) for key, value in template.items()}
        return template.format_map(self.values)

    @property
    def nobodys(self) -> "Names":
        """These with another word in the place of theirs, and ids that were never given."""
        values = {kind: value.replace(self.word, NOBODY) for kind, value in self.values.items()}
        ids = {kind: str(int(values[kind]) + 10**9) for kind in NUMBERED}
        others = {kind: str(uuid.UUID(int=uuid.UUID(values[kind]).int ^ 1)) for kind in BY_UUID}
        cursors = {
            "cursor": _cursor(f"{NOBODY}-event_id"),
            "run_cursor": _run_cursor(f"{NOBODY}-run_id"),
            "call_cursor": _call_cursor(f"{NOBODY}-event_id"),
            "forecast_cursor": _forecast_cursor(NOBODY),
        }
        return Names(NOBODY, {**values, **ids, **others, **cursors})


@dataclass(frozen=True)
class Stage:
    acme: Tenant
    globex: Tenant
    bob: User
    acme_names: Names
    globex_names: Names

    @property
    def nobodys_names(self) -> Names:
        return self.acme_names.nobodys


def set_stage() -> Stage:
    """Both organizations, without data."""
    acme, bob, acme_names = set_acme()
    globex = make_tenant(GLOBEX, "charlie")
    return Stage(acme, globex, bob, acme_names, _names(GLOBEX, globex))


def set_acme() -> tuple[Tenant, User, Names]:
    """Acme alone, without data, and Bob, who owns it too."""
    acme = make_tenant(CANARY, "alice", zone="Asia/Tokyo")
    bob = get_or_create_user(email=f"bob@{acme.org.slug}.example")
    add_member(org=acme.org, user=bob, role=Role.OWNER, actor=None)
    return acme, bob, _names(CANARY, acme)


def fill(side: Tenant, names: Names) -> None:
    """A team, project, workflow and alias; priced events that say everything, and one unpriced."""
    team = create_team(org=side.org, slug=names.values["team"])
    project = create_project(org=side.org, slug=names.values["project"], team=team)
    create_workflow(org=side.org, slug=names.values["workflow"], project=project)
    map_name(org=side.org, kind="team", name=names.values["alias"], slug=team.slug, actor=None)
    plan_id, actor = int(names.values["plan"]), names.values["actor"]
    change_plan(org=side.org, plan_id=plan_id, changes={"team": team.slug}, actor=actor)
    _chargeback(side.org, names)
    _hold(side, names)
    _send(side, {name: names.values[name] for name in ("provider", "model")})
    for age in ROLLED_UP:
        _send(side, _everything(names, age))
    with as_worker():
        roll_up(side.org)
        forecast_month(side.org)
    for age in WAITING:
        _send(side, _everything(names, age))


def _chargeback(org: Organization, names: Names) -> None:
    """A month that is final, and one in review with a rate; on each an adjustment of the team."""
    team, actor = names.values["team"], names.values["actor"]
    sealed, reviewed = (date.fromisoformat(f"{name}-01") for name in (SEALED, REVIEWED))
    lines = [
        AdjustmentDraft("adjustment", team, f"{names.word}-adjusted", Decimal(1), f"{names.word}-reason", month)
        for month in (sealed, reviewed)
    ]
    adjustments.book(org=org, lines=lines, actor=actor)
    closing.fence(org=org, month=sealed, actor=actor)
    with as_worker():
        assert closing.work(org, at=datetime.now(UTC)) == 1
    rate = GivenRate(reviewed, "EUR", "0.9", f"{names.word}-source")
    chargeback_terms.enter_rates(org=org, rates=[rate], actor=actor)
    closing.begin_review(org=org, month=reviewed, actor=actor)


def _everything(names: Names, age: timedelta) -> dict[str, Any]:
    """The newest event has the event id that the names say."""
    labels: dict[str, Any] = {name: names.values[name] for name in LABELS if name not in ("provider", "model")}
    labels["tags"] = {names.values["tag"]: names.values["tag_value"]}
    labels["occurred_at"] = (datetime.now(UTC) - age).isoformat()
    if age:
        labels["event_id"] += f"-{age.total_seconds():.0f}"
    return labels


def _send(side: Tenant, said: Mapping[str, Any]) -> None:
    answer = side.api.send(make_event(**said))
    assert answer["accepted"] == 1, answer


def _names(word: str, side: Tenant) -> Names:
    now = datetime.now(UTC)
    return Names(
        word,
        {
            **{label: f"{word}-{label}" for label in LABELS},
            "alias": f"{word}-alias",
            "tag": f"{word}-tag",
            "tag_value": f"{word}-tag_value",
            "statement": f"{now:%Y-%m}:{word}-team",
            "reviewed_statement": f"{REVIEWED}:{word}-team",
            "org": side.org.slug,
            "owner_email": side.owner.email,
            "api_key": str(principal_for(side.api.secret, at=now).key_id),
            "spare_key": str(issue_key(org=side.org, name=f"{word}-spare", scopes=["read"]).key.pk),
            "member_name": f"{word}-member",
            "worn_key": str(issue_key(org=side.org, name=f"{word}-worn", scopes=["read"]).key.pk),
            **_people(word, side.org),
            **_agreements(word, side.org, now),
            **_reratings(word, side.org, now),
            **_budgets(word, side.org, now),
            **_holds(word, side),
            **_channels(word, side.org),
            **_mails(word, side.org, now),
            **_rules(word, side.org),
            **_disputes(word, side.org, now),
            **_incidents(word, side.org, now),
            **_recommendations(word, side.org, now),
            **_pools(word, side.org, now),
            **_plans(word, side.org, now),
            **_bills(word, side.org, now),
            "view": str(_view(word, side).pk),
            "spare_view": str(_view(word, side, "spare_view").pk),
            "export": str(_export(word, side, now).pk),
            "spare_export": str(_export(word, side, now).pk),
            "key_export": str(_export(word, side, now, principal_for(side.api.secret, at=now)).pk),
            "spare_key_export": str(_export(word, side, now, principal_for(side.api.secret, at=now)).pk),
            "cursor": _cursor(f"{word}-event_id"),
            "run_cursor": _run_cursor(f"{word}-run_id"),
            "call_cursor": _call_cursor(f"{word}-event_id"),
            "forecast_cursor": _forecast_cursor(word),
            "since": (now - timedelta(days=10)).isoformat(),
            "now": now.isoformat(),
            "tomorrow": (now + timedelta(days=1)).date().isoformat(),
        },
    )


def _people(word: str, org: Organization) -> dict[str, str]:
    """A member who is no owner, and somebody who is invited."""
    member = get_or_create_user(email=f"{word}-member@{org.slug}.example")
    joined = add_member(org=org, user=member, role=Role.LEAD, teams=[f"{word}-team"], actor=None)
    address = f"{word}-invited@{org.slug}.example"
    invited = invite(org=org, email=address, role=Role.VIEWER, actor=None, by_role=Role.ADMIN)
    domain = sso.add_domain(org=org, name=f"{org.slug}.example", actor=None)
    sso.verify_domain(
        org=org, domain_id=domain.pk, actor=None, look_up=lambda _: [f"{sso.RECORD_PREFIX}{domain.token}"]
    )
    sso.connect_oidc(
        org=org, server_url=f"https://{word}.example", client_id=word, client_secret=word, default_role="viewer",
        actor=None,
    )  # fmt: skip
    return {"member": str(joined.pk), "invitation": str(invited.invitation.pk), "domain": str(domain.pk)}


def _agreements(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """A contract that changes no call's price, and an alias that no call uses."""
    seats = create_contract(
        org=org, actor=None, kind="seats", name=f"{word}-contract", starts_at=at, amount_usd="1", note=f"{word}-note"
    )
    alias = set_model_alias(
        org=org, actor=None, provider=f"{word}-p", name=f"{word}-m", to_provider="openai", to_model="gpt-5"
    )
    return {"contract": str(seats.pk), "model_alias": str(alias.pk)}


def _budgets(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """A budget that counts what its user spends, a raise asked for, and a stop of a run that nobody runs."""
    # Too young for a run rate, which would differ from answer to answer.
    terms = BudgetTerms(
        name=f"{word}-budget",
        scope={"user": f"{word}-user"},
        period="range",
        starts_at=at - timedelta(hours=1),
        ends_at=at + timedelta(days=300),
        amount_usd=Decimal(1000),
    )
    budget = budgets.create_budget(org=org, terms=terms, actor=f"{word}-actor")
    asked = budgets.ask_raise(
        org=org, budget_id=budget.pk, amount_usd=Decimal(1), expires_at=at + timedelta(days=9), reason=f"{word}-reason",
        actor=f"{word}-actor",
    )  # fmt: skip
    stop = budgets.stop(org=org, kind="run", target=f"{word}-stopped", reason=f"{word}-reason", actor=f"{word}-actor")
    return {
        "actor": f"{word}-actor",
        "budget_name": budget.name,
        "budget": str(budget.pk),
        "raise": str(asked.pk),
        "stop": str(stop.pk),
    }


def _holds(word: str, side: Tenant) -> dict[str, str]:
    """A call that is settled, one that was released, and a lease, of a run that nobody runs."""
    principal = principal_for(side.api.secret, at=datetime.now(UTC))

    def held(name: str, **fields: Any) -> str:
        asked = Asked(
            request_id=f"{word}-{name}", provider="openai", model="gpt-5", estimate_usd=Decimal(0), ttl_seconds=3600,
            fingerprint=b"0" * 16, **fields,
        )  # fmt: skip
        return str(decide(principal, asked).reservation_id)

    found = {"reservation": held("call"), "released": held("released"), "lease": held("lease", kind="lease", steps=0)}
    release(principal, uuid.UUID(found["released"]))
    return {**found, "held_event": f"{word}-held"}


def _hold(side: Tenant, names: Names) -> None:
    """A run bound, and money held for a call that says everything."""
    value = names.values
    budgets.set_run_bound(org=side.org, workflow=value["workflow"], bounds={"max_steps": 1000}, actor=value["user"])
    said = {name: value[name] for name in ("team", "project", "workflow", "user", "task_type", "environment", "run_id")}
    asked = Asked(
        request_id=value["request_id"],
        provider="openai",
        model="gpt-5",
        estimate_usd=Decimal(1),
        ttl_seconds=3600,
        fingerprint=b"0" * 16,
        tags={value["tag"]: value["tag_value"]},
        **said,
    )
    held = decide(principal_for(side.api.secret, at=datetime.now(UTC)), asked)
    assert held.decision == "allow", held


def _channels(word: str, org: Organization) -> dict[str, str]:
    """Two webhooks at an address that needs no look-up, and a delivery that waits."""
    made, spare = (
        create_channel(org=org, actor=None, kind="webhook", name=f"{word}-{name}", target="https://93.184.215.14/hook")
        for name in ("channel", "spare_channel")
    )
    waiting = send_test(org=org, channel_id=made.pk, actor=None)
    return {
        "channel_name": made.name,
        "channel": str(made.pk),
        "spare_channel": str(spare.pk),
        "delivery": str(waiting.delivery_id),
    }


def _mails(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """Readers of statements, two of whom bounced, and mails that may be sent again."""
    reader, bounced, spare = (f"{word}-{name}@people.example" for name in ("reader", "bounced", "spare"))
    rows = [
        add_recipient(org=org, actor=None, address=address, covers=covers)
        for address, covers in ((reader, "everything"), (bounced, "everything"), (spare, "unattributed"))
    ]
    with tenant(org):
        for address in (bounced, spare):
            note_bounce(org, address, f"550 {word}-bounce")
        mails = [
            StatementMail.objects.for_org(org).create(
                organization=org,
                kind="test",
                period=at.date().replace(day=1),
                address=reader,
                state="refused",
                made_at=at,
                reply=f"550 {word}-reply",
            )
            for _ in range(2)
        ]
    return {
        "mail_address": reader,
        "bounced": bounced,
        "spare_bounced": spare,
        "spare_recipient": str(rows[1].pk),
        "worn_recipient": str(rows[2].pk),
        "mail": str(mails[0].pk),
        "api_mail": str(mails[1].pk),
        "this_month": f"{at:%Y-%m}",
    }


def _rules(word: str, org: Organization) -> dict[str, str]:
    """Rules that no call matches, what they give, and a project that nobody uses and that will change hands."""
    given, other, _ = (create_team(org=org, slug=f"{word}-{name}") for name in ("given", "other", "third"))
    idle = create_project(org=org, slug=f"{word}-idle", team=given)
    move_project(org=org, project=idle, team=other, at=datetime.now(UTC) + timedelta(days=99), actor=None)
    terms = RuleTerms(name=f"{word}-rule", when={"user": f"{word}-nobody"}, team=given.slug)
    map_name(org=org, kind="team", name=f"{word}-spare_alias", slug=given.slug, actor=None)
    kept, spare = (create_rule(org=org, terms=terms, actor=f"{word}-actor") for _ in range(2))
    return {
        "rule": str(kept.pk),
        "spare_rule": str(spare.pk),
        "given": given.slug,
        "idle": idle.slug,
        "spare_alias": f"{word}-spare_alias",
    }


def _pools(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """Of teams that spend nothing."""
    month = at.date().replace(day=1)
    kept, spare = (
        create_pool(
            org=org,
            terms=PoolTerms(f"{word}-{name}", "team", "direct", team=f"{word}-{team}", to_team=f"{word}-third"),
            from_month=month,
            actor=f"{word}-actor",
        )
        for name, team in (("pool", "given"), ("spare_pool", "other"))
    )
    return {"pool": str(kept.pk), "spare_pool": str(spare.pk)}


def _plans(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """A draft, an approved one, and one to be retired, each of a workflow that nobody runs."""
    reckoned = reckon(org, TEMPLATES["chat"].plan, at=at)
    made = {
        name: create_plan(
            org=org,
            terms=PlanTerms(
                f"{word}-{name}", f"{word}-{name}_workflow", team=f"{word}-given", project=f"{word}-idle",
                owner=f"{word}-member@{org.slug}.example",
            ),
            reckoned=reckoned,
            origin="template",
            note=f"{word}-note",
            actor=f"{word}-actor",
        )
        for name in ("plan", "spare_plan", "worn_plan")
    }  # fmt: skip
    approve_plan(org=org, plan_id=made["spare_plan"].pk, version=1, conditions=f"{word}-words", actor=f"{word}-actor")
    return {**{name: str(plan.pk) for name, plan in made.items()}, "plan_workflow": made["plan"].workflow_slug}


def _bills(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """Of usage that nobody metered, so that there is something to true up; and mappings that read such files."""
    fields = {"day": "Day", "provider": "Provider", "model": "Model", "amount": "Amount", "currency": "=USD"}
    kept, spare = (
        save_mapping(org=org, name=f"{word}-{name}", fields=fields, actor=f"{word}-actor")
        for name in ("bill_mapping", "spare_bill_mapping")
    )
    lines = f"Day,Provider,Model,Amount\n{at:%Y-%m}-01,{word}-provider,{word}-billed,7"
    bills = (
        import_invoice(
            org=org,
            file=BillFile("csv", f"{lines}{name}\n".encode(), number=f"{word}{name}", mapping=kept.name),
            actor=f"{word}-actor",
        )
        for name in ("1", "2")
    )
    invoice, spare_invoice = bills
    return {
        "invoice": str(invoice.pk),
        "spare_invoice": str(spare_invoice.pk),
        "bill_mapping": str(kept.pk),
        "spare_bill_mapping": str(spare.pk),
        "bill_mapping_name": kept.name,
    }


def _disputes(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """Two that are open: one of the line that calls make, by a key of its own, so that the line can be disputed too."""
    line = usage_line(f"{word}-project", f"{word}-workflow")
    with tenant(org):
        made = [
            Dispute.objects.for_org(org).create(
                organization=org, month=_THIS_MONTH, team=f"{word}-team", line=line, line_key=name, amount_usd=1,
                reason=f"{word}-reason", raised_at=at, raised_by=f"{word}-actor",
            )
            for name in ("dispute", "spare_dispute")
        ]  # fmt: skip
    return {row.line_key: str(row.pk) for row in made}


def _incidents(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """One for each act, of families of their own, since a workflow has one of a family; a reading, and two marks."""
    names = ("incident", "page_incident", *(f"{act}_incident" for act in INCIDENT_ACTS))
    entry = {"signal": "loops_per_run", "in_alarm": True, "value": 9.0, "baseline": 3.0, "low": 2.5, "high": 3.5,
             "change": 2.0, "sample": 99.0, "rule": "window", "since": at.isoformat(), "excess_usd": "9"}  # fmt: skip
    with as_worker(), tenant(org):
        made = {
            name: Incident.objects.for_org(org).create(
                organization=org, scope_kind="workflow", scope=f"{word}-workflow", team=f"{word}-team",
                project=f"{word}-project", family=name, signal="loops_per_run", tier="notify", opened_at=at, since=at,
                last_seen_at=at, signals=[entry], excess_usd=12, peak_usd=12, runs=[f"{word}-run_id"],
                cause={"cells": [], "factors": [], "words": f"model {word}-model: 90 % of it"}, fix="bound_loop",
                history=[{"at": at.isoformat(), "what": "opened", "actor": "", "reason": ""}],
            )
            for name in names
        }  # fmt: skip
        Reading.objects.for_org(org).create(
            organization_id=org.pk, day_start=at - timedelta(days=1), workflow=f"{word}-workflow", team=f"{word}-team",
            project=f"{word}-project", events=9, retries=1, runs=3,
        )  # fmt: skip
    with tenant(org):
        marks = {
            name: Mark.objects.for_org(org).create(
                organization=org, kind="event", name=f"{word}-{name}", starts_at=at, ends_at=at + timedelta(days=1),
                created_at=at, created_by=f"{word}-actor",
            )
            for name in ("mark", "spare_mark")
        }  # fmt: skip
    return {name: str(row.pk) for name, row in {**made, **marks}.items()}


def _recommendations(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """Three that are open, and one that was done, which the ledger shows."""
    names = ("recommendation", "spare_recommendation", "third_recommendation", "done_recommendation")
    with as_worker(), tenant(org):
        made = [
            Recommendation.objects.for_org(org).create(
                organization=org, kind="batch", workflow_id=1, segment=f"{word}-{name}", workflow=f"{word}-workflow",
                project=f"{word}-project", team=f"{word}-team", grade="C", label="answers_unchanged", saving_low_usd=1,
                saving_likely_usd=2, saving_high_usd=3, headline_usd=2, scope_usd=9,
                evidence={"task_type": f"{word}-task_type"}, first_found_at=at, found_at=at,
            )
            for name in names
        ]  # fmt: skip
    recommending.mark_done(org=org, recommendation_id=made[-1].pk, actor=f"{word}-actor")
    return {name: str(row.pk) for name, row in zip(names, made, strict=True)}


def usage_line(project: str, workflow: str) -> dict[str, str | None]:
    """The line of the priced calls that say everything."""
    line = Line("usage", None, project, workflow, "anthropic", "claude-sonnet-4-5")
    return {name: getattr(line, name) for name in IDENTITY}


def _view(word: str, side: Tenant, kind: str = "view") -> View:
    return save_view(
        org=side.org, actor=side.owner, name=f"{word}-{kind}", query=f"group_by=model&team={word}-team", is_shared=True
    )


def _export(word: str, side: Tenant, at: datetime, key: Principal | None = None) -> Export:
    """A file of no rows that names the team."""
    question = SpendQuestion(start=at - timedelta(days=9), end=at, group_by=("team",), filters={"team": f"{word}-team"})
    wanted = Wanted(key or side.owner, f"{word}-export", "csv", question, f"{word}-team")
    made = ask_export(org=side.org, asked=wanted)
    with as_worker():
        work(side.org)
    return made


def _reratings(word: str, org: Organization, at: datetime) -> dict[str, str]:
    """One that is posted, of no event, and one that is stopped."""
    begun = {
        "org": org, "actor": None, "reason": f"{word}-reason", "start": at - timedelta(days=9), "end": at,
        "filters": {"team": f"{word}-team"},
    }  # fmt: skip
    posted = rerating.start_preview(**begun)
    with as_worker():
        repricing.work(org)
    rerating.post(org=org, rerating_id=posted.rerating_id, actor=None)
    with as_worker():
        repricing.work(org)
    stopped = rerating.start_preview(**begun)
    rerating.stop(org=org, rerating_id=stopped.rerating_id, actor=None)
    return dict(zip(RERATINGS, (str(posted.rerating_id), str(stopped.rerating_id)), strict=True))


def _cursor(event_id: str) -> str:
    """Where a list goes on after an event of an hour ahead, so that everything follows."""
    ahead = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return cursor_of((ahead, ahead, event_id))


def _run_cursor(run_id: str) -> str:
    ahead = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return cursor_of((ahead, run_id))


def _forecast_cursor(word: str) -> str:
    """Before every name, whoever's it is: all of the list follows."""
    return cursor_of(("organization", f"0{word}"))


def _call_cursor(event_id: str) -> str:
    """Where the calls of a run go on after one of long ago."""
    return cursor_of((datetime(2020, 1, 1, tzinfo=UTC), event_id, 1))


def checksums(side: Tenant) -> dict[str, tuple[int, str]]:
    """Count and hash of every row that belongs to the organization, in every table, as finops_owner sees them."""
    with psycopg.connect(database.owner_url()) as owner:
        tables = owner.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE a.attname = 'organization_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
        wanted = [(table, "organization_id") for (table,) in tables] + [("organizations_organization", "id")]
        found = {}
        for table, column in wanted:
            row = owner.execute(
                "SELECT count(*), md5(COALESCE(string_agg(md5(t::text), '' ORDER BY md5(t::text)), ''))"
                f" FROM {table} t WHERE {column} = %s",
                [side.org.pk],
            ).fetchone()
            assert row is not None
            found[table] = row
    return found
