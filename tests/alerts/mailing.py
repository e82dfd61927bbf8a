"""An organization that mails its statements: a month that is final, and the clock of the worker in the test's hand."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.utils import timezone

from apps.accounts.services import get_or_create_user
from apps.alerts import mail_rounds, mail_terms, mail_work
from apps.alerts.mail_work import Clock
from apps.alerts.models_statement_mail import StatementMail
from apps.core.tenancy import tenant
from apps.organizations.models import Membership, Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_project, create_team, create_workflow
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.reports.months import MIDDLE, MONTH, close
from tests.usage.ledger import month_start
from tests.world import Api, make_event


@dataclass
class MailRoom:
    """An organization with the teams search and ads; `now` is the worker's clock."""

    org: Organization = field(default_factory=make_org)
    now: datetime = field(default_factory=timezone.now)

    def __post_init__(self) -> None:
        self.api: Api = make_api(self.org)
        self.teams = {slug: create_team(org=self.org, slug=slug) for slug in ("search", "ads")}

    def spend(self, *teams: str | None, at: datetime = MIDDLE, **fields: Any) -> None:
        named = [{"team": team} if team else {} for team in teams]
        self.api.send(*(make_event(occurred_at=at.isoformat(), **name, **fields) for name in named))

    def spend_in(self, month: date, *teams: str | None, **fields: Any) -> None:
        self.spend(*teams, at=month_start(month) + timedelta(days=14), **fields)

    def name(self, team: str, *workflows: str) -> None:
        """Workflows of a project of the team's own."""
        owner = create_team(org=self.org, slug=team) if team not in ("search", "ads") else self.teams[team]
        project = create_project(org=self.org, slug=f"{team}-project", team=owner)
        for slug in workflows:
            create_workflow(org=self.org, slug=slug, project=project)

    def close(self, month: date = MONTH) -> None:
        close(self.org, self.api, month)
        self.now = max(self.now, timezone.now())

    def switch_on(self, **said: Any) -> None:
        mail_terms.change_terms(org=self.org, actor=None, **{"monthly": True, **said})

    def add(self, address: str, covers: str = "everything", team: str | None = None, **said: Any) -> Any:
        return mail_terms.add_recipient(org=self.org, actor=None, address=address, covers=covers, team=team, **said)

    def join(self, email: str, role: Role, *teams: str) -> Membership:
        return add_member(org=self.org, user=get_or_create_user(email=email), role=role, actor=None, teams=teams)

    def lead(self, email: str, *teams: str) -> None:
        self.join(email, Role.LEAD, *teams)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, jitter=lambda: 0)

    def work(self) -> int:
        """The worker's turn, now or at a later time that the test has set."""
        self.now = max(self.now, timezone.now())
        with as_worker():
            return mail_work.work(self.org.pk, clock=self.clock)

    def later(self, **duration: float) -> int:
        self.now += timedelta(**duration)
        return self.work()

    def mails(self) -> list[StatementMail]:
        with tenant(self.org):
            return sorted(mail_rounds.find_mails(self.org, limit=200), key=lambda one: one.address)

    def mail(self) -> StatementMail:
        (found,) = self.mails()
        return found
