from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError
from apps.pricing.genai import SOURCE, Snapshot
from apps.pricing.services import Publication, publish_installed_catalog


class Command(BaseCommand):
    help = "Publishes the prices of the installed genai-prices package; what is already known is left alone."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            snapshot, publication = publish_installed_catalog()
        except DomainError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(_report(snapshot, publication))


def _report(snapshot: Snapshot, publication: Publication) -> str:
    left_out = ", ".join(f"{key} {count}" for key, count in sorted(snapshot.left_out.items())) or "none"
    return f"""\
{SOURCE} {snapshot.source_version}: {len(snapshot.models)} models. Catalog version {publication.version}.
Models: {publication.models_new} new, {publication.models_changed} matched differently.
Prices: {publication.prices_new} new, {publication.prices_superseded} superseded, \
{publication.prices_withdrawn} withdrawn, {publication.prices_unchanged} unchanged.
Rounded to 6 decimals: {snapshot.rounded} rates.
Kept as published, no meter for them: {left_out}.
Without a usable rate, so unpriced: {len(snapshot.unpriced)} models."""
