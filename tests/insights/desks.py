"""An organization with a workflow whose calls are sent through the API, and what is found in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.insights import realizing, recommending
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.services import roll_up
from tests.database import as_worker
from tests.world import Tenant, make_event, make_tenant

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
# A call of 0.57 USD: dear enough that two hundred of them are worth a recommendation.
LONG = {"input_tokens": 190_000, "output_tokens": 100}


@dataclass(frozen=True)
class Desk:
    """One team with one project with one workflow."""

    tenant: Tenant
    team: str = "support"
    workflow: str = "triage"

    def call(self, days: float = 3, **said: Any) -> dict[str, Any]:
        """An event of so many days before today's noon."""
        at = NOON - timedelta(days=days)
        return make_event(**{"occurred_at": at.isoformat(), "workflow": self.workflow, "usage": LONG, **said})

    def send(self, *events: dict[str, Any]) -> None:
        for start in range(0, len(events), 500):
            assert self.tenant.api.send(*events[start : start + 500])["accepted"] == len(events[start : start + 500])
        with as_worker():
            roll_up(self.tenant.org)

    def find(self) -> int:
        with as_worker():
            return recommending.find(self.tenant.org.pk, anew=True)

    def measure(self) -> int:
        with as_worker():
            return realizing.measure(self.tenant.org.pk)

    def told(self, **asked: Any) -> dict[str, dict[str, Any]]:
        """What the API lists, by kind."""
        answer = self.tenant.api.get("recommendations", **asked)
        assert answer.status_code == 200, answer.content
        return {row["kind"]: row for row in answer.json()["data"]}

    def easy(self, count: int = 200, **said: Any) -> None:
        """Classifications by a large model, which a smaller one could do."""
        self.send(*(self.call(1 + number % 20, task_type="classification", **said) for number in range(count)))


def set_desk(name: str = "acme", workflows: Sequence[str] = ("triage",), tenant: Tenant | None = None) -> Desk:
    made = tenant or make_tenant(name)
    team = create_team(org=made.org, slug="support")
    project = create_project(org=made.org, slug="tickets", team=team)
    for slug in workflows:
        create_workflow(org=made.org, slug=slug, project=project)
    return Desk(made)
