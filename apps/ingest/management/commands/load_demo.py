"""Make the organization `demo` and replay the shipped sample into it, through a running site."""

import http.client
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from celery import current_app
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.services import set_operator
from apps.alerts.services import has_work
from apps.alerts.tasks import hint_tell
from apps.core.tenancy import tenant
from apps.ingest.demo import chargeback, desk, looks, places
from apps.ingest.demo.budgets import ask_for_some, furnish_budgets, furnish_channel
from apps.ingest.demo.plans import furnish_plans
from apps.ingest.sending import Sender, SendError, send_all
from apps.insights.tasks import measure_savings
from apps.organizations.models import ApiKey, Organization
from apps.organizations.selectors import principal_for
from apps.organizations.services import create_organization, issue_key, revoke_key
from apps.teams.models import Team
from apps.teams.services import create_project, create_team, create_workflow
from apps.usage.tasks import forecast

SLUG = "demo"
OWNER_EMAIL = "demo@example.com"
# Open to everybody who reads this, as the demo is.
OWNER_PASSWORD = "look-around-42"  # noqa: S105

# Issued to load the sample and revoked when all of it is in: a revoked one says that the sample is there.
LOADER_KEY = "Sample loader"
# What made the rest of the company: in histories it stands where people do.
ACTOR = "the demo"

