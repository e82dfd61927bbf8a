from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.services import get_or_create_user, password_link
from apps.core.errors import DomainError
from apps.organizations.permissions import Role
from apps.organizations.selectors import organization_by_slug
from apps.organizations.services import add_member, change_settings, change_zone


class Command(BaseCommand):
    help = "Change settings, time zone or members of an organization."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", metavar="ORG_SLUG")
        parser.add_argument("--create-names", choices=["on", "off"], help="create names that events bring")
        parser.add_argument("--retention-months", type=int, help="months of events to keep; older ones are deleted")
        parser.add_argument("--zone", help="IANA time zone, with --from")
        parser.add_argument("--from", dest="month", metavar="YYYY-MM", help="the coming month it holds from")
        parser.add_argument("--member", metavar="EMAIL", help="give a person a role, with --role")
        parser.add_argument("--role", choices=[role.value for role in Role])

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["zone"]) != bool(options["month"]) or bool(options["member"]) != bool(options["role"]):
            raise CommandError("--zone goes with --from, and --member with --role.")
        try:
            self._change(options)
        except DomainError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(f"{options['organization']} is changed.")

    def _change(self, options: dict[str, Any]) -> None:
        org = organization_by_slug(options["organization"])
        if options["create_names"] or options["retention_months"] is not None:
            wish = options["create_names"]
            change_settings(
                org=org,
                actor=None,
                create_names_on_first_sight=None if wish is None else wish == "on",
                retention_months=options["retention_months"],
            )
        if options["zone"]:
            try:
                month = date.fromisoformat(f"{options['month']}-01")
            except ValueError:
                raise CommandError(f"--from is '{options['month']}': write it as YYYY-MM.") from None
            change_zone(org=org, zone=options["zone"], effective_month=month, actor=None)
        if options["member"]:
            user = get_or_create_user(email=options["member"])
            add_member(org=org, user=user, role=options["role"], actor=None)
            if not user.has_usable_password():
                self.stderr.write(f"{user.email} chooses a password here: {password_link(user)}")
