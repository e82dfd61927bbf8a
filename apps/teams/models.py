from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models

from apps.core.tenancy import TenantModel

NAME_LENGTH_MAX = 256
COST_CENTRE_LENGTH_MAX = 64


class Named(TenantModel):
    """Something an event can name. The slug is what events say and never changes; the name is for people."""

    slug = models.CharField(max_length=NAME_LENGTH_MAX)
    name = models.CharField(max_length=NAME_LENGTH_MAX)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["organization", "slug"], name="%(app_label)s_%(class)s_slug_once"),
            models.UniqueConstraint(fields=["organization", "id"], name="%(app_label)s_%(class)s_org_id"),
        ]

    def __str__(self) -> str:
        return self.slug


class Team(Named):
    """`cost_centre` is what the general ledger calls it, None while nobody said."""

    cost_centre = models.CharField(max_length=COST_CENTRE_LENGTH_MAX, null=True)


class Project(Named):
    pass


class Workflow(Named):
    """An agent, a pipeline or a feature of a project.

    The owner is a person who answers for it; who is no member of the organization any more owns nothing.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        related_name="+",
        null=True,
        db_index=False,
        db_constraint=False,
    )


class Ownership(TenantModel):
    """A project belongs to a team over a time range, so a re-organization does not rewrite the past."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    during = DateTimeRangeField()

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="teams_ownership_one_team_at_a_time",
                expressions=[
                    ("organization", RangeOperators.EQUAL),
                    ("project", RangeOperators.EQUAL),
                    ("during", RangeOperators.OVERLAPS),
                ],
            )
        ]

    def __str__(self) -> str:
        return f"{self.project_id} of {self.team_id} during {self.during}"


class Alias(TenantModel):
    """A name seen in events that means a known team, project or workflow."""

    class Kind(models.TextChoices):
        TEAM = "team"
        PROJECT = "project"
        WORKFLOW = "workflow"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=NAME_LENGTH_MAX)
    slug = models.CharField(max_length=NAME_LENGTH_MAX)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "kind", "name"], name="teams_alias_means_one_thing")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} is {self.slug}"


class AttributionRule(TenantModel):
    """Gives names to events that say none. Rules are tried in order of `position`; the first that matches counts.

    `when` maps dimensions to an exact value or a beginning with a "*" after it. Events of `since` and later that were
    stored before the facts reached `facts_version` are given its names by postings.
    """

    name = models.CharField(max_length=100)
    position = models.IntegerField()
    when = models.JSONField()
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", null=True, db_constraint=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", null=True, db_constraint=False)
    workflow = models.ForeignKey(Workflow, on_delete=models.PROTECT, related_name="+", null=True, db_constraint=False)
    since = models.DateTimeField()
    facts_version = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=320)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "position"],
                name="teams_attributionrule_one_a_position",
                deferrable=models.Deferrable.DEFERRED,
            ),
            models.CheckConstraint(
                condition=models.Q(team__isnull=False)
                | models.Q(project__isnull=False)
                | models.Q(workflow__isnull=False),
                name="teams_attributionrule_gives_something",
            ),
        ]

    def __str__(self) -> str:
        return self.name