SAMPLE = Path(places.__file__).parent / "sample"
WINDOW_DAYS = 28
START_SECONDS_MAX = 60
START_POLL_SECONDS = 0.5
TOLD_SECONDS_MAX = 10
CLOSED_SECONDS_MAX = 60
LOOKED_SECONDS_MAX = 180
BATCH_EVENTS, CLIENTS = 1_000, 2


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the visitor is told. The key is shown once, when the demo is made."""

    url: str
    key: str | None

    def text(self) -> str:
        key = self.key or "$KEY  (manage.py issue_key demo --name mine --scopes ingest,read)"
        return "\n".join(
            (
                "",
                f"  The demo is ready:  {self.url}/o/{SLUG}/",
                f"  Sign in as:         {OWNER_EMAIL}  password  {OWNER_PASSWORD}",
                "",
                "  Try:  the overview: 28 days of spend by team, workflow and model",
                "        what is unattributed and what is unpriced, and the events behind each number",
                "        signals: a prompt cache that broke eight days ago, in dollars a day, with cause and runs",
                "        plans: one held against what its workflow came to, line by line; one that waits for approval",
                "        savings: what would save how much a month, and what the change of two weeks ago came to",
                "        statements: a month that is final, a dispute, a shared licence, a bill and its gap",
                f"        {self.url}/api/v1/spend?group_by=team,workflow  with  Authorization: Bearer {key}",
                "",
            )
        )


class Command(BaseCommand):
    help = "Make the demo organization and replay the sample into it. Once there, it is left alone."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=settings.BASE_URL, help="where the site is running")

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["url"].rstrip("/")
        self._wait_for(url)
        org = Organization.objects.filter(slug=SLUG).first()
        if org is None:
            org = create_organization(name="Demo", owner_email=OWNER_EMAIL, password=OWNER_PASSWORD, actor=ACTOR)
            set_operator(email=OWNER_EMAIL, is_operator=True)
        key = None if _has_sample(org) else self._load(org, url)
        self._say(Welcome(url, key).text())

    def _load(self, org: Organization, url: str) -> str:
        _furnish(org)
        loader = issue_key(org=org, name=LOADER_KEY, scopes=["ingest", "backfill"], actor=ACTOR)
        for trace in sorted(SAMPLE.glob("*.csv.gz")):
            self._say(f"Replaying {trace.name} into the demo")
            call_command(
                "replay",
                str(trace),
                key=loader.secret,
                url=url,
                shift_to=f"{org.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                window_days=WINDOW_DAYS,
                backfill=True,
                stdout=self.stdout,
            )
        self._send_desk(org, Sender(url, loader.secret))
        current_app.send_task("ingest.advise", args=(org.pk,))
        visitor = issue_key(org=org, name="Demo", scopes=["ingest", "decide", "read"], actor=ACTOR)
        if not chargeback.close_last_month(org, ACTOR, seconds_max=CLOSED_SECONDS_MAX):
            self._say("Last month stays open: it has no calls, or no worker rolled them up in time")
        chargeback.furnish_dispute(org)
        chargeback.furnish_bill(org, ACTOR)
        furnish_plans(org)
        forecast.delay(org.pk)
        self._look_back(org)
        furnish_channel(org, ACTOR)
        ask_for_some(principal_for(visitor.secret, at=timezone.now()))
        _revoke_loaders(org)
        _wait_until_told(org)
        return visitor.secret

    def _send_desk(self, org: Organization, sender: Sender) -> None:
        self._say("Sending the invented support desk's calls into the demo")
        calls = desk.events(org.created_at.astimezone(UTC).replace(microsecond=0), WINDOW_DAYS)
        began = time.monotonic()
        try:
            tally = send_all(calls, sender=sender, batch_events=BATCH_EVENTS, clients=CLIENTS, report=lambda sent: None)
        except SendError as error:
            raise CommandError(str(error)) from error
        self._say(tally.summary(time.monotonic() - began))
        if tally.failed:
            raise CommandError("Some events were not stored:\n  " + "\n  ".join(tally.problems))

    def _look_back(self, org: Organization) -> None:
        """Signals and savings, workers and people in turn. Should it take long, the site is there meanwhile."""
        self._say("Looking through its four weeks as the hourly and weekly jobs would have")
        deadline = time.monotonic() + LOOKED_SECONDS_MAX
        _wait_until(lambda: looks.has_advised(org), deadline)
        looks.follow_one(org)
        current_app.send_task("ingest.look_back", args=(org.pk,))
        if not _wait_until(lambda: looks.has_looked_back(org), deadline):
            self._say("Signals and savings are not all there yet: the workers go on")
        looks.accept_one(org)
        measure_savings.delay()
        _wait_until(lambda: looks.has_measured(org), deadline)

    def _say(self, text: str) -> None:
        """At once, even into the pipe of a process that runs beside others."""
        self.stdout.write(text)
        self.stdout.flush()

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        if _answers(url):
            return
        self._say(f"Waiting up to {START_SECONDS_MAX} seconds for {url} to answer")
        while not _answers(url):
            if time.monotonic() > deadline:
                raise CommandError(f"Nothing healthy answers at {url}: start the site, or give its --url.")
            time.sleep(START_POLL_SECONDS)


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        raise CommandError(f"The address {url!r} is not one of the web: give it as http://host:port.")
    try:
        with urlopen(f"{url}/healthz", timeout=5) as response:  # noqa: S310  # the scheme is checked above
            return bool(response.status == http.client.OK)
    except (URLError, OSError, http.client.HTTPException):
        return False


def _wait_until(is_done: Callable[[], bool], deadline: float) -> bool:
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(START_POLL_SECONDS)
    return True


def _wait_until_told(org: Organization) -> None:
    """The worker may print a mail, which should not hide the welcome; without a worker nobody waits long."""
    hint_tell(org.pk)
    deadline = time.monotonic() + TOLD_SECONDS_MAX
    while has_work(org.pk, at=timezone.now()) and time.monotonic() < deadline:
        time.sleep(START_POLL_SECONDS)


def _has_sample(org: Organization) -> bool:
    with tenant(org):
        return _loaders(org).filter(revoked_at__isnull=False).exists()


def _revoke_loaders(org: Organization) -> None:
    """All of them: a load that was interrupted left its own behind."""
    with tenant(org):
        for key in _loaders(org).filter(revoked_at__isnull=True):
            revoke_key(org=org, key_id=key.pk, actor=ACTOR)


def _loaders(org: Organization) -> QuerySet[ApiKey]:
    return ApiKey.objects.for_org(org).filter(name=LOADER_KEY)


def _furnish(org: Organization) -> None:
    """All teams, projects and workflows of the invented company, or none of them."""
    with tenant(org):
        if Team.objects.for_org(org).exists():
            return
        teams = {
            team.slug: create_team(org=org, slug=team.slug, name=team.name, cost_centre=team.cost_centre, actor=ACTOR)
            for team in places.TEAMS
        }
        projects = {
            project.slug: create_project(
                org=org, slug=project.slug, name=project.name, team=teams[project.team], actor=ACTOR
            )
            for project in places.PROJECTS
        }
        for workflow in places.WORKFLOWS:
            create_workflow(
                org=org,
                slug=workflow.slug,
                name=workflow.name,
                project=projects[workflow.project],
                actor=ACTOR,
            )
    furnish_budgets(org, ACTOR)
    chargeback.furnish_terms(org, ACTOR)
