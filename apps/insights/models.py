"""What is watched, what was found, and what people said of it.

Statistics are floats on the way and integers or NUMERIC where they rest: logarithms are kept as round(10^6 ln x) and
their squares as 10^-12, so that a day adds up to the same whoever adds it. Nothing here is spend that anybody is
charged: amounts are copies of rollups, or estimates at 6 decimals.
"""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel
from apps.insights import models_savings  # noqa: F401  # Django finds an app's models here.
from apps.usage.columns import Count, Usd, money_within
from apps.usage.models import Tenant

NAME_LENGTH_MAX = 256
REASON_LENGTH_MAX = 500
ACTOR_LENGTH_MAX = 320


class ScopeKind(models.TextChoices):
    ORGANIZATION = "organization"
    TEAM = "team"
    PROJECT = "project"
    WORKFLOW = "workflow"


class Sums(models.Model):
    """Sums of calls (from rollups) and of the runs that began in the bucket (from run rows), as signals read them.

    `write_events` are calls of rollup rows in which a cache was written at all. Moments are over the runs that have
    what is measured: `step_runs` a step, `slope_runs` a slope (below one token a step it counts as one), `cost_runs` a
    cost above zero and no unpriced call, `judged_cost_runs` a known outcome besides. `dead_usd` is the cost of runs
    that failed or were cancelled, of `run_usd`.
    """

    # Calls.
    events = Count()
    retries = Count()
    input_tokens = Count()
    cache_read_tokens = Count()
    cache_write_5m_tokens = Count()
    cache_write_1h_tokens = Count()
    output_tokens = Count()
    reasoning_tokens = Count()
    write_events = Count()
    input_events = Count()
    ln_input_micro = Count()
    ln_input_sq_pico = Count()
    cost_usd = Usd(default=0)
    unpriced_events = Count()
    unpriced_tokens = Count()
    # Runs.
    runs = Count()
    escalated_runs = Count()
    escalated_usd = Usd(default=0)
    capped_runs = Count()
    failed_runs = Count()
    succeeded_runs = Count()
    run_usd = Usd(default=0)
    dead_usd = Usd(default=0)
    step_runs = Count()
    steps = Count()
    steps_sq = Count()
    ln_steps_micro = Count()
    ln_steps_sq_pico = Count()
    slope_runs = Count()
    ln_slope_micro = Count()
    ln_slope_sq_pico = Count()
    cost_runs = Count()
    cost_runs_usd = Usd(default=0)
    ln_cost_micro = Count()
    ln_cost_sq_pico = Count()
    judged_cost_runs = Count()
    judged_cost_usd = Usd(default=0)
    ln_judged_micro = Count()
    ln_judged_sq_pico = Count()

    class Meta:
        abstract = True


class Reading(Tenant, Sums):
    """A workflow's day, summed up once the day is over, and again where something arrived late.

    The row of workflow "" is the organization's own: every call, and of them `unattributed_usd` that no team or no
    workflow has; its `checksum` is what the day's rollups came to, by which a day that changed is found. `hour_micros`
    is the spend of each hour since `day_start`, in 10^-6 USD. `bands` maps a signal to what the evaluation at the
    day's end said: [value, baseline, low, high, status], null where it said nothing.
    """

    pk = models.CompositePrimaryKey("organization_id", "day_start", "workflow")
    day_start = models.DateTimeField()
    workflow = models.TextField()
    team = models.TextField(null=True)
    project = models.TextField(null=True)
    unattributed_usd = Usd(default=0)
    checksum = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    hour_micros = ArrayField(models.BigIntegerField(), default=list)
    bands = models.JSONField(default=dict)

    class Meta:
        indexes = [
            # The series of one workflow.
            models.Index(fields=["organization_id", "workflow", "day_start"], name="insights_reading_series"),
        ]

    def __str__(self) -> str:
        return f"{self.workflow or 'organization'} on {self.day_start}"


class Watch(Tenant):
    """What the next evaluation of a scope must know of the last: `states` maps a signal to the five numbers of its
    `signals.State` (null: none).
    """

    pk = models.CompositePrimaryKey("organization_id", "scope_kind", "scope")
    scope_kind = models.TextField(choices=ScopeKind)
    scope = models.TextField()
    states = models.JSONField(default=dict)
    changed_at = models.DateTimeField()


class Watcher(Tenant):
    """Who holds this row evaluates the organization. `hour` is the last one evaluated, `fast_at` the last fast look.

    `gate_factor` raises every gate, in hundredths, where people found incidents not useful.
    """

    organization_id = models.BigIntegerField(primary_key=True)
    hour = models.DateTimeField(null=True)
    fast_at = models.DateTimeField(null=True)
    digest_at = models.DateTimeField(null=True)
    gate_factor = models.PositiveIntegerField(default=100)
    gate_changed_at = models.DateTimeField(null=True)


