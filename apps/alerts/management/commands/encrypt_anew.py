from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.services import encrypt_factors_anew
from apps.alerts.channels import encrypt_channels_anew
from apps.alerts.selectors import subscribers
from apps.core.encryption import Unreadable


class Command(BaseCommand):
    help = "Encrypt what is secret in the database by the first of ENCRYPTION_KEYS; the others may be dropped then."

    def handle(self, *args: Any, **options: Any) -> None:
        channels, closed = 0, []
        for organization_id in subscribers():
            try:
                channels += encrypt_channels_anew(organization_id)
            except Unreadable:
                closed.append(organization_id)
        try:
            factors = encrypt_factors_anew()
        except Unreadable:
            raise CommandError(
                f"{channels} channels are encrypted anew. No key opens what second factors hold: nothing of them was"
                " changed. Add the key that they were encrypted by to ENCRYPTION_KEYS."
            ) from None
        self.stdout.write(f"Encrypted anew: {channels} channels, {factors} second factors.")
        if closed:
            raise CommandError(
                f"No key opens what channels of these organizations hold, by id: {', '.join(map(str, closed))}."
                " Nothing of them was changed: add the key that they were encrypted by to ENCRYPTION_KEYS."
            )
