"""Providers' bills, their lines, how CSV files of an organization are read, and what was trued up."""

from django.db import models
from django.db.models import Q

from apps.core.money import COST_MAX_USD
from apps.core.tenancy import TenantManager, TenantModel
from apps.usage.columns import Usd, money_within

MAPPING_NAME_LENGTH_MAX = 100
NUMBER_LENGTH_MAX = 100
SOURCE_LENGTH_MAX = 300


class Invoice(TenantModel):
    """A provider's bill of one month, imported from one file.

    `total` is in `currency`; `total_usd` at the bill's own rate: `per_usd` units of the currency are one USD, said by
    `rate_source`; null and "" for a bill in USD. `days` says whether lines' days are of UTC or of the organization's
    zone. `left_out` rows of the file are of other services, providers or months.
    """

    class State(models.TextChoices):
        IMPORTED = "imported"
        TRUED_UP = "trued_up"

    class Days(models.TextChoices):
        UTC = "utc"
        LOCAL = "local"

    provider = models.CharField(max_length=256)
    account = models.CharField(max_length=256, blank=True)
    month = models.DateField()
    number = models.CharField(max_length=NUMBER_LENGTH_MAX, blank=True)
    format = models.CharField(max_length=32)
    currency = models.CharField(max_length=3)
    total = models.DecimalField(max_digits=38, decimal_places=12)
    total_usd = Usd()
    per_usd = Usd(null=True)
    rate_source = models.CharField(max_length=SOURCE_LENGTH_MAX, blank=True)
    days = models.CharField(max_length=5, choices=Days)
    line_count = models.IntegerField()
    left_out = models.IntegerField(default=0)
    file_name = models.CharField(max_length=256, blank=True)
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.IMPORTED)
    imported_at = models.DateTimeField()
    imported_by = models.CharField(max_length=254)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_invoice_org_id"),
            models.UniqueConstraint(
                fields=["organization", "sha256", "provider", "month"], name="reports_invoice_file_once"
            ),
            models.UniqueConstraint(
                fields=["organization", "provider", "account", "month", "number"], name="reports_invoice_number_once"
            ),
            models.CheckConstraint(
                condition=Q(currency="USD", per_usd__isnull=True) | (~Q(currency="USD") & Q(per_usd__gt=0)),
                name="reports_invoice_rate_unless_usd",
            ),
            money_within("total_usd", "reports_invoice_total_within", signed=True),
            money_within("per_usd", "reports_invoice_rate_within"),
        ]
        # Bills of a month, and of a provider's month.
        indexes = [models.Index(fields=["organization", "month", "provider"], name="reports_invoice_month")]

    def __str__(self) -> str:
        return self.number or f"{self.provider} {self.month:%Y-%m}"


class InvoiceLine(models.Model):
    """A line of a bill, as `bill_readers` read it; `row` is the source's. `day` is null for the whole month."""

    pk = models.CompositePrimaryKey("organization_id", "invoice_id", "number")
    organization_id = models.BigIntegerField()
    invoice_id = models.BigIntegerField()
    number = models.IntegerField()
    row = models.IntegerField()
    day = models.DateField(null=True)
    account = models.CharField(max_length=256, blank=True)
    model = models.CharField(max_length=256, blank=True)
    meter = models.CharField(max_length=32, blank=True)
    quantity = models.BigIntegerField(null=True)
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    amount_usd = Usd()
    kind = models.CharField(max_length=8)
    text = models.CharField(max_length=256, blank=True)

    objects = TenantManager()

    class Meta:
        constraints = [money_within("amount_usd", "reports_invoiceline_amount_within", signed=True)]

    def __str__(self) -> str:
        return f"{self.invoice_id}.{self.number}"


class BillMapping(TenantModel):
    """Which columns of a CSV file hold what, under a name; `fields` is a `bill_readers.Mapped`."""

    name = models.CharField(max_length=MAPPING_NAME_LENGTH_MAX)
    fields = models.JSONField()
    saved_at = models.DateTimeField()
    saved_by = models.CharField(max_length=254)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_billmapping_org_id"),
            models.UniqueConstraint(fields=["organization", "name"], name="reports_billmapping_name_once"),
            models.CheckConstraint(condition=~Q(name=""), name="reports_billmapping_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name


class TrueUp(TenantModel):
    """A part of a bucket of a provider's month that was booked as an adjustment of a team. Append-only.

    What is left of a bucket is what it comes to now, less these. `team` null: the statement without a team.
    """

    provider = models.CharField(max_length=256)
    month = models.DateField()
    bucket = models.CharField(max_length=16)
    team = models.CharField(max_length=256, null=True)
    cost_usd = Usd()
    invoice = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    booked_at = models.DateTimeField()
    booked_by = models.CharField(max_length=254)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_trueup_org_id"),
            models.CheckConstraint(
                condition=Q(cost_usd__gt=-COST_MAX_USD, cost_usd__lt=COST_MAX_USD), name="reports_trueup_cost_within"
            ),
        ]
        # What was booked of a provider's month.
        indexes = [models.Index(fields=["organization", "month", "provider"], name="reports_trueup_month")]

    def __str__(self) -> str:
        return f"{self.provider} {self.month:%Y-%m} {self.bucket}"
