from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.selectors import list_keys, organization_by_slug
from apps.organizations.services import revoke_key


class Command(BaseCommand):
    help = "Revoke an API key by its id; without an id, list the keys of the organization."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", metavar="ORG_SLUG")
        parser.add_argument("key", metavar="ID", type=int, nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            org = organization_by_slug(options["organization"])
            if options["key"] is None:
                with tenant(org):
                    for key in list_keys(org):
                        state = "revoked" if key.revoked_at else "active"
                        self.stdout.write(f"{key.pk}  {key.hint}  {state}  {','.join(key.scopes)}  {key.name}")
                return
            revoked = revoke_key(org=org, key_id=options["key"], actor=None)
        except DomainError as error:
            raise CommandError(error.detail) from None
        self.stdout.write(f"{revoked.hint} is revoked: the next request with it is refused.")
