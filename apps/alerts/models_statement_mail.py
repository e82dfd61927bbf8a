"""Statements by mail: how an organization sends them, to whom, and what became of each mail.

Text of a team is its slug, as statements carry it. Addresses are stored in small letters.
"""

from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel

ADDRESS_LENGTH_MAX = 254
HOURS_AFTER_MAX = 240
PREVIEW_DAYS_MAX = 10


class Mailer(models.Model):
    """An organization that mails statements. A directory table: workers look for work here before any is known."""

    organization = models.OneToOneField(
        "organizations.Organization", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.pk}"


class Kind(models.TextChoices):
    MONTHLY = "monthly"
    WEEKLY = "weekly"
    PREVIEW = "preview"
    TEST = "test"


class MailTerms(TenantModel):
    """What an organization sends. Without a row: nothing. Each `*_since` is when it was last switched on: of what came
    before nobody is told.
    """

    monthly = models.BooleanField(default=False)
    monthly_since = models.DateTimeField(null=True)
    # After the month became final.
    hours_after = models.PositiveSmallIntegerField(default=0)
    weekly = models.BooleanField(default=False)
    weekly_since = models.DateTimeField(null=True)
    # 0 is Monday; the hour is local.
    weekly_day = models.PositiveSmallIntegerField(default=0)
    weekly_hour = models.PositiveSmallIntegerField(default=8)
    preview = models.BooleanField(default=False)
    preview_since = models.DateTimeField(null=True)
    # Before the month's end, at 8 in the morning.
    preview_days = models.PositiveSmallIntegerField(default=3)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization"], name="alerts_mailterms_once"),
            models.CheckConstraint(
                name="alerts_mailterms_within",
                condition=Q(
                    hours_after__lte=HOURS_AFTER_MAX,
                    weekly_day__lte=6,
                    weekly_hour__lte=23,
                    preview_days__gte=1,
                    preview_days__lte=PREVIEW_DAYS_MAX,
                ),
            ),
            *(
                models.CheckConstraint(
                    name=f"alerts_mailterms_{name}_has_a_beginning",
                    condition=Q(**{name: False}) | Q(**{f"{name}_since__isnull": False}),
                )
                for name in ("monthly", "weekly", "preview")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id}"


class Recipient(TenantModel):
    """Who gets which statements. A team's leads get it unasked: for them a row with `is_off` says that they do not."""

    class Covers(models.TextChoices):
        TEAM = "team"
        # The statement without a team.
        UNATTRIBUTED = "unattributed"
        EVERYTHING = "everything"

    address = models.CharField(max_length=ADDRESS_LENGTH_MAX)
    covers = models.CharField(max_length=12, choices=Covers)
    team = models.CharField(max_length=256, null=True)
    is_off = models.BooleanField(default=False)
    added_at = models.DateTimeField()
    added_by = models.CharField(max_length=320)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="alerts_recipient_org_id"),
            models.UniqueConstraint(
                fields=["organization", "address", "covers", "team"],
                name="alerts_recipient_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="alerts_recipient_of_a_team_names_it",
                condition=Q(covers="team", team__isnull=False) | ~Q(covers="team") & Q(team__isnull=True),
            ),
            models.CheckConstraint(
                name="alerts_recipient_off_is_of_a_team", condition=Q(is_off=False) | Q(covers="team")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.address} {self.covers}"


class Mailbox(TenantModel):
    """What is known of an address: that it bounced, and until somebody confirms it gets nothing; what it declined."""

    address = models.CharField(max_length=ADDRESS_LENGTH_MAX)
    bounced_at = models.DateTimeField(null=True)
    bounce = models.CharField(max_length=500, blank=True)
    no_weekly = models.BooleanField(default=False)
    no_preview = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "address"], name="alerts_mailbox_once"),
        ]

    def __str__(self) -> str:
        return self.address


class MailRound(TenantModel):
    """The mails of one period were made, once: what a recipient who comes later does not get by itself."""

    kind = models.CharField(max_length=7, choices=Kind)
    period = models.DateField()
    made_at = models.DateTimeField()
    mails = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "kind", "period"], name="alerts_mailround_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.period}"


class StatementMail(TenantModel):
    """One mail to one address about one period, once (`alerts_statementmail_once`); tests are as many as asked for.

    `due_at` is when the next try is due; while one is under way, when its process counts as lost. `claim` names the try
    under way: whoever holds another one changes nothing. `attempts` counts all tries, and is in the Message-ID; `tries`
    those since somebody last asked. `log`: the latest attempts, {"at", "attempt", "state", "status", "reply", "by"}.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        # Being rendered: nothing has left yet.
        CLAIMED = "claimed"
        # Committed right before the mail server is given the mail: from here on it may have arrived.
        HANDING = "handing"
        SENT = "sent"
        REFUSED = "refused"
        FAILED = "failed"
        # Nobody knows whether it arrived: never sent again by itself.
        UNCLEAR = "unclear"

    kind = models.CharField(max_length=7, choices=Kind)
    # The month's first day; of a weekly one, the first day that it is about.
    period = models.DateField()
    address = models.CharField(max_length=ADDRESS_LENGTH_MAX)
    state = models.CharField(max_length=7, choices=State, default=State.QUEUED)
    made_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    claim = models.UUIDField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)
    # Who asked for the next, or latest, attempt; "": nobody, it came by itself.
    asked_by = models.CharField(max_length=320, blank=True)
    sent_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True)
    bounced_at = models.DateTimeField(null=True)
    log = models.JSONField(default=list)

    class Meta:
        indexes = [
            # What is due, and what is lost.
            models.Index(
                fields=["organization", "due_at"],
                condition=Q(due_at__isnull=False),
                name="alerts_statementmail_due",
            ),
            models.Index(fields=["organization", "-id"], name="alerts_statementmail_newest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="alerts_statementmail_org_id"),
            models.UniqueConstraint(
                fields=["organization", "period", "kind", "address"],
                condition=~Q(kind="test"),
                name="alerts_statementmail_once",
            ),
            models.CheckConstraint(
                name="alerts_statementmail_open_is_due",
                condition=Q(state__in=["queued", "claimed", "handing"], due_at__isnull=False)
                | Q(state__in=["sent", "refused", "unclear"], due_at__isnull=True)
                | Q(state="failed"),
            ),
            models.CheckConstraint(
                name="alerts_statementmail_under_way_is_somebodys",
                condition=Q(state__in=["claimed", "handing"], claim__isnull=False)
                | ~Q(state__in=["claimed", "handing"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.period} {self.address}"
