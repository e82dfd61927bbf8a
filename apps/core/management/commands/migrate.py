from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as Migrate

from apps.core.privileges import grant_framework_tables, make_run_time_roles


class Command(Migrate):
    """`migrate` as finops_owner; afterwards the run-time roles may use the frameworks' tables."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["database"] not in settings.DATABASES:
            raise CommandError("Migrations run as finops_owner: set DATABASE_OWNER_URL.")
        changes_nothing = options["plan"] or options["check_unapplied"]
        if not changes_nothing:
            make_run_time_roles(options["database"])
        super().handle(*args, **options)
        if not changes_nothing:
            grant_framework_tables(options["database"])
