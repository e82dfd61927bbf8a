"""What of one workflow a visitor may see: all of it, or of a lead what is of the teams that they lead.

Spend is cut to the teams. What is kept by workflow (readings, incidents, recommendations) is shown for the time in
which the workflow was wholly of the teams; else a line says why it is not there.
"""

from dataclasses import dataclass
from datetime import datetime

from apps.core.errors import NotFound
from apps.core.money import sum_usd
from apps.insights.shared import use_of
from apps.planner.models import Plan
from apps.portal.access import Visit
from apps.portal.pages_names import Spent
from apps.reports.selectors import SpendQuestion, spend
from apps.teams.models import Workflow
from apps.teams.selectors import owned

WITHHELD = (
    "Not only your teams use this workflow, and this is kept for all of it: what of it is yours stands above and in its"
    " runs."
)


@dataclass(frozen=True, slots=True)
class Sight:
    """`teams` None: all of it, and the rest says nothing. `owner` is the team of theirs that owns the project now;
    `team` the one that the page's links are cut to.
    """

    teams: tuple[str, ...] | None = None
    whole_since: datetime | None = None
    owner: str | None = None
    team: str = ""

    @property
    def asked(self) -> dict[str, str]:
        """The team in an address, where pages are cut to one."""
        return {} if self.teams is None else {"team": self.team}

    def is_whole(self, since: datetime) -> bool:
        return self.whole_since is None or self.whole_since <= since


def sight_of(visit: Visit, workflow: Workflow) -> Sight:
    """Raises `NotFound` to the lead of teams that it never belonged to. Inside `tenant(org)`."""
    if visit.teams is None or visit.part is None or visit.team is None:
        return Sight()
    use = use_of(visit.org, visit.calendar, workflow, visit.part, visit.at)
    ((_, owner),) = owned(visit.org, [workflow.project], visit.at)
    owner = owner if owner in visit.teams else None
    team = visit.team if "team" in visit.request.GET or owner is None else owner
    return Sight(visit.teams, use.whole_since, owner, team)


def may_open(visit: Visit, workflow: Workflow) -> bool:
    """Inside `tenant(org)`."""
    try:
        sight_of(visit, workflow)
    except NotFound:
        return False
    return True


def sees_plan(visit: Visit, plan: Plan) -> bool:
    """Whether it is of a team that they lead, or they see all."""
    return visit.teams is None or (plan.team is not None and plan.team.slug in visit.teams)


def spent_by_teams(visit: Visit, workflow: str) -> tuple[tuple[tuple[str, Spent], ...], Spent]:
    """What the lead's teams spent on it this month: each that did, and all together."""
    month = visit.month()
    question = SpendQuestion(start=month.start, end=month.end, group_by=("team",), filters={"workflow": workflow})
    rows = {row.groups[0]: row.sums for row in spend(visit.org, question).rows if row.sums.events}
    teams = tuple(
        (
            team,
            Spent(
                rows[team].events,
                rows[team].unpriced_events,
                rows[team].cost_usd,
                visit.url("events", {"workflow": workflow, "team": team}),
            ),
        )
        for team in visit.teams or ()
        if team in rows
    )
    priced = [spent.cost_usd for _, spent in teams if spent.cost_usd is not None]
    together = Spent(
        sum(spent.events for _, spent in teams),
        sum(spent.unpriced_events for _, spent in teams),
        sum_usd(priced) if priced or not teams else None,
        teams[0][1].url if len(teams) == 1 else "",
    )
    return teams, together
