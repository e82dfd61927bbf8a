"""Recommendations, and what became of those that were followed."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel
from apps.insights.recommendations import Grade, Label
from apps.usage.columns import Usd, money_within
from apps.usage.models import Tenant

REASON_LENGTH_MAX = 500
SEGMENT_LENGTH_MAX = 1_200
NAME_LENGTH_MAX = 256
ACTOR_LENGTH_MAX = 320


class SavingsRound(Tenant):
    """When the organization's workflows were last looked through; who holds this row does so."""

    organization_id = models.BigIntegerField(primary_key=True)
    found_at = models.DateTimeField(null=True)
    # How many whole days were looked at: fewer than 28 where calls are many, or young.
    days = models.SmallIntegerField(default=0)


class Recommendation(TenantModel):
    """A change to one workflow, with what it would save in USD a month: P10, P50 and P90.

    A kind, a workflow and a segment (which of its calls) are one recommendation, found again or gone (`vanished_at`)
    each week. `headline_usd` is what lists show and sort by. `effects` say which part of which cost it saves, so that
    several can be reckoned together. `dismissed_usd` is its P50 when it was dismissed.
    """

    class State(models.TextChoices):
        OPEN = "open"
        ACCEPTED = "accepted"
        DISMISSED = "dismissed"
        DONE = "done"

    # One of `recommendations.Kind`.
    kind = models.CharField(max_length=20)
    # No foreign key: a recommendation outlives nobody's name, and the id says whose calls it is of.
    workflow_id = models.BigIntegerField()
    segment = models.CharField(max_length=SEGMENT_LENGTH_MAX, blank=True)
    # As they stood when it was last found; no team: nobody owns the project.
    workflow = models.CharField(max_length=NAME_LENGTH_MAX)
    project = models.CharField(max_length=NAME_LENGTH_MAX)
    team = models.CharField(max_length=NAME_LENGTH_MAX, null=True)
    grade = models.CharField(max_length=1, choices=[(grade.value, grade.value) for grade in Grade])
    label = models.CharField(max_length=20, choices=[(label.value, label.value) for label in Label])
    saving_low_usd = Usd()
    saving_likely_usd = Usd()
    saving_high_usd = Usd()
    headline_usd = Usd()
    scope_usd = Usd()
    runs_needed = models.IntegerField(null=True)
    evidence = models.JSONField(default=dict)
    effects = models.JSONField(default=dict)
    runs = ArrayField(models.TextField(), default=list)
    first_found_at = models.DateTimeField()
    found_at = models.DateTimeField()
    vanished_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=9, choices=State, default=State.OPEN)
    reason = models.CharField(max_length=REASON_LENGTH_MAX, blank=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=ACTOR_LENGTH_MAX, blank=True)
    dismissed_usd = Usd(null=True)
    # Successes and runs of both arms of a trial that showed it no worse.
    trial = models.JSONField(null=True)
    # What making the change costs, once: hours times their rate, where somebody said so.
    implementation_usd = Usd(null=True)

    class Meta:
        indexes = [
            # A state's list, the largest first.
            models.Index(fields=["organization", "state", "-headline_usd", "-id"], name="insights_rec_largest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="insights_rec_org_id"),
            models.UniqueConstraint(
                fields=["organization", "kind", "workflow_id", "segment"], name="insights_rec_once"
            ),
            *(
                money_within(name, f"insights_rec_{short}_within", signed=True)
                for name, short in (
                    ("saving_low_usd", "low"),
                    ("saving_likely_usd", "likely"),
                    ("saving_high_usd", "high"),
                    ("headline_usd", "headline"),
                    ("scope_usd", "scope"),
                    ("dismissed_usd", "dismissed"),
                    ("implementation_usd", "work"),
                )
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at=None)
                | Q(state="dismissed", decided_at__isnull=False, dismissed_usd__isnull=False) & ~Q(reason="")
                | Q(state__in=["accepted", "done"], decided_at__isnull=False),
                name="insights_rec_has_its_decision",
            ),
        ]

    def __str__(self) -> str:
        return f"recommendation:{self.pk}"


class Adoption(TenantModel):
    """A recommendation that was followed: what was predicted then, and what it saved, 14 and 30 days on.

    `measured_days` is 0, 14 or 30; `realized_*` are of the last measurement, null where `why` says that nothing can be
    told. `unit` is what the work is counted in.
    """

    class Unit(models.TextChoices):
        RUNS = "runs"
        SUCCESSES = "successes"
        CALLS = "calls"

    recommendation = models.ForeignKey(Recommendation, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    kind = models.CharField(max_length=20)
    workflow_id = models.BigIntegerField()
    workflow = models.CharField(max_length=NAME_LENGTH_MAX)
    project = models.CharField(max_length=NAME_LENGTH_MAX)
    team = models.CharField(max_length=NAME_LENGTH_MAX, null=True)
    adopted_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=ACTOR_LENGTH_MAX)
    predicted_low_usd = Usd()
    predicted_likely_usd = Usd()
    predicted_high_usd = Usd()
    implementation_usd = Usd(null=True)
    measured_days = models.SmallIntegerField(default=0)
    measured_at = models.DateTimeField(null=True)
    unit = models.CharField(max_length=9, choices=Unit, blank=True)
    # {"14": {...}, "30": {...}}: each measurement with what it was reckoned from.
    measurements = models.JSONField(default=dict)
    why = models.CharField(max_length=20, blank=True)
    realized_low_usd = Usd(null=True)
    realized_usd = Usd(null=True)
    realized_high_usd = Usd(null=True)
    # Somebody took it back: it counts no more.
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # The ledger, newest first; what is due to be measured is among the newest.
            models.Index(fields=["organization", "-adopted_at", "-id"], name="insights_adoption_newest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="insights_adoption_org_id"),
            models.UniqueConstraint(
                fields=["organization", "recommendation"],
                condition=Q(withdrawn_at__isnull=True, measured_days__lt=30),
                name="insights_adoption_live_once",
            ),
            *(
                money_within(f"{name}_usd", f"insights_adoption_{name}_in", signed=True)
                for name in (
                    "predicted_low",
                    "predicted_likely",
                    "predicted_high",
                    "implementation",
                    "realized_low",
                    "realized",
                    "realized_high",
                )
            ),
            models.CheckConstraint(condition=Q(measured_days__in=[0, 14, 30]), name="insights_adoption_measured"),
        ]

    def __str__(self) -> str:
        return f"adoption:{self.pk}"
