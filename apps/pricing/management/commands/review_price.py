from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from apps.core.errors import DomainError
from apps.pricing.reviews import decide, publish_decisions


class Command(BaseCommand):
    help = "Decides on a price that waits for a person: accept, override with rates of your own, or wait."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("flag", type=int, help="its number in review_prices")
        parser.add_argument("verdict", choices=["accept", "override", "wait"])
        parser.add_argument("--by", required=True, help="who decides: an email address")
        parser.add_argument("--note", default="", help="why")
        parser.add_argument(
            "--rate", action="append", default=[], metavar="METER=USD", help="of an override: USD per million units"
        )

    def handle(self, *args: Any, flag: int, verdict: str, by: str, note: str, rate: list[str], **options: Any) -> None:
        rates = dict(pair.partition("=")[::2] for pair in rate)
        try:
            decide(flag_id=flag, verdict=verdict, actor=by, note=note, rates=rates)
            self.stdout.write(f"Flag {flag}: {verdict}. {publish_decisions()} prices published.")
        except DomainError as error:
            raise CommandError(error.detail) from error
        except ProgrammingError:
            # The site decides, but may not publish.
            self.stdout.write(f"Flag {flag}: {verdict}. A worker publishes what follows within a minute.")
