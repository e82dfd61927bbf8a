"""Where people are told of crossings, and what became of each message.

Channels are configuration. Deliveries grow with crossings: their keys lead with `organization_id` and none is a
foreign key's target.
"""

from django.db import models
from django.db.models import Q

from apps.alerts import models_statement_mail as models_statement_mail  # Django finds an app's models here.
from apps.core.encryption import TOKEN_BEGINS
from apps.core.tenancy import TenantModel
from apps.usage.models import Tenant

NAME_LENGTH_MAX = 100


class Subscriber(models.Model):
    """An organization that has a channel. A directory table: workers look for work here before any is known."""

    organization = models.OneToOneField(
        "organizations.Organization", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.pk}"


class Channel(TenantModel):
    """Where messages go: mail addresses, a URL that is sent signed requests, or a room of a chat service.

    `target` is addresses separated by commas, or a URL. It and the secrets are stored encrypted (see
    `apps.core.encryption`) and never shown in full; `hint` is what a person recognizes it by. `team`: only crossings of
    that team; null: all. `previous_secret` signs too until `previous_until`.
    """

    class Kind(models.TextChoices):
        EMAIL = "email"
        WEBHOOK = "webhook"
        CHAT = "chat"

    class State(models.TextChoices):
        ACTIVE = "active"
        DISABLED = "disabled"

    class Digest(models.TextChoices):
        NONE = "none"
        HOURLY = "hourly"
        DAILY = "daily"

    class Severity(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        CRITICAL = "critical"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=NAME_LENGTH_MAX)
    target = models.TextField()
    hint = models.TextField()
    secret = models.TextField(blank=True)
    previous_secret = models.TextField(blank=True)
    previous_until = models.DateTimeField(null=True)
    team = models.ForeignKey("teams.Team", on_delete=models.PROTECT, null=True, related_name="+", db_constraint=False)
    min_severity = models.CharField(max_length=10, choices=Severity, default=Severity.INFO)
    # Local times of the organization's zone, both or neither.
    quiet_from = models.TimeField(null=True)
    quiet_until = models.TimeField(null=True)
    digest = models.CharField(max_length=10, choices=Digest, default=Digest.NONE)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    disabled_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=320)
    # It gets no crossing that is older.
    active_since = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="alerts_channel_org_id"),
            models.UniqueConstraint(
                fields=["organization", "name"], condition=Q(deleted_at__isnull=True), name="alerts_channel_name_once"
            ),
            models.CheckConstraint(
                name="alerts_channel_quiet_has_both_ends",
                condition=Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | Q(quiet_from__isnull=False, quiet_until__isnull=False),
            ),
            models.CheckConstraint(
                name="alerts_channel_deleted_keeps_no_secret",
                condition=Q(deleted_at__isnull=True) | Q(target="", secret="", previous_secret=""),
            ),
            *(
                models.CheckConstraint(
                    name=f"alerts_channel_{name}_is_encrypted",
                    condition=Q(**{name: ""}) | Q(**{f"{name}__startswith": TOKEN_BEGINS}),
                )
                for name in ("target", "secret", "previous_secret")
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Delivery(Tenant):
    """One crossing on its way to one channel, once (`alerts_delivery_once`).

    Deliveries that go out together share a `message_id`, which is the webhook-id and the Message-ID of every try.
    `next_attempt_at` is when the next try is due; while one is under way, when it counts as lost. `may_have_arrived`:
    the last try ended without an answer. `is_repeat`: a try followed one that may have arrived. `log` holds the latest
    tries: {"at", "status", "error", "milliseconds", "answer", "accepted", "refused": [{"address", "status", "answer",
    "is_permanent"}]}. `waiting_for`: of a mail, the addresses that a try refused for now; null: all.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        HELD = "held"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"

    pk = models.CompositePrimaryKey("organization_id", "delivery_id")
    delivery_id = models.UUIDField()
    message_id = models.UUIDField()
    channel_id = models.BigIntegerField()
    # Of a message that tests the channel: no crossing's.
    crossing_id = models.UUIDField()
    kind = models.TextField()
    severity = models.TextField()
    title = models.TextField()
    state = models.TextField(choices=State)
    tries = models.IntegerField(default=0)
    created_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    may_have_arrived = models.BooleanField(default=False)
    is_repeat = models.BooleanField(default=False)
    error = models.TextField(blank=True)
    log = models.JSONField(default=list)
    waiting_for = models.JSONField(null=True)

    class Meta:
        indexes = [
            # What is due.
            models.Index(
                fields=["organization_id", "next_attempt_at"],
                condition=Q(next_attempt_at__isnull=False),
                name="alerts_delivery_due",
            ),
            # Newest first.
            models.Index(fields=["organization_id", "-created_at", "-delivery_id"], name="alerts_delivery_newest"),
            # What goes out together.
            models.Index(fields=["organization_id", "message_id"], name="alerts_delivery_together"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "channel_id", "crossing_id"], name="alerts_delivery_once"
            ),
            models.CheckConstraint(
                name="alerts_delivery_open_is_due",
                condition=Q(state__in=["sent", "failed"], next_attempt_at__isnull=True)
                | Q(state__in=["pending", "held", "sending"], next_attempt_at__isnull=False),
            ),
        ]
