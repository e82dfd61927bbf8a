"""An organization that has a thousand of everything, written as cheaply as its tables take it.

What a limit stops earlier comes up to that limit. Names of things end in their number, so that more can be added.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db.models import Model
from django.utils import timezone

from apps.accounts.models import Impersonation, StaffAct, User
from apps.alerts.channels import CHANNELS_MAX, create_channel
from apps.alerts.models import Channel, Delivery
from apps.audit import services as audit
from apps.budgets.models import Budget, Counter, Crossing, Raise, Reservation, RunBound, Stop
from apps.budgets.services import RAISES_MAX, BudgetTerms, create_budget
from apps.core.periods import month_before
from apps.core.tenancy import tenant
from apps.insights.models_savings import Adoption, Recommendation
from apps.organizations.members import INVITATIONS_OPEN_MAX
from apps.organizations.models import ApiKey, Domain, Invitation, Membership, Organization
from apps.organizations.permissions import Role
from apps.organizations.services import touch_facts
from apps.organizations.sso import DOMAINS_MAX
from apps.planner.models import Plan, PlanDecision, PlanVersion
from apps.planner.reckoning import reckon
from apps.planner.services import PlanTerms, approve_plan, create_plan
from apps.planner.templates import TEMPLATES
from apps.pricing.models import Contract, ModelAlias, PriceFlag
from apps.reports.disputes import IDENTITY
from apps.reports.exporting import KEPT_MAX
from apps.reports.invoices import MAPPINGS_MAX
from apps.reports.models import Export, View
from apps.reports.models_allocation import AllocationPool
from apps.reports.models_disputes import Dispute
from apps.reports.models_invoices import BillMapping, Invoice, InvoiceLine
from apps.reports.models_statements import Adjustment, ExchangeRate
from apps.reports.pools import POOLS_MAX
from apps.reports.views import VIEWS_MAX
from apps.teams.models import Alias, AttributionRule, Ownership, Project, Team, Workflow
from apps.teams.rulebook import RULES_MAX
from apps.usage.models import Rerating, ReratingLine
from tests.database import as_worker
from tests.portal.conftest import Shop
from tests.portal.shop import hold
from tests.portal.staff import REASON
from tests.usage.ledger import as_owner, roll
from tests.world import make_event, unique

# The run, the budget and the re-rating of which there is much.
RUN, BUDGET, RERATING = "long", "Each user", uuid4()
# By organization, the bill that has many lines; bills are of the month that is over.
BILLS: dict[int, int] = {}
# By organization, the plan that has many versions.
PLANS: dict[int, int] = {}
BILL_MONTH = month_before(datetime.now(UTC).date().replace(day=1))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def add(shop: Shop, numbers: range, operator: User) -> None:
    """As many more of everything as there are numbers, the first of them 0 at the first time."""
    _names(shop, numbers)
    if numbers.start == 0:
        _watch(shop)
    _calls(shop, numbers)
    _limits(shop, numbers)
    _alerts(shop, numbers)
    _prices(shop, numbers)
    _papers(shop, numbers)
    _bills(shop, numbers)
    _plans(shop, numbers)
    _people(shop, numbers, operator)
    shop.org.refresh_from_db()


def up_to(most: int, numbers: range) -> range:
    return range(numbers.start, min(numbers.stop, most))


def _recommendations(shop: Shop, numbers: range, at: datetime) -> None:
    """Each of its own workflow, open, and done before."""
    told = {
        "organization": shop.org, "kind": "batch", "workflow_id": 1, "project": "p", "grade": "C",
        "label": "answers_unchanged", "saving_low_usd": 1, "saving_likely_usd": 2, "saving_high_usd": 3,
        "headline_usd": 2, "scope_usd": 9, "first_found_at": at, "found_at": at,
    }  # fmt: skip
    with as_worker():
        made = _insert(
            shop, Recommendation, (Recommendation(**told, segment=f"s{n}", workflow=f"s{n}") for n in numbers)
        )
    adopted = {
        "organization": shop.org, "kind": "batch", "workflow_id": 1, "project": "p", "adopted_at": at,
        "recorded_at": at, "recorded_by": "tests", "predicted_low_usd": 1, "predicted_likely_usd": 2,
        "predicted_high_usd": 3,
    }  # fmt: skip
    _insert(shop, Adoption, (Adoption(**adopted, recommendation=row, workflow=row.workflow) for row in made))


def _insert(shop: Shop, model: Any, rows: Iterable[Model]) -> list[Any]:
    with tenant(shop.org):
        made: list[Any] = model.objects.for_org(shop.org).bulk_create(rows)
        return made


def _copies(shop: Shop, one: Model, rows: Iterable[dict[str, Any]]) -> None:
    """Rows like this one but for their own columns."""
    fields = [field.attname for field in one._meta.concrete_fields if not field.primary_key]
    values = {name: getattr(one, name) for name in fields}
    _insert(shop, type(one), (type(one)(**{**values, **own}) for own in rows))


# --- names, and calls under them ---------------------------------------------------------------------


def _names(shop: Shop, numbers: range) -> None:
    org = shop.org
    teams, projects = (
        _insert(shop, model, (model(organization=org, slug=f"s{n}", name=f"s{n}") for n in numbers))
        for model in (Team, Project)
    )
    workflows = (
        Workflow(organization=org, slug=one.slug, name=one.slug, project=one, owner=shop.bob) for one in projects
    )
    workflows = _insert(shop, Workflow, workflows)
    pairs = zip(projects, teams, strict=True)
    during = (None, None)
    _insert(shop, Ownership, (Ownership(organization=org, project=p, team=t, during=during) for p, t in pairs))
    _insert(shop, Alias, (Alias(organization=org, kind="team", name=f"a{n}", slug=f"s{n}") for n in numbers))
    at = timezone.now()
    rules = (
        AttributionRule(
            organization=org, name=f"r{n}", position=n + 1, when={"user": "nobody"}, team=teams[0], since=at,
            facts_version=1, changed_at=at, changed_by="tests",
        )
        for n in up_to(RULES_MAX, numbers)
    )  # fmt: skip
    _insert(shop, AttributionRule, rules)
    _insert(
        shop,
        RunBound,
        (RunBound(organization=org, workflow=one, max_steps=5, changed_by="tests") for one in workflows),
    )
    with tenant(org):
        touch_facts(org)


def _calls(shop: Shop, numbers: range) -> None:
    """Of each number a step of the long run, a child of it, and a call of a project that nobody knows, unpriced."""
    start = datetime.now(UTC) - 2 * HOUR
    of_one = {"team": "s1", "project": "s1", "workflow": "s1"}
    steps, children, strange = [], [], []
    for n in numbers:
        at = (start + timedelta(seconds=n)).isoformat()
        own = {"team": f"s{n}", "project": f"s{n}", "workflow": f"s{n}", "tags": {f"k{n}": "v"}, "cost_usd": "9"}
        steps.append(make_event(occurred_at=at, event_id=f"step-{n}", run_id=RUN, step=n, **of_one))
        children.append(make_event(occurred_at=at, run_id=f"r{n}", parent_run_id=RUN, **own))
        strange.append(make_event(occurred_at=at, team="s1", project=f"x{n}", model=f"new-{n}", user=f"u{n}"))
    for events in (steps, children, strange):
        shop.api.send(*events)
    roll(shop.org)


# --- budgets and who is told -------------------------------------------------------------------------


def _watch(shop: Shop) -> None:
    """A budget that calls are counted in, and what is held of it."""
    terms = BudgetTerms(name=BUDGET, period="day", amount_usd=Decimal(1), scope={"user": "*"})
    create_budget(org=shop.org, terms=terms, actor="tests")
    hold(shop, run_id=RUN, team="s0", user="u0")


def _limits(shop: Shop, numbers: range) -> None:
    org, at = shop.org, timezone.now()
    with tenant(org):
        one = Budget.objects.for_org(org).get(name=BUDGET)
        held = Reservation.objects.for_org(org).filter(run_id=RUN).earliest("decided_at")
        counter = Counter.objects.for_org(org).filter(budget_id=one.pk).earliest("period_start")
    scopes = ({"team": f"s{n}"} if n % 2 else {"api_key": str(n + 1)} for n in numbers)
    named = zip(numbers, scopes, strict=True)
    _copies(shop, one, ({"name": f"b{n}", "scope": scope, "period": "month"} for n, scope in named))
    _copies(shop, counter, ({"counter_id": 10**12 + n, "subject": f'{{"user": "v{n}"}}'} for n in numbers))
    earlier = ((n, counter.period_start - (n + 1) * DAY) for n in numbers)
    _copies(
        shop,
        counter,
        ({"counter_id": 2 * 10**12 + n, "period_start": day, "period_end": day + DAY} for n, day in earlier),
    )
    _copies(shop, held, ({"reservation_id": uuid4(), "request_id": f"q{n}", "run_id": f"r{n}"} for n in numbers))
    raises = (
        Raise(
            organization=org, budget=one, amount_usd=1, expires_at=at + DAY, reason="A launch", asked_by="tests"
        )
        for _ in up_to(RAISES_MAX, numbers)
    )  # fmt: skip
    _insert(shop, Raise, raises)
    stops = (
        Stop(organization=org, kind="run", target=f"r{n}", reason="Enough", stopped_by="tests", stopped_at=at, **lifted)
        for n in numbers
        for lifted in ({}, {"lifted_by": "tests", "lifted_at": at})
    )
    _insert(shop, Stop, stops)


def _alerts(shop: Shop, numbers: range) -> None:
    org, at = shop.org, timezone.now()
    if numbers.start == 0:
        create_channel(org=org, actor=None, kind="email", name="ops", target="ops@example.com")
    with tenant(org):
        channel = Channel.objects.for_org(org).get(name="ops")
        budget = Budget.objects.for_org(org).get(name=BUDGET)
    _copies(shop, channel, ({"name": f"c{n}"} for n in up_to(CHANNELS_MAX - 1, numbers)))
    facts = {
        "budget": BUDGET, "budget_id": budget.pk, "scope": {"user": "*"}, "period_start": at.isoformat(),
        "period_end": (at + DAY).isoformat(), "limit_usd": "1", "spent_usd": "1", "held_usd": "0", "threshold": 80,
        "mode": "notify",
    }  # fmt: skip
    crossings = [
        Crossing(
            organization_id=org.pk, crossing_id=uuid4(), kind="threshold", subject=f"t{n}", severity="warning",
            budget_id=budget.pk, crossed_at=at, facts=facts, dispatched_at=at,
        )
        for n in numbers
    ]  # fmt: skip
    _insert(shop, Crossing, crossings)
    deliveries = (
        Delivery(
            organization_id=org.pk, delivery_id=uuid4(), message_id=uuid4(), channel_id=channel.pk,
            crossing_id=crossing.crossing_id, kind="threshold", severity="warning", title="80 %", state="sent",
            created_at=at, sent_at=at,
        )
        for crossing in crossings
    )  # fmt: skip
    _insert(shop, Delivery, deliveries)


# --- prices and papers -------------------------------------------------------------------------------


def _prices(shop: Shop, numbers: range) -> None:
    org, at = shop.org, timezone.now()
    contracts = (
        Contract(
            organization=org, kind="grant", name=f"g{n}", starts_at=at - 30 * DAY, amount_usd=1, created_by="tests",
            provider="anthropic",
        )
        for n in numbers
    )  # fmt: skip
    _insert(shop, Contract, contracts)
    aliases = (
        ModelAlias(organization=org, provider="openai", name=f"m{n}", to_provider="openai", to_model="gpt-5-mini")
        for n in numbers
    )
    _insert(shop, ModelAlias, aliases)
    pools = (
        AllocationPool(
            organization=org, name=f"p{n}", position=n + 1, source="amount", amount_usd=1, method="even",
            from_month=at.date().replace(day=1), created_by="tests",
        )
        for n in up_to(POOLS_MAX, numbers)
    )  # fmt: skip
    _insert(shop, AllocationPool, pools)
    times = {"created_at": at, "start": at - DAY, "end": at}
    state = {"state": "previewed", "phase": "previewing", "reason": REASON, "actor": "tests", "filters": {}}
    priced = {"catalog_version": 1, "rule_set": 1, "previewed_at": at, **state, **times}
    ids = [uuid4() for _ in numbers]
    if numbers.start == 0:
        ids[0] = RERATING
    _insert(shop, Rerating, (Rerating(organization_id=org.pk, rerating_id=one, **priced) for one in ids))
    month = at.date().replace(day=1)
    lines = (
        ReratingLine(
            organization_id=org.pk, rerating_id=RERATING, grain=uuid4(), team=f"s{n}", month=month, booked_month=month,
            provider="openai", model="gpt-5-mini", events=1,
        )
        for n in numbers
    )  # fmt: skip
    with as_worker():
        _insert(shop, ReratingLine, lines)


def flag_prices(numbers: range) -> list[int]:
    """Prices that wait for an operator, of no organization: whoever adds them takes them away (`unflag_prices`)."""
    known = {"service_tier": "standard", "effective_from": timezone.now(), "daily_from_minute": 0}
    flags = (
        PriceFlag(
            provider="openai", model=f"flagged-{n}", kind=PriceFlag.Kind.SOURCES_DIFFER, ours=_rates("1"),
            theirs=_rates("2"), other_source="tests", other_version="1", difference_percent=50,
            daily_until_minute=1440, digest=unique("digest"), **known,
        )
        for n in numbers
    )  # fmt: skip
    return [flag.pk for flag in PriceFlag.objects.using("owner").bulk_create(flags)]


def _rates(usd: str) -> dict[str, Any]:
    return {"rates": {"input_tokens": usd}, "tiers": []}


def unflag_prices(ids: list[int]) -> None:
    as_owner("DELETE FROM pricing_priceflag WHERE id = ANY(%s)", ids)


def _papers(shop: Shop, numbers: range) -> None:
    org, at = shop.org, timezone.now()
    views = (
        View(
            organization=org, name=f"v{n}", query="range=7d", maker=maker, is_shared=True, created_at=at,
            changed_at=at,
        )
        for n in up_to(VIEWS_MAX, numbers)
        for maker in (shop.alice, shop.bob)
    )  # fmt: skip
    _insert(shop, View, views)
    exports = (
        Export(
            organization=org, person=shop.alice, title=f"e{n}", format="csv", question={}, state="done", asked_at=at,
            finished_at=at, row_count=1,
        )
        for n in up_to(KEPT_MAX, numbers)
    )  # fmt: skip
    _insert(shop, Export, exports)
    month = at.date().replace(day=1)
    adjusted = (
        Adjustment(
            organization=org, kind="adjustment", booked_month=month, of_month=month, team=f"s{n}", name=f"a{n}",
            cost_usd=1, reason=REASON, booked_at=at, booked_by="tests",
        )
        for n in numbers
    )  # fmt: skip
    _insert(shop, Adjustment, adjusted)
    disputed = (
        Dispute(
            organization=org, month=month, team=f"s{n}", line=dict.fromkeys(IDENTITY) | {"kind": "usage"},
            line_key=f"{n}", amount_usd=1, reason=REASON, raised_at=at, raised_by="tests",
        )
        for n in numbers
    )  # fmt: skip
    _insert(shop, Dispute, disputed)
    _recommendations(shop, numbers, at)
    rates = (
        ExchangeRate(
            organization=org, month=month, currency="EUR", rate=1, source="tests", entered_at=at, entered_by="tests"
        )
        for _ in numbers
    )  # fmt: skip
    _insert(shop, ExchangeRate, rates)
    with tenant(org):
        for n in numbers:
            audit.record(org=org, actor=f"actor-{n}", action="names.renamed", subject=f"team s{n}", data={"name": "x"})


# --- people ------------------------------------------------------------------------------------------


def _bills(shop: Shop, numbers: range) -> None:
    """Bills of as many providers in the last month, lines of one of them, and mappings."""
    now = timezone.now()
    by = {"imported_at": now, "imported_by": "tests"}
    one = {
        "organization": shop.org, "month": BILL_MONTH, "format": "csv", "currency": "USD", "total": 1, "total_usd": 1,
        "days": "utc", "line_count": 1, **by,
    }  # fmt: skip
    bills = (Invoice(**one, provider=f"p{number}", sha256=f"{number:064}") for number in numbers)
    first = min(bill.pk for bill in _insert(shop, Invoice, bills))
    if numbers.start == 0:
        BILLS[shop.org.pk] = first
    kept = BILLS[shop.org.pk]
    lines = (
        InvoiceLine(
            organization_id=shop.org.pk, invoice_id=kept, number=number + 1, row=number + 1, day=BILL_MONTH,
            model=f"m{number}", amount=1, amount_usd=1, kind="usage",
        )
        for number in numbers
    )  # fmt: skip
    _insert(shop, InvoiceLine, lines)
    mapped = {"organization": shop.org, "fields": {}, "saved_at": now, "saved_by": "tests"}
    _insert(shop, BillMapping, (BillMapping(name=f"m{n}", **mapped) for n in up_to(MAPPINGS_MAX, numbers)))


def _plans(shop: Shop, numbers: range) -> None:
    """Plans of as many workflows; versions and decisions of one of them."""
    now = timezone.now()
    if numbers.start == 0:
        reckoned = reckon(shop.org, TEMPLATES["chat"].plan, at=now)
        made = create_plan(
            org=shop.org, terms=PlanTerms("Long", "long"), reckoned=reckoned, origin="template", actor="tests"
        )
        PLANS[shop.org.pk] = approve_plan(org=shop.org, plan_id=made.pk, version=1, actor="tests").pk
    by = {"created_at": now, "created_by": "tests"}
    plans = (Plan(organization=shop.org, name=f"p{n}", workflow_slug=f"s{n}", **by) for n in numbers)
    rows = _insert(shop, Plan, plans)
    with tenant(shop.org):
        one = PlanVersion.objects.for_org(shop.org).get(plan_id=PLANS[shop.org.pk], number=1)
        step = PlanDecision.objects.for_org(shop.org).filter(plan_id=PLANS[shop.org.pk]).first()
    assert step is not None
    _copies(shop, one, ({"plan_id": row.pk} for row in rows))
    _copies(shop, one, ({"number": n + 2} for n in numbers))
    _copies(shop, step, ({"version": n + 2} for n in numbers))


def _people(shop: Shop, numbers: range, operator: User) -> None:
    """Members, invitations and keys of the organization; organizations and sessions of Alice; records of staff."""
    org, at, word = shop.org, timezone.now(), unique("crowd")
    people = User.objects.bulk_create(User(email=f"{word}-{n}@people.example", name=org.slug) for n in numbers)
    Membership.objects.bulk_create(
        Membership(organization=org, user=person, role=Role.LEAD, teams=["s0"]) for person in people
    )
    orgs = Organization.objects.bulk_create(Organization(slug=f"{word}-{n}", name=org.slug) for n in numbers)
    Membership.objects.bulk_create(Membership(organization=one, user=shop.alice, role=Role.VIEWER) for one in orgs)
    invitations = (
        Invitation(
            organization=org, email=f"{word}-{n}@elsewhere.example", role=Role.VIEWER, created_by="tests",
            expires_at=at + DAY,
        )
        for n in up_to(INVITATIONS_OPEN_MAX, numbers)
    )  # fmt: skip
    _insert(shop, Invitation, invitations)
    keys = (
        ApiKey(organization=org, name=f"k{n}", hint="aif_live_x", scopes=["read"], created_by="tests") for n in numbers
    )
    _insert(shop, ApiKey, keys)
    domains = (Domain(organization=org, name=f"{word}-{n}.example", token="t") for n in up_to(DOMAINS_MAX, numbers))
    _insert(shop, Domain, domains)
    _sessions(shop.alice, numbers)
    StaffAct.objects.bulk_create(
        StaffAct(at=at, operator=operator, action="x", subject=org.slug, reason=REASON) for _ in numbers
    )
    Impersonation.objects.bulk_create(
        Impersonation(
            operator=operator, member=shop.bob, organization=org.slug, reason=REASON, began_at=at, until=at + HOUR
        )
        for _ in numbers
    )


def _sessions(person: User, numbers: range) -> None:
    held = Session.objects.get(pk=UserSession.objects.filter(user=person).latest("created_at").session_key)
    keys = [uuid4().hex for _ in numbers]
    Session.objects.bulk_create(
        Session(session_key=key, session_data=held.session_data, expire_date=held.expire_date) for key in keys
    )
    UserSession.objects.bulk_create(
        UserSession(user=person, ip="192.0.2.1", session_key=key, user_agent="Firefox") for key in keys
    )
