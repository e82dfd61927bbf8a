"""What plans say that workflows will spend, and what months were said to come to."""

from django.db import models
from django.db.models import F, Q

from apps.core.tenancy import TenantManager
from apps.usage.columns import Usd, money_within


class PlannedSpend(models.Model):
    """What one line of a plan says that a workflow spends a day, from `first_day` to `last_day` (null: without end).

    Days are the organization's. Written by who keeps plans (`planned.set_planned_spend`), read by forecasts. Amounts
    are estimates: P10, most likely and P90. Of the kind "price" they are a difference and may be negative.
    """

    class Kind(models.TextChoices):
        # Spend that is to come. Where the workflow has spent already, what it spent counts for more day by day.
        LAUNCH = "launch"
        # What a workflow that runs was planned to spend.
        LIVE = "live"
        # From `first_day` the workflow spends this: nothing, as a rule.
        RETIREMENT = "retirement"
        # What a change of prices adds to a day, or takes from it.
        PRICE = "price"

    pk = models.CompositePrimaryKey("organization_id", "plan_id", "line")
    organization_id = models.BigIntegerField()
    plan_id = models.BigIntegerField()
    line = models.SmallIntegerField()
    kind = models.TextField(choices=Kind)
    team = models.TextField(null=True)
    project = models.TextField(null=True)
    workflow = models.TextField()
    # Null until the organization knows the name.
    workflow_id = models.BigIntegerField(null=True)
    first_day = models.DateField()
    last_day = models.DateField(null=True)
    low_usd = Usd()
    likely_usd = Usd()
    high_usd = Usd()

    objects = TenantManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(low_usd__lte=F("likely_usd")) & Q(likely_usd__lte=F("high_usd")),
                name="usage_plannedspend_ordered",
            ),
            models.CheckConstraint(
                condition=Q(last_day__isnull=True) | Q(last_day__gte=F("first_day")), name="usage_plannedspend_days"
            ),
            money_within("low_usd", "usage_plannedspend_low_within", signed=True),
            money_within("likely_usd", "usage_plannedspend_likely_within", signed=True),
            money_within("high_usd", "usage_plannedspend_high_within", signed=True),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id}.{self.line}"


class Forecast(models.Model):
    """What a month of a scope was said to come to, as of the last look in each fifth of it (`bucket`).

    `spent_usd` was spent then; `p50_usd` is what is expected, within `p10_usd` and `p90_usd` four times in five. Of
    sums `direct_usd` is what their own series says. `noise_ppm` is the noise of a day in millionths; `layers` are USD
    by kind, `days` USD of today's rest and each day ahead, as texts.
    """

    class Scope(models.TextChoices):
        ORGANIZATION = "organization"
        TEAM = "team"
        PROJECT = "project"
        WORKFLOW = "workflow"
        # Usage of a project or team that names no workflow, and of nobody.
        REST = "rest"

    pk = models.CompositePrimaryKey("organization_id", "month", "scope", "key", "bucket")
    organization_id = models.BigIntegerField()
    month = models.DateField()
    scope = models.TextField(choices=Scope)
    key = models.TextField()
    bucket = models.SmallIntegerField()
    team = models.TextField(null=True)
    project = models.TextField(null=True)
    workflow = models.TextField(null=True)
    as_of = models.DateTimeField()
    method = models.TextField()
    spent_usd = Usd()
    p10_usd = Usd()
    p50_usd = Usd()
    p90_usd = Usd()
    direct_usd = Usd(null=True)
    noise_ppm = models.IntegerField()
    layers = models.JSONField()
    days = models.JSONField()

    objects = TenantManager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(bucket__gte=0, bucket__lte=4), name="usage_forecast_bucket"),
            money_within("spent_usd", "usage_forecast_spent_within", signed=True),
            money_within("p10_usd", "usage_forecast_p10_within", signed=True),
            money_within("p50_usd", "usage_forecast_p50_within", signed=True),
            money_within("p90_usd", "usage_forecast_p90_within", signed=True),
            money_within("direct_usd", "usage_forecast_direct_within", signed=True),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.scope} {self.key}"
