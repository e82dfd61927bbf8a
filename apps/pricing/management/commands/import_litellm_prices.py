import json
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.pricing.litellm import DATA, read_litellm, trimmed


class Command(BaseCommand):
    help = "Makes the copy of LiteLLM's price data that this project ships from LiteLLM's own file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="model_prices_and_context_window_backup.json")
        parser.add_argument("--source-version", required=True, help="the version of LiteLLM that it is from")
        parser.add_argument("--date", required=True, type=date.fromisoformat, help="when that was published")
        parser.add_argument("--to", type=Path, default=DATA, help="where the copy goes")

    def handle(self, *args: Any, file: Path, source_version: str, date: date, to: Path, **options: Any) -> None:
        try:
            published = json.loads(file.read_text("utf-8"), parse_float=str)
            lines = list(trimmed(published, source_version, date))
            models = len(read_litellm(lines).models)
            if not models:
                raise ValueError("it holds no model with a price.")
        except (OSError, ValueError, AttributeError) as error:
            raise CommandError(f"{file} cannot be read as LiteLLM's price data: {error}") from error
        to.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        self.stdout.write(f"{to}: {models} priced models of LiteLLM {source_version}.")
