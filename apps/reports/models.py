"""Views that people saved, and exports that wait to be written or fetched."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantManager, TenantModel

# Django finds the models of an app in this module.
from apps.reports import models_allocation, models_disputes, models_invoices, models_statements  # noqa: F401

NAME_LENGTH_MAX = 100
QUERY_LENGTH_MAX = 4_000


class View(TenantModel):
    """An address of the explorer with a name. `query` is what stands after its "?": a relative range stays relative."""

    name = models.CharField(max_length=NAME_LENGTH_MAX)
    query = models.TextField()
    # The person who made it; of the organization's keys none is one, and what they make is everybody's.
    maker = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    made_by_key = models.CharField(max_length=32, blank=True)
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_view_org_id"),
            models.UniqueConstraint(fields=["organization", "maker", "name"], name="reports_view_name_once"),
            models.UniqueConstraint(
                fields=["organization", "name"], condition=Q(maker=None), name="reports_view_of_keys_name_once"
            ),
            models.CheckConstraint(condition=~Q(name=""), name="reports_view_has_a_name"),
            models.CheckConstraint(
                condition=Q(maker__isnull=False, made_by_key="") | (Q(maker=None, is_shared=True) & ~Q(made_by_key="")),
                name="reports_view_of_a_person_or_of_all",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def made_by(self) -> str:
        """The address of the person, or the key as the audit log names it."""
        return self.maker.email if self.maker else self.made_by_key


class Exporter(models.Model):
    """An organization that asked for an export. A directory table: workers look for work here before any is known."""

    organization = models.OneToOneField(
        "organizations.Organization", on_delete=models.CASCADE, primary_key=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"{self.pk}"


class Export(TenantModel):
    """A file that a worker writes, and that waits for who asked.

    `question` is {"from", "to", "group_by", "filters", "excluded", "before", "basis"}. While it runs, it belongs to the
    try number `tries` until `claimed_until`. `row_count` is known once the question is answered; `unpriced_events` are
    the calls whose price nobody knows, once it is written.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        EXPIRED = "expired"

    class Format(models.TextChoices):
        CSV = "csv"
        XLSX = "xlsx"
        FOCUS = "focus_csv"

    # Who asked for it: a person, or a key as the audit log names it.
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    made_by_key = models.CharField(max_length=32, blank=True)
    # The team that everything in it is cut to; empty: of the whole organization.
    team = models.CharField(max_length=256, blank=True)
    title = models.CharField(max_length=300)
    format = models.CharField(max_length=9, choices=Format)
    question = models.JSONField()
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    rows_done = models.IntegerField(default=0)
    row_count = models.IntegerField(null=True)
    unpriced_events = models.BigIntegerField(null=True)
    size_bytes = models.BigIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    tries = models.SmallIntegerField(default=0)
    asked_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_export_org_id"),
            models.CheckConstraint(
                condition=Q(state="running", claimed_until__isnull=False)
                | (~Q(state="running") & Q(claimed_until__isnull=True)),
                name="reports_export_running_is_claimed",
            ),
            models.CheckConstraint(
                condition=Q(person__isnull=False, made_by_key="") | (Q(person=None) & ~Q(made_by_key="")),
                name="reports_export_of_a_person_or_a_key",
            ),
        ]
        # The tray, and the next one to write.
        indexes = [models.Index(fields=["organization", "-asked_at"], name="reports_export_newest")]

    def __str__(self) -> str:
        return self.title

    @property
    def made_by(self) -> str:
        """The address of the person, or the key as the audit log names it."""
        return self.person.email if self.person else self.made_by_key


class ExportPart(models.Model):
    """A piece of an export's file, at most `PART_BYTES` of it."""

    pk = models.CompositePrimaryKey("organization_id", "export_id", "number")
    organization_id = models.BigIntegerField()
    export_id = models.BigIntegerField()
    number = models.IntegerField()
    body = models.BinaryField()

    objects = TenantManager()

    def __str__(self) -> str:
        return f"{self.export_id}.{self.number}"
