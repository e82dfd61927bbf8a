"""What of workflows and their incidents somebody sees who sees a part of the organization. Inside `tenant(org)`.

Readings and incidents are kept by workflow and cannot be cut to a team: of a workflow that others use too they say
something of those. Their figures are shown for the time in which it was wholly of the part.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from apps.core.errors import NotFound
from apps.core.periods import Calendar
from apps.core.tenancy import HasPk
from apps.insights.models import Incident, Reading, ScopeKind
from apps.insights.selectors import LOOKED_BACK, SERIES_DAYS_MAX
from apps.teams.models import Workflow
from apps.teams.selectors import ownerships_of
from apps.usage.parts_sql import Part
from apps.usage.shared import Use, uses_of

# What pages and series show, and what that was held against.
REACH = timedelta(days=SERIES_DAYS_MAX) + LOOKED_BACK
WITHHELD = "not only yours: what is known of this workflow is of all who use it"


def use_of(org: HasPk, clock: Calendar, workflow: Workflow, part: Part, at: datetime) -> Use:
    """What a part has of a workflow. Raises `NotFound` where it never belonged to it: the part neither owned its
    project nor called it, in the time of `REACH` or on a day that was watched.
    """
    use = uses_of(org, clock, [workflow.slug], part, at - REACH, at)[workflow.slug]
    if not use.is_own and not _owns(org, workflow, part) and not _was_watched(org, workflow.slug, part):
        raise NotFound("workflow")
    return use


def _owns(org: HasPk, workflow: Workflow, part: Part) -> bool:
    """Whether the workflow's project is of the part, or was."""
    if "project" in part and workflow.project.slug not in part["project"]:
        return False
    return "team" not in part or any(row.team.slug in part["team"] for row in ownerships_of(org, workflow.project))


def _was_watched(org: HasPk, workflow: str, part: Part) -> bool:
    of_part = {f"{name}__in": list(values) for name, values in part.items()}
    incidents = Incident.objects.for_org(org).filter(scope_kind=ScopeKind.WORKFLOW, scope=workflow, **of_part)
    return incidents.exists() or Reading.objects.for_org(org).filter(workflow=workflow, **of_part).exists()


def cut_incidents(
    org: HasPk, clock: Calendar, incidents: Sequence[Incident], part: Part | None, at: datetime
) -> list[Incident]:
    """The incidents, those of workflows that others used in their time without figures, causes and runs; for whoever
    sees all (None) as they are. Nothing is saved.
    """
    of_workflows = [one for one in incidents if one.scope_kind == ScopeKind.WORKFLOW]
    if part is not None and of_workflows:
        since = min(one.since for one in of_workflows) - LOOKED_BACK
        uses = uses_of(org, clock, [one.scope for one in of_workflows], part, since, at)
        for one in of_workflows:
            if one.since - LOOKED_BACK < uses[one.scope].whole_since:
                _withhold(one)
    return list(incidents)


def _withhold(one: Incident) -> None:
    one.excess_usd = one.peak_usd = None
    one.signals, one.runs = [], []
    one.cause = {"cells": [], "factors": [], "words": WITHHELD}
    # What evaluations say of it holds runs and figures; what people did to it stays.
    one.history = [{**line, "what": line["what"] if line["actor"] else "opened"}
                   for place, line in enumerate(one.history) if line["actor"] or not place]  # fmt: skip
