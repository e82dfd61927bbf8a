from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.services import get_or_create_user, password_link
from apps.core.errors import DomainError
from apps.organizations.services import create_organization


class Command(BaseCommand):
    help = "Create an organization and its owner; prints the slug."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--zone", default="UTC", help="IANA time zone of the organization (default: UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            org = create_organization(name=options["name"], owner_email=options["owner"], zone=options["zone"])
        except DomainError as error:
            raise CommandError(error.detail) from None
        owner = get_or_create_user(email=options["owner"])
        if not owner.has_usable_password():
            self.stderr.write(f"{owner.email} chooses a password here: {password_link(owner)}")
        self.stdout.write(org.slug)
