"""Budgets and what watches them.

Budgets, raises, run bounds and stops are configuration. Counters, reservations, runs and crossings grow with calls:
their keys lead with `organization_id` and none is a foreign key's target. Amounts are USD at 12 decimals.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import MD5

from apps.core.tenancy import TenantModel
from apps.usage.columns import Usd, money_within
from apps.usage.models import Tenant

NAME_LENGTH_MAX = 100
REASON_LENGTH_MAX = 500


class Budget(TenantModel):
    """An amount for a scope and a period. One that blocks is a cap: `docs/budgets.md` states what holds for it.

    `scope` maps dimensions to a value, or to "*" for each value by itself; {} is the whole organization.
    `downgrade_to` is {"provider", "model"} or {"input_usd", "output_usd"} per million tokens.
    """

    class Period(models.TextChoices):
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        QUARTER = "quarter"
        YEAR = "year"
        RANGE = "range"

    class Mode(models.TextChoices):
        NOTIFY = "notify"
        DOWNGRADE = "downgrade"
        BLOCK = "block"

    name = models.CharField(max_length=NAME_LENGTH_MAX)
    scope = models.JSONField(default=dict)
    period = models.CharField(max_length=10, choices=Period)
    # Of a fixed range only.
    starts_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)
    amount_usd = Usd()
    mode = models.CharField(max_length=10, choices=Mode)
    downgrade_to = models.JSONField(null=True)
    # Percent of the limit, of what is spent and of what the run rate forecasts.
    thresholds = ArrayField(models.PositiveSmallIntegerField(), default=list)
    forecast_thresholds = ArrayField(models.PositiveSmallIntegerField(), default=list)
    rollover = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=320)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="budgets_budget_org_id"),
            models.UniqueConstraint(
                fields=["organization", "name"], condition=Q(ended_at__isnull=True), name="budgets_budget_name_once"
            ),
            money_within("amount_usd", "budgets_budget_amount_within"),
            models.CheckConstraint(
                name="budgets_budget_range_has_ends",
                condition=Q(period="range", starts_at__lt=F("ends_at"))
                | (~Q(period="range") & Q(starts_at__isnull=True, ends_at__isnull=True)),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Raise(TenantModel):
    """More for a budget until an instant: asked for by one person, approved or refused by one who may."""

    class State(models.TextChoices):
        ASKED = "asked"
        APPROVED = "approved"
        REFUSED = "refused"

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    amount_usd = Usd()
    expires_at = models.DateTimeField()
    reason = models.CharField(max_length=REASON_LENGTH_MAX)
    state = models.CharField(max_length=10, choices=State, default=State.ASKED)
    asked_by = models.CharField(max_length=320)
    asked_at = models.DateTimeField(auto_now_add=True)
    decided_by = models.CharField(max_length=320, blank=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="budgets_raise_org_id"),
            money_within("amount_usd", "budgets_raise_amount_within"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_usd} until {self.expires_at}"


class RunBound(TenantModel):
    """What a run of a workflow may do; null: no bound. Cost, steps and seconds include child runs."""

    workflow = models.ForeignKey("teams.Workflow", on_delete=models.PROTECT, related_name="+", db_constraint=False)
    max_cost_usd = Usd(null=True)
    max_steps = models.PositiveIntegerField(null=True)
    max_attempts = models.PositiveIntegerField(null=True)
    max_depth = models.PositiveIntegerField(null=True)
    max_children = models.PositiveIntegerField(null=True)
    max_seconds = models.PositiveIntegerField(null=True)
    max_same_tool_calls = models.PositiveIntegerField(null=True)
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=320)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="budgets_runbound_org_id"),
            models.UniqueConstraint(fields=["organization", "workflow"], name="budgets_runbound_one_a_workflow"),
            money_within("max_cost_usd", "budgets_runbound_cost_within"),
        ]

    def __str__(self) -> str:
        return f"bounds of {self.workflow_id}"


class Stop(TenantModel):
    """No decision is granted for what it names until it is lifted.

    `target` is a team's or workflow's slug, a key's number or a run's id; "" is the whole organization.
    """

    class Kind(models.TextChoices):
        ORGANIZATION = "organization"
        TEAM = "team"
        WORKFLOW = "workflow"
        KEY = "key"
        RUN = "run"

    kind = models.CharField(max_length=12, choices=Kind)
    target = models.CharField(max_length=256, blank=True)
    reason = models.CharField(max_length=REASON_LENGTH_MAX)
    stopped_by = models.CharField(max_length=320)
    stopped_at = models.DateTimeField()
    lifted_by = models.CharField(max_length=320, blank=True)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="budgets_stop_org_id"),
            models.UniqueConstraint(
                fields=["organization", "kind", "target"], condition=Q(lifted_at__isnull=True), name="budgets_stop_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


class Counter(Tenant):
    """One budget's period and, where its scope says "*", one subject: what is spent and held of the limit.

    `overrun_usd` is exactly the cost booked above or without a live hold, plus excess made by lowering the limit or
    creating the budget late. For a cap `spent + held - overrun <= limit` always.
    `assumed_usd` is the part of `spent_usd` that stands for unpriced usage (the family's ceiling).
    `limit_until`: when the limit must be reckoned again, since a raise expires.
    """

    pk = models.CompositePrimaryKey("organization_id", "counter_id")
    counter_id = models.BigIntegerField()
    budget_id = models.BigIntegerField()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    subject = models.TextField()
    is_cap = models.BooleanField()
    limit_usd = Usd()
    limit_until = models.DateTimeField(null=True)
    rolled_usd = Usd(default=0)
    spent_usd = Usd(default=0)
    held_usd = Usd(default=0)
    overrun_usd = Usd(default=0)
    assumed_usd = Usd(default=0)
    events = models.BigIntegerField(default=0)
    unpriced_events = models.BigIntegerField(default=0)

    class Meta:
        indexes = [
            # Limits in which a raise expires.
            models.Index(
                fields=["organization_id", "limit_until"],
                condition=Q(limit_until__isnull=False),
                name="budgets_counter_raised",
            ),
        ]
        constraints = [
            # Six values of 256 characters are longer than a row of an index.
            models.UniqueConstraint(
                "organization_id", "budget_id", "period_start", MD5("subject"), name="budgets_counter_once"
            ),
            models.CheckConstraint(
                name="budgets_counter_cap_holds",
                condition=Q(is_cap=False) | Q(spent_usd__lte=F("limit_usd") - F("held_usd") + F("overrun_usd")),
            ),
            money_within("limit_usd", "budgets_counter_limit_within"),
            money_within("rolled_usd", "budgets_counter_rolled_within"),
            money_within("spent_usd", "budgets_counter_spent_within", signed=True),
            money_within("held_usd", "budgets_counter_held_within"),
            money_within("overrun_usd", "budgets_counter_overrun_within"),
            money_within("assumed_usd", "budgets_counter_assumed_within", signed=True),
        ]


class Reservation(Tenant):
    """Money held before a call, or a lease: a slice held for many calls of the same dimensions.

    `held_usd` is what is still held of `granted_usd`, in every one of `counters` and in the run. Times are the
    database's. `release_at`: when a hold ends that nobody settled (30 s after `expires_at` for a lease).
    `call` is what was asked for, `answer` what was answered, for a repeated request.
    """

    class Kind(models.TextChoices):
        CALL = "call"
        LEASE = "lease"
        # More for a lease: its row keeps the answer, the lease the money.
        RENEWAL = "renewal"

    class State(models.TextChoices):
        HELD = "held"
        SETTLED = "settled"
        RELEASED = "released"
        EXPIRED = "expired"
        RETURNED = "returned"

    pk = models.CompositePrimaryKey("organization_id", "reservation_id")
    reservation_id = models.UUIDField()
    kind = models.TextField(choices=Kind)
    state = models.TextField(choices=State)
    # Null once it is older than a day: the id may then be used again.
    request_id = models.TextField(null=True)
    fingerprint = models.BinaryField(max_length=16)
    key_id = models.BigIntegerField()
    decided_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    release_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    granted_usd = Usd()
    held_usd = Usd()
    counters = ArrayField(models.BigIntegerField())
    run_id = models.TextField(null=True)
    steps = models.IntegerField(default=0)
    call = models.JSONField()
    answer = models.JSONField()
    event_id = models.TextField(null=True)
    cost_usd = Usd(null=True)
    overrun_usd = Usd(default=0)
    is_late = models.BooleanField(default=False)

    class Meta:
        indexes = [
            # Holds whose time is over.
            models.Index(
                fields=["organization_id", "release_at"], condition=Q(state="held"), name="budgets_reservation_due"
            ),
            # Newest first.
            models.Index(fields=["organization_id", "-decided_at"], name="budgets_reservation_newest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "request_id"], name="budgets_reservation_request_once"),
            models.CheckConstraint(
                name="budgets_reservation_closed_holds_nothing", condition=Q(state="held") | Q(held_usd=0)
            ),
            money_within("granted_usd", "budgets_reservation_granted_within"),
            money_within("held_usd", "budgets_reservation_held_within"),
            money_within("cost_usd", "budgets_reservation_cost_within"),
            money_within("overrun_usd", "budgets_reservation_overrun_within"),
        ]


class RunTally(Tenant):
    """What a run has used of its bounds.

    `steps`, `spent_usd`, `held_usd` and `overrun_usd` are kept on the root run, children included. `reached` maps the
    bounds that were reached to when; they stay reached until the run ends.
    """

    pk = models.CompositePrimaryKey("organization_id", "run_id")
    run_id = models.TextField()
    parent_run_id = models.TextField(null=True)
    root_run_id = models.TextField()
    depth = models.IntegerField(default=0)
    workflow_id = models.BigIntegerField(null=True)
    started_at = models.DateTimeField()
    last_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    outcome = models.TextField(null=True)
    units = models.BigIntegerField(null=True)
    children = models.IntegerField(default=0)
    steps = models.BigIntegerField(default=0)
    steps_held = models.BigIntegerField(default=0)
    spent_usd = Usd(default=0)
    held_usd = Usd(default=0)
    overrun_usd = Usd(default=0)
    reached = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["organization_id", "root_run_id"], name="budgets_runtally_root"),
            # Runs that nobody ended.
            models.Index(
                fields=["organization_id", "last_at"], condition=Q(ended_at__isnull=True), name="budgets_runtally_open"
            ),
        ]
        constraints = [
            money_within("spent_usd", "budgets_runtally_spent_within", signed=True),
            money_within("held_usd", "budgets_runtally_held_within"),
            money_within("overrun_usd", "budgets_runtally_overrun_within"),
        ]


class RunCount(Tenant):
    """How often a run did the same: attempts of a step (`kind` step), identical tool calls (`kind` tool)."""

    pk = models.CompositePrimaryKey("organization_id", "run_id", "kind", "name")
    run_id = models.TextField()
    kind = models.TextField()
    name = models.TextField()
    count = models.BigIntegerField()


class StepCost(Tenant):
    """The 95th percentile of what a model's calls cost in a workflow: of a step, of a task type, or of all (both null).

    Reckoned now and then from the events of the last weeks, for decisions that say nothing of their cost.
    """

    pk = models.CompositePrimaryKey("organization_id", "grain")
    grain = models.TextField()
    workflow = models.TextField()
    task_type = models.TextField(null=True)
    step = models.BigIntegerField(null=True)
    provider = models.TextField()
    model = models.TextField()
    calls = models.BigIntegerField()
    p95_usd = Usd()
    reckoned_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["organization_id", "workflow"], name="budgets_stepcost_of"),
        ]
        constraints = [money_within("p95_usd", "budgets_stepcost_p95_within")]


class Crossing(Tenant):
    """Something that people must be told, once: `subject` makes it so (`budgets_crossing_once`).

    `facts` are the figures at the instant, as the message shows them; amounts are decimal strings.
    `dispatched_at`: when deliveries were made of it.
    """

    class Kind(models.TextChoices):
        THRESHOLD = "threshold"
        FORECAST = "forecast"
        REFUSED = "refused"
        OVERRUN = "overrun"
        SETTLED_LATE = "settled_late"
        RUN_BOUND = "run_bound"
        STOPPED = "stopped"
        LIFTED = "lifted"
        RAISE_ASKED = "raise_asked"
        UNGOVERNED = "ungoverned"
        SIGNAL_OPENED = "signal_opened"
        SIGNAL_CLOSED = "signal_closed"
        SIGNAL_DIGEST = "signal_digest"

    class Severity(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        CRITICAL = "critical"

    pk = models.CompositePrimaryKey("organization_id", "crossing_id")
    crossing_id = models.UUIDField()
    kind = models.TextField(choices=Kind)
    subject = models.TextField()
    severity = models.TextField(choices=Severity)
    team = models.TextField(null=True)
    budget_id = models.BigIntegerField(null=True)
    run_id = models.TextField(null=True)
    crossed_at = models.DateTimeField()
    facts = models.JSONField()
    dispatched_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organization_id", "-crossed_at"], name="budgets_crossing_newest"),
            models.Index(
                fields=["organization_id", "crossed_at"],
                condition=Q(dispatched_at__isnull=True),
                name="budgets_crossing_waiting",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization_id", "kind", "subject"], name="budgets_crossing_once"),
        ]
