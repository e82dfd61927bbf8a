"""Pools of shared cost, as an organization set them."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value

from apps.core.money import COST_MAX_USD
from apps.core.tenancy import TenantModel
from apps.reports import chargeback
from apps.teams.models import NAME_LENGTH_MAX as SLUG_LENGTH_MAX

POOL_NAME_MAX = 100
_MONTHS = Func("from_month", "until_month", Value("[)"), function="daterange")


class AllocationPool(TenantModel):
    """A pool as it stands in the months [from_month, until_month); what its fields mean is in `chargeback.Pool`.

    Never edited but for its end: a change ends the row and adds one that `replaces` it. Where both begin with the same
    month the old one held for none. `percents` are decimal strings by team.
    """

    name = models.CharField(max_length=POOL_NAME_MAX)
    position = models.PositiveSmallIntegerField()
    source = models.CharField(max_length=16, choices=[(one, one) for one in chargeback.SOURCES])
    method = models.CharField(max_length=16, choices=[(one, one) for one in chargeback.METHODS])
    amount_usd = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    team = models.CharField(max_length=SLUG_LENGTH_MAX, blank=True)
    contract = models.ForeignKey(
        "pricing.Contract", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    to_team = models.CharField(max_length=SLUG_LENGTH_MAX, blank=True)
    driver = models.CharField(max_length=32, blank=True)
    base = models.CharField(max_length=32, blank=True)
    percents = models.JSONField(default=dict)
    capacity = models.BigIntegerField(null=True)
    from_month = models.DateField()
    until_month = models.DateField(null=True)
    replaces = models.ForeignKey(
        "self", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=254)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_pool_org_id"),
            ExclusionConstraint(
                name="reports_pool_name_once_a_month",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("name", RangeOperators.EQUAL),
                    (_MONTHS, RangeOperators.OVERLAPS),
                ],
            ),
            ExclusionConstraint(
                name="reports_pool_order_once_a_month",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("position", RangeOperators.EQUAL),
                    (_MONTHS, RangeOperators.OVERLAPS),
                ],
            ),
            models.CheckConstraint(
                condition=Q(until_month__isnull=True) | Q(until_month__gte=F("from_month")),
                name="reports_pool_ends_after_it_begins",
            ),
            models.CheckConstraint(
                condition=Q(amount_usd__isnull=True) | Q(amount_usd__gt=0, amount_usd__lt=COST_MAX_USD),
                name="reports_pool_amount_within",
            ),
            models.CheckConstraint(
                condition=Q(source="amount", amount_usd__isnull=False, team="", contract=None)
                | (Q(source="team", amount_usd__isnull=True, contract=None) & ~Q(team=""))
                | Q(source="contract", amount_usd__isnull=True, team="", contract__isnull=False)
                | Q(source="unattributed", amount_usd__isnull=True, team="", contract=None),
                name="reports_pool_has_its_source",
            ),
            models.CheckConstraint(
                condition=Q(capacity__isnull=True) | Q(capacity__gt=0), name="reports_pool_capacity_above_zero"
            ),
        ]

    def __str__(self) -> str:
        return self.name
