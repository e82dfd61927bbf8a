"""Views that people saved."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from apps.core.tenancy import TenantModel

NAME_LENGTH_MAX = 100
QUERY_LENGTH_MAX = 4_000


class View(TenantModel):
    """An address of the explorer with a name. `query` is what stands after its "?": a relative range stays relative."""

    name = models.CharField(max_length=NAME_LENGTH_MAX)
    query = models.TextField()
    maker = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    is_shared = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="reports_view_org_id"),
            models.UniqueConstraint(fields=["organization", "maker", "name"], name="reports_view_name_once"),
            models.CheckConstraint(condition=~Q(name=""), name="reports_view_has_a_name"),
        ]

    def __str__(self) -> str:
        return self.name
