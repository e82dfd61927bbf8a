import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.organizations.models import Organization
from apps.organizations.selectors import organization_by_slug
from apps.usage.services import reconcile


class Command(BaseCommand):
    help = "Prove events + postings = rollups + pending deltas; exits 1 on any difference."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="only this organization")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            organizations = (
                [organization_by_slug(options["organization"])]
                if options["organization"]
                else list(Organization.objects.order_by("slug"))
            )
        except DomainError as error:
            raise CommandError(error.detail) from None
        wrong = 0
        for org in organizations:
            result = reconcile(org)
            if result.agrees:
                self.stdout.write(f"{org.slug}: events and rollups agree, difference 0")
                continue
            wrong += 1
            for difference in result.differences:
                self.stdout.write(f"{org.slug}: {json.dumps(difference, default=str, sort_keys=True)}")
        if wrong:
            raise CommandError(f"{wrong} of {len(organizations)} organizations differ.")
