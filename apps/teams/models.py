from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models

from apps.core.tenancy import TenantModel

NAME_LENGTH_MAX = 256


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
    pass


class Project(Named):
    pass


class Workflow(Named):
    """An agent, a pipeline or a feature of a project."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", db_constraint=False)


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
