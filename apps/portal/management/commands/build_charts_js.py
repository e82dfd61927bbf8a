"""Write the chart library that the portal's pages load."""

from argparse import ArgumentParser
from pathlib import Path

import vl_convert
from django.conf import settings
from django.core.management.base import BaseCommand

# The bundle carries Vega's expression interpreter, so pages draw under a policy without 'unsafe-eval'.
SNIPPET = "window.vegaEmbed = vegaEmbed;"


class Command(BaseCommand):
    """Bundle vega-embed out of the vl-convert-python wheel into one static file, before collectstatic."""

    help = "Writes charts.js (Vega, Vega-Lite and vega-embed in one file) where static files are found."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", type=Path, default=Path(settings.BUILT_STATIC_DIR) / "js" / "charts.js")

    def handle(self, *, output: Path, verbosity: int = 1, **options: object) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        # A reader never sees half a file: a second start may be serving the old one.
        unfinished = output.with_suffix(".new")
        unfinished.write_text(vl_convert.javascript_bundle(SNIPPET), encoding="utf-8")
        unfinished.replace(output)
        if verbosity:
            self.stdout.write(f"{output.name}: {output.stat().st_size // 1024} KiB")
