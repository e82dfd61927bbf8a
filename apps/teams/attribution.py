"""Which team, project and workflow a call belongs to. Pure.

A name that the event says wins; what it does not say follows from what it does: the workflow's project,
then the team that owned the project at the instant of the call. A name that is not known is kept as sent
and attributes nothing. A key's pin cannot be overridden.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

TAG = "tags."
ANY = "*"
# What a rule may look at: all that a decision before the call and the event after it both say.
RULE_DIMENSIONS = ("workflow", "user", "api_key", "environment", "provider", "model", "task_type")
KINDS = ("team", "project", "workflow")

Call = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Owned:
    """`team` owns the project in [since, until)."""

    since: datetime
    until: datetime | None
    team: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Gives a team, a project and a workflow (slugs, None: gives none) to calls that match all of `when`.

    `when` names dimensions: an exact value, or a beginning with a "*" after it. Providers and models are compared in
    lower case. `since`: events that were stored before the rule, at `version` of the facts, are given its names from
    this instant on.
    """

    id: int
    name: str
    when: Mapping[str, str]
    team: str | None
    project: str | None
    workflow: str | None
    since: datetime
    version: int

    def matches(self, call: Call) -> bool:
        # A plain loop: a hundred rules are tried on every event that lacks a name.
        for dimension, wanted in self.when.items():
            value = call.get(dimension)
            if value is None:
                return False
            if value != wanted and not (wanted.endswith(ANY) and value.startswith(wanted[:-1])):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Names:
    """What an organization knows: slug -> id of each kind, and how they hang together.

    `aliases` maps (kind, name as sent) to a slug; `rules` are in the order in which they are tried.
    """

    teams: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[str, int] = field(default_factory=dict)
    workflows: Mapping[str, int] = field(default_factory=dict)
    owners: Mapping[str, tuple[Owned, ...]] = field(default_factory=dict)
    project_of: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


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


def call_of(
    *,
    workflow: str | None,
    user: str | None,
    api_key: int,
    environment: str | None,
    provider: str,
    model: str,
    task_type: str | None,
    tags: Mapping[str, str] | None,
) -> Call:
    """A call as rules see it: `workflow` as it was sent, `provider` by its canonical name."""
    call: dict[str, str | None] = {
        "workflow": workflow,
        "user": user,
        "api_key": str(api_key),
        "environment": environment,
        "provider": provider.lower(),
        "model": model.lower(),
        "task_type": task_type,
    }
    for name, value in (tags or {}).items():
        call[TAG + name] = value
    return call


def lacks_a_name(where: Attribution) -> bool:
    """Whether there is a team, a project or a workflow that a rule could give."""
    return where.team is None or where.project is None or where.workflow is None


def first_match(rules: tuple[Rule, ...], call: Call) -> Rule | None:
    return next((rule for rule in rules if rule.matches(call)), None)


def given_by(rule: Rule | None, where: Attribution, names: Names, at: datetime) -> Attribution:
    """`where`, with what it lacks from the rule, and what follows from that."""
    if rule is None:
        return where
    return attribute(where.team or rule.team, where.project or rule.project, where.workflow or rule.workflow, names, at)
