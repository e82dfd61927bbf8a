from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.organizations.closing import erase_organization


class Command(BaseCommand):
    help = "Delete every row of an organization that was closed. As finops_owner; there is no way back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug")

    def handle(self, *args: Any, **options: Any) -> None:
        if "owner" not in settings.DATABASES:
            raise CommandError("Rows are erased as finops_owner: set DATABASE_OWNER_URL.")
        try:
            counts = erase_organization(slug=options["slug"])
        except DomainError as error:
            raise CommandError(error.detail) from None
        for table, count in counts.items():
            if count:
                self.stdout.write(f"{table}: {count}")
        self.stdout.write(f"{sum(counts.values())} rows of {options['slug']} are erased.")
