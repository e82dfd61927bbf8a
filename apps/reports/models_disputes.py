"""Disputes: what a team says is wrong on its statement, and what became of it."""

from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel
from apps.reports.models_statements import REASON_LENGTH_MAX
from apps.usage.columns import Usd, money_within

ABOUT_LENGTH_MAX = 256


class Dispute(TenantModel):
    """One line of a statement as it stood, and why it is wrong; answered once, by finance.

    `line` is the line's identity (`disputes.line_of`), `line_key` its hash. A line has one open dispute at a time.
    """

    class State(models.TextChoices):
        OPEN = "open"
        REJECTED = "rejected"
        MOVED = "moved"

    month = models.DateField()
    # null: the statement of no team.
    team = models.CharField(max_length=256, null=True)
    line = models.JSONField()
    line_key = models.CharField(max_length=32)
    amount_usd = Usd()
    reason = models.CharField(max_length=REASON_LENGTH_MAX)
    raised_at = models.DateTimeField()
    raised_by = models.CharField(max_length=320)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    answer = models.CharField(max_length=REASON_LENGTH_MAX, blank=True)
    answered_at = models.DateTimeField(null=True)
    answered_by = models.CharField(max_length=320, blank=True)
    # Of a move: to whom, from which day on, how much, and on which month's statements it stands.
    to_team = models.CharField(max_length=256, blank=True)
    from_day = models.DateField(null=True)
    moved_usd = Usd(null=True)
    booked_month = models.DateField(null=True)

    class Meta:
        indexes = [models.Index(fields=["organization", "month", "team"], name="reports_dispute_of_statement")]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_dispute_org_id"),
            models.UniqueConstraint(
                fields=["organization", "month", "team", "line_key"],
                condition=Q(state="open"),
                name="reports_dispute_open_once",
                nulls_distinct=False,
            ),
            money_within("amount_usd", "reports_dispute_amount_within", signed=True),
            money_within("moved_usd", "reports_dispute_moved_within", signed=True),
            models.CheckConstraint(condition=Q(month__day=1), name="reports_dispute_first_of_month"),
            models.CheckConstraint(
                condition=(
                    Q(state="open", answered_at=None, answer="", moved_usd=None)
                    | Q(state="rejected", answered_at__isnull=False, moved_usd=None) & ~Q(answer="")
                    | Q(state="moved", answered_at__isnull=False, moved_usd__isnull=False, from_day__isnull=False)
                    & Q(booked_month__isnull=False)
                    & ~Q(to_team="")
                    & ~Q(answer="")
                ),
                name="reports_dispute_has_its_answer",
            ),
        ]

    def __str__(self) -> str:
        return f"dispute:{self.pk}"
