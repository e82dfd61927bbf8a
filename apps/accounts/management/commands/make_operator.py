from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.services import set_operator


class Command(BaseCommand):
    help = "Lets a person look after the installation: review the price catalog. --revoke takes it back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--revoke", action="store_true")

    def handle(self, *args: Any, email: str, revoke: bool, **options: Any) -> None:
        if not set_operator(email=email, is_operator=not revoke):
            raise CommandError(f"Nobody signs in as {email}: create the person first.")
        self.stdout.write(f"{email} is {'no longer an' if revoke else 'an'} operator.")
