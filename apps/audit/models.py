from django.db import models

from apps.core.tenancy import TenantManager


class AuditEntry(models.Model):
    """Who did what, when: one organization's hash chain. Rows are only ever added."""

    pk = models.CompositePrimaryKey("organization_id", "sequence")
    organization_id = models.BigIntegerField()
    sequence = models.BigIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=320)
    action = models.CharField(max_length=100)
    subject = models.CharField(max_length=300)
    data = models.JSONField()
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    objects = TenantManager()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(sequence__gte=1), name="audit_sequence_from_one")]
        # Each serves a list, newest first: of a range, of who did it, of what was done.
        indexes = [
            models.Index(fields=["organization_id", "at", "sequence"], name="audit_by_time"),
            models.Index(fields=["organization_id", "actor", "at", "sequence"], name="audit_by_actor"),
            models.Index(fields=["organization_id", "action", "at", "sequence"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action} {self.subject}"


class Head(models.Model):
    """The end of an organization's chain: entries cut off at the tail show against it."""

    organization_id = models.BigIntegerField(primary_key=True)
    sequence = models.BigIntegerField(default=0)
    hash = models.BinaryField(max_length=32)

    objects = TenantManager()

    class Meta:
        db_table = "audit_head"

    def __str__(self) -> str:
        return f"{self.organization_id} {self.sequence}"
