"""What a month's chargeback rests on. All but the terms is append-only: a correction is one more row."""

from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel
from apps.usage.columns import Usd, money_within

CLOSE_AFTER_HOURS, CLOSE_AFTER_HOURS_MAX = 72, 15 * 24
REASON_LENGTH_MAX = 500
REQUEST_ID_LENGTH_MAX = 128
SOURCE_LENGTH_MAX = 200


class ChargebackTerms(TenantModel):
    """How an organization's months close. Without a row: USD, by hand, 72 hours after their end."""

    currency = models.CharField(max_length=3, default="USD")
    close_after_hours = models.PositiveSmallIntegerField(default=CLOSE_AFTER_HOURS)
    closes_itself = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization"], name="reports_chargebackterms_once"),
            models.CheckConstraint(
                condition=Q(close_after_hours__lte=CLOSE_AFTER_HOURS_MAX), name="reports_chargebackterms_within_15_days"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.currency} after {self.close_after_hours} h"


class ExchangeRate(TenantModel):
    """How many units of a currency one USD was in a month; of several rows the newest holds."""

    month = models.DateField()
    currency = models.CharField(max_length=3)
    rate = models.DecimalField(max_digits=24, decimal_places=10)
    source = models.CharField(max_length=SOURCE_LENGTH_MAX)
    entered_at = models.DateTimeField()
    entered_by = models.CharField(max_length=320)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "month", "currency", "-id"], name="reports_exchangerate_newest")
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_exchangerate_org_id"),
            models.CheckConstraint(condition=Q(rate__gt=0, rate__lt=10**12), name="reports_exchangerate_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.rate.normalize():f} {self.currency}"


class MonthStep(TenantModel):
    """One step in the life of a month; the newest says its state. A month is fenced once and sealed once."""

    class Step(models.TextChoices):
        REVIEW = "review"
        REOPEN = "reopen"
        FENCE = "fence"
        # The proof or the drafts failed: nothing was sealed, `note` says why.
        FAIL = "fail"
        SEAL = "seal"

    month = models.DateField()
    step = models.CharField(max_length=6, choices=Step)
    at = models.DateTimeField()
    by = models.CharField(max_length=320)
    note = models.TextField(blank=True)
    # Of a seal: {"statements", "events", "usage_usd", "total_usd"}, and where grants or credits took something off
    # {"drawn_usd": {"7": "0.5"}}, by the contract's number.
    facts = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["organization", "month", "-id"], name="reports_monthstep_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "month", "step"],
                condition=Q(step__in=["fence", "seal"]),
                name="reports_monthstep_fenced_and_sealed_once",
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="reports_monthstep_first_of_month"),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.step}"


class Statement(TenantModel):
    """A final statement: its number, its sums to find and add up, and its document, byte by byte."""

    number = models.BigIntegerField()
    month = models.DateField()
    # The label of the team as the month closed; null: what no team owns.
    team = models.CharField(max_length=256, null=True)
    events = models.BigIntegerField()
    unpriced_events = models.BigIntegerField()
    usage_usd = Usd()
    total_usd = Usd(null=True)
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=38, decimal_places=4, null=True)
    sha256 = models.CharField(max_length=64)
    document = models.BinaryField()
    sealed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_statement_org_id"),
            models.UniqueConstraint(fields=["organization", "number"], name="reports_statement_number_once"),
            models.UniqueConstraint(
                fields=["organization", "month", "team"], name="reports_statement_once", nulls_distinct=False
            ),
            money_within("usage_usd", "reports_statement_usage_within", signed=True),
            money_within("total_usd", "reports_statement_total_usd_within", signed=True),
            money_within("total", "reports_statement_total_within", signed=True),
        ]

    def __str__(self) -> str:
        return f"CS-{self.number:06d}"


class Adjustment(TenantModel):
    """A line that no event made, booked in a month that was open. What was wrong is followed by its opposite."""

    class Kind(models.TextChoices):
        ADJUSTMENT = "adjustment"
        CREDIT_NOTE = "credit_note"
        DISPUTE = "dispute"
        TRUE_UP = "true_up"
        EXCHANGE = "exchange"
        TAX = "tax"

    kind = models.CharField(max_length=11, choices=Kind)
    booked_month = models.DateField()
    # The month that it is about.
    of_month = models.DateField()
    team = models.CharField(max_length=256, null=True)
    provider = models.CharField(max_length=256, blank=True)
    model = models.CharField(max_length=256, blank=True)
    name = models.CharField(max_length=256)
    cost_usd = Usd()
    reason = models.CharField(max_length=REASON_LENGTH_MAX)
    # "CS-000012" of a credit note; "invoice:3", "dispute:4".
    refers_to = models.CharField(max_length=32, blank=True)
    source = models.CharField(max_length=64, blank=True)
    # Whoever books it may send it again under this.
    request_id = models.CharField(max_length=REQUEST_ID_LENGTH_MAX, null=True)
    booked_at = models.DateTimeField()
    booked_by = models.CharField(max_length=320)

    class Meta:
        indexes = [models.Index(fields=["organization", "booked_month"], name="reports_adjustment_booked")]
        constraints = [
            models.UniqueConstraint(fields=["organization", "request_id"], name="reports_adjustment_request_once"),
            models.UniqueConstraint(fields=["organization", "id"], name="reports_adjustment_org_id"),
            money_within("cost_usd", "reports_adjustment_cost_within", signed=True),
            models.CheckConstraint(
                condition=Q(booked_month__day=1, of_month__day=1), name="reports_adjustment_first_of_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
