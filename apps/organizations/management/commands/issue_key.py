from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from apps.core.errors import DomainError
from apps.organizations.selectors import organization_by_slug
from apps.organizations.services import issue_key

DAYS_MAX = 3650


class Command(BaseCommand):
    help = "Issue an API key; prints the key alone, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", metavar="ORG_SLUG")
        parser.add_argument("--name", required=True)
        parser.add_argument("--scopes", required=True, help="comma-separated: ingest,decide,read,manage,backfill")
        parser.add_argument("--team", help="every event of the key belongs to this team")
        parser.add_argument("--project", help="every event of the key belongs to this project")
        parser.add_argument("--environment", help="every event of the key belongs to this environment")
        parser.add_argument(
            "--days", type=int, metavar="N", help=f"the key expires after N days, 1 to {DAYS_MAX} (default: never)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        days: int | None = options["days"]
        if days is not None and not 1 <= days <= DAYS_MAX:
            raise CommandError(f"--days is {days}: give 1 to {DAYS_MAX}, or leave it out for a key that stays.")
        try:
            org = organization_by_slug(options["organization"])
            issued = issue_key(
                org=org,
                name=options["name"],
                scopes=[scope.strip() for scope in options["scopes"].split(",") if scope.strip()],
                team=options["team"],
                project=options["project"],
                environment=options["environment"],
                expires_at=None if days is None else timezone.now() + timedelta(days=days),
            )
        except DomainError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(issued.secret)