class Incident(TenantModel):
    """A signal, or several that moved together, away from the baseline of one scope.

    Live while `closed_at` is null: open, or acknowledged by somebody who looks after it. `signals` holds one entry for
    each signal merged in it, with value, baseline, band and excess as last seen; the row's own figures are those of
    the leading one. `excess_usd` is what it costs a day beyond the baseline, `peak_usd` the most it came to.
    """

    class State(models.TextChoices):
        OPEN = "open"
        ACKNOWLEDGED = "acknowledged"
        EXPECTED = "expected"
        DISMISSED = "dismissed"
        CLOSED = "closed"

    class Tier(models.TextChoices):
        CRITICAL = "critical"
        NOTIFY = "notify"
        DIGEST = "digest"

    scope_kind = models.CharField(max_length=12, choices=ScopeKind)
    scope = models.CharField(max_length=NAME_LENGTH_MAX, blank=True)
    # Of the scope when it opened; null where it belongs to no team.
    team = models.CharField(max_length=NAME_LENGTH_MAX, null=True)
    project = models.CharField(max_length=NAME_LENGTH_MAX, null=True)
    family = models.CharField(max_length=20)
    signal = models.CharField(max_length=40)
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, related_name="+", null=True, db_constraint=False)
    state = models.CharField(max_length=12, choices=State, default=State.OPEN)
    tier = models.CharField(max_length=10, choices=Tier)
    opened_at = models.DateTimeField()
    # Since when the signal is away from its baseline.
    since = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    signals = models.JSONField(default=list)
    excess_usd = Usd(null=True)
    peak_usd = Usd(null=True)
    # Likely causes: {"factors": [...], "cells": [...]}, and the runs that show it, the most telling first.
    cause = models.JSONField(default=dict)
    runs = ArrayField(models.TextField(), default=list)
    fix = models.CharField(max_length=20, blank=True)
    # What happened to it, in order: {"at", "what", "actor", "reason"}.
    history = models.JSONField(default=list)
    answered_at = models.DateTimeField(null=True)
    answered_by = models.CharField(max_length=ACTOR_LENGTH_MAX, blank=True)
    reason = models.CharField(max_length=REASON_LENGTH_MAX, blank=True)
    is_useful = models.BooleanField(null=True)

    class Meta:
        indexes = [
            # The inbox: newest first.
            models.Index(fields=["organization", "-opened_at", "-id"], name="insights_incident_newest"),
            # What happened to one scope: cool-down, days to leave out of its baseline.
            models.Index(fields=["organization", "scope_kind", "scope", "opened_at"], name="insights_incident_scope"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="insights_incident_org_id"),
            models.UniqueConstraint(
                fields=["organization", "scope_kind", "scope", "family"],
                condition=Q(closed_at__isnull=True),
                name="insights_incident_live_once",
            ),
            money_within("excess_usd", "insights_incident_excess_within", signed=True),
            money_within("peak_usd", "insights_incident_peak_within", signed=True),
            models.CheckConstraint(
                condition=Q(state__in=["open", "acknowledged"], closed_at__isnull=True)
                | Q(state__in=["expected", "dismissed", "closed"], closed_at__isnull=False),
                name="insights_incident_ends_with_its_state",
            ),
        ]

    def __str__(self) -> str:
        return f"incident {self.pk}"

    @property
    def lead(self) -> dict[str, Any]:
        """What was last seen of the leading signal; empty where the incident has no signal of its own."""
        return next((entry for entry in self.signals if entry["signal"] == self.signal), {})


class Mark(TenantModel):
    """Something planned, or a deploy: while it lasts, more volume is no surprise. Unit signals are watched as ever.

    An empty scope is the whole organization.
    """

    class Kind(models.TextChoices):
        EVENT = "event"
        DEPLOY = "deploy"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=100)
    scope_kind = models.CharField(max_length=12, choices=ScopeKind, default=ScopeKind.ORGANIZATION)
    scope = models.CharField(max_length=NAME_LENGTH_MAX, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=ACTOR_LENGTH_MAX)

    class Meta:
        indexes = [models.Index(fields=["organization", "-starts_at", "-id"], name="insights_mark_newest")]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="insights_mark_org_id"),
            models.CheckConstraint(condition=Q(starts_at__lt=models.F("ends_at")), name="insights_mark_has_ends"),
        ]

    def __str__(self) -> str:
        return self.name
