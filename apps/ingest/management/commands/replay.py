"""Send a trace file through the public API, as a customer's program would."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError

from apps.ingest.sending import Sender, SendError, Tally, send_all
from apps.ingest.timeline import Shift
from apps.ingest.traces import KINDS, Trace, TraceError, open_trace

BATCH_EVENTS_MAX = 1000
CLIENTS_MAX = 32
EVENT_AGE_MAX = timedelta(days=35)


class Progress:
    """A bar on a terminal, elsewhere a line at every tenth."""

    WIDTH = 30

    def __init__(self, total: int, out: TextIO) -> None:
        self._total = max(total, 1)
        self._out = out
        self._bar = out.isatty()
        self._tenth = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def show(self, done: int) -> None:
        text = f"{done:,} of {self._total:,} events, {done / max(self.seconds, 0.001):,.0f}/s"
        if self._bar:
            filled = self.WIDTH * done // self._total
            self._out.write(f"\r[{'#' * filled}{'-' * (self.WIDTH - filled)}] {text} ")
        elif done * 10 // self._total > self._tenth:
            self._tenth = done * 10 // self._total
            self._out.write(f"{text}\n")
        self._out.flush()

    def close(self) -> None:
        if self._bar:
            self._out.write("\n")


def parse_end(text: str, now: datetime) -> datetime:
    """The instant a trace is to end at.

    `today` is where the UTC day began, so that a second replay on the same day sends the same events.
    """
    if text == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text == "now":
        return now.replace(microsecond=0)
    try:
        end = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is not an instant: give YYYY-MM-DDTHH:MM:SSZ, today or now.") from error
    if end.tzinfo is None:
        raise CommandError(f"{text!r} has no zone: end it with Z for UTC.")
    return end.astimezone(UTC).replace(microsecond=0)


def _positive(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not 1 <= value <= most:
            raise ValueError(text)
        return value

    number.__name__ = f"number from 1 to {most}"
    return number


class Command(BaseCommand):
    help = "Turn a trace file into usage events and send them through the public API."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a trace as CSV, plain or .gz")
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the site is")
        parser.add_argument("--key", required=True, help="an API key with the ingest scope")
        parser.add_argument("--kind", choices=sorted(KINDS), help="default: by the file's name")
        parser.add_argument("--batch", type=_positive(BATCH_EVENTS_MAX), default=BATCH_EVENTS_MAX)
        parser.add_argument("--clients", type=_positive(CLIENTS_MAX), default=2)
        parser.add_argument("--limit", type=_positive(10**9), help="send only the first N events")
        dates = parser.add_mutually_exclusive_group()
        dates.add_argument("--shift-to", default="today", help="the instant at which the trace ends, or today, or now")
        dates.add_argument("--keep-dates", action="store_true", help="leave the trace its own dates")
        parser.add_argument(
            "--window-days", type=_positive(3660), help="lay the trace over this many days before its end"
        )
        parser.add_argument(
            "--backfill",
            action="store_true",
            help="the key has the backfill scope: older than 35 days may go",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = datetime.now(UTC)
        end = None if options["keep_dates"] else parse_end(options["shift_to"], now)
        try:
            trace = open_trace(options["file"], Shift(end, options["window_days"]), options["kind"])
            _require_backfill(trace, now, allowed=options["backfill"])
            tally = self._send(trace, options)
        except (TraceError, SendError) as error:
            raise CommandError(str(error)) from error
        if tally.failed:
            raise CommandError("Some events were not stored:\n  " + "\n  ".join(tally.problems))

    def _send(self, trace: Trace, options: dict[str, Any]) -> Tally:
        total = min(trace.survey.rows, options["limit"] or trace.survey.rows)
        progress = Progress(total, sys.stderr)
        try:
            tally = send_all(
                islice(trace.events(), total),
                sender=Sender(options["url"], options["key"]),
                batch_events=options["batch"],
                clients=options["clients"],
                report=progress.show,
            )
        finally:
            progress.close()
        self.stdout.write(tally.summary(progress.seconds))
        self.stdout.write(f"To send the same events again: {_as_options(trace.shift)}")
        return tally


def _as_options(shift: Shift) -> str:
    if shift.end is None:
        return "--keep-dates"
    window = "" if shift.window_days is None else f" --window-days {shift.window_days}"
    return f"--shift-to {shift.end:%Y-%m-%dT%H:%M:%SZ}{window}"


def _require_backfill(trace: Trace, now: datetime, *, allowed: bool) -> None:
    first = trace.first_instant()
    if first < now - EVENT_AGE_MAX and not allowed:
        raise CommandError(
            f"The events begin on {first:%Y-%m-%d}, more than {EVENT_AGE_MAX.days} days ago: "
            "send them with --backfill and a key of that scope, or fit them with --window-days 30."
        )
