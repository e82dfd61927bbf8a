from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.pricing.reviews import flags, open_flags


class Command(BaseCommand):
    help = "Lists the prices that wait for a person; review_price decides on one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="also those that are decided")

    def handle(self, *args: Any, all: bool, **options: Any) -> None:
        found = list(flags() if all else open_flags())
        for flag in found:
            self.stdout.write(
                f"{flag.pk}: {flag.provider}/{flag.model} {flag.service_tier} from {flag.effective_from:%Y-%m-%d}"
                f" ({flag.kind}, +{flag.difference_percent.normalize():f} %, {flag.verdict or 'open'})"
            )
            for meter in sorted(flag.ours["rates"].keys() & flag.theirs["rates"].keys()):
                ours, theirs = flag.ours["rates"][meter], flag.theirs["rates"][meter]
                if ours != theirs:
                    self.stdout.write(f"    {meter}: {ours} stands, {flag.other_source} says {theirs}")
        if not found:
            self.stdout.write("No price waits for a person.")
