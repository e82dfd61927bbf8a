"""Which team, project and workflow a call belongs to. Pure.

A name that the event says wins; what it does not say follows from what it does: the workflow's project,
then the team that owned the project at the instant of the call. A name that is not known is kept as sent
and attributes nothing. A key's pin cannot be overridden.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Owned:
    """`team` owns the project in [since, until)."""

    since: datetime
    until: datetime | None
    team: str


@dataclass(frozen=True, slots=True)
class Names:
    """What an organization knows: slug -> id of each kind, and how they hang together.

    `aliases` maps (kind, name as sent) to a slug.
    """

    teams: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, int] = field(default_factory=dict)
    workflows: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, tuple[Owned, ...]] = field(default_factory=dict)
    project_of: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)


class Attribution(NamedTuple):
    """Labels (a slug, or an unknown name as sent) and ids (None: unattributed)."""

    team: str | None
    team_id: int | None
    project: str | None
    project_id: int | None
    workflow: str | None
    workflow_id: int | None


def attribute(team: str | None, project: str | None, workflow: str | None, names: Names, at: datetime) -> Attribution:
    """The attribution of a call at `at` that says these names."""
    aliases = names.aliases
    if aliases:
        team = aliases.get(("team", team), team) if team else None
        project = aliases.get(("project", project), project) if project else None
        workflow = aliases.get(("workflow", workflow), workflow) if workflow else None
    if project is None and workflow is not None:
        project = names.project_of.get(workflow)
    if team is None and project is not None:
        team = owner_at(names.owners.get(project, ()), at)
    return Attribution(
        team=team,
        team_id=names.teams.get(team) if team else None,
        project=project,
        project_id=names.projects.get(project) if project else None,
        workflow=workflow,
        workflow_id=names.workflows.get(workflow) if workflow else None,
    )


def owner_at(owners: tuple[Owned, ...], at: datetime) -> str | None:
    for owned in owners:
        if owned.since <= at and (owned.until is None or at < owned.until):
            return owned.team
    return None
