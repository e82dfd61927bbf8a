from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from apps.audit.services import first_broken_entry
from apps.core.tenancy import tenant


class Command(BaseCommand):
    help = "Check every organization's audit log for entries that were edited, removed or put in; exits 1 on any."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="SLUG", help="only this organization")

    def handle(self, *args: Any, **options: Any) -> None:
        organizations = apps.get_model("organizations", "Organization").objects.order_by("slug")
        if options["organization"]:
            organizations = organizations.filter(slug=options["organization"])
        broken = 0
        for org in organizations:
            with tenant(org, repeatable_read=True):
                entry = first_broken_entry(org=org)
            self.stdout.write(f"{org.slug}: " + ("the chain holds" if entry is None else f"broken at entry {entry}"))
            broken += entry is not None
        if broken:
            raise CommandError(f"The audit log of {broken} organizations is broken.")
