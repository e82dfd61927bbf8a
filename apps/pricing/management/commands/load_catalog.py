from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError

from apps.core.errors import DomainError
from apps.pricing.cost import usd_per_million
from apps.pricing.models import Price
from apps.pricing.reviews import CatalogPlan, plan_catalog, publish_plan
from apps.pricing.services import Change, Plan, Publication
from apps.pricing.sources import Difference

ROWS_LISTED = 40


class Command(BaseCommand):
    help = "Lists what the installed price sources would change, then publishes it; --plan only lists."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--plan", action="store_true", help="list what would change and publish nothing")
        parser.add_argument("--all", action="store_true", help=f"list every row, not the first {ROWS_LISTED} of a kind")

    def handle(self, *args: Any, plan: bool, all: bool, **options: Any) -> None:
        try:
            planned = plan_catalog()
            for line in _listing(planned, None if all else ROWS_LISTED):
                self.stdout.write(line)
            if plan:
                self.stdout.write("Nothing was published.")
                return
            for done, each in zip(publish_plan(planned), planned.plans, strict=True):
                self.stdout.write(_done(done, each))
        except DomainError as error:
            raise CommandError(error.detail) from error
        except ProgrammingError as error:
            raise CommandError("The site may not publish prices: run this with FINOPS_PROCESS=worker.") from error


def _listing(planned: CatalogPlan, limit: int | None) -> Iterator[str]:
    for each in planned.plans:
        snapshot = each.snapshot
        dated = f" of {snapshot.published_on}" if snapshot.published_on else ""
        yield f"{snapshot.source} {snapshot.source_version}{dated}: {len(snapshot.models)} models."
        yield f"  Models: {len(each.models_new)} new, {len(each.models_changed)} matched differently."
        yield from _some("+", "new prices", [_new(change) for change in each.new], limit if each.version else 0)
        yield from _some("~", "changed prices", [_changed(change) for change in each.superseding], limit)
        yield from _some("-", "withdrawn prices", [_name(change.row) for change in each.withdrawing], limit)
        yield from _some("?", "changes that wait for a person", [_changed(change) for change in each.held], limit)
        yield f"  {each.unchanged} prices unchanged; {len(snapshot.rounded)} rates rounded to 6 decimals."
        left_out = ", ".join(f"{key} {count}" for key, count in sorted(snapshot.left_out.items())) or "none"
        yield f"  No meter for: {left_out}."
        yield f"  Without a usable rate, so unpriced: {len(snapshot.unpriced)} models."
    differing = [_differing(difference, planned) for difference in planned.differences]
    yield from _some("!", "prices on which the sources differ by more than 1 %", differing, limit)


def _some(mark: str, what: str, rows: Sequence[str], limit: int | None) -> Iterator[str]:
    if not rows:
        return
    yield f"  {len(rows)} {what}:"
    shown = rows if limit is None else rows[:limit]
    yield from (f"    {mark} {row}" for row in shown)
    if len(shown) < len(rows):
        yield f"    ... and {len(rows) - len(shown)} more: --all lists them."


def _name(row: Price) -> str:
    where = f" in {row.region}" if row.region else ""
    return f"{row.provider}/{row.model} {row.service_tier}{where} from {row.effective_from:%Y-%m-%d}"


def _new(change: Change) -> str:
    rates = ", ".join(f"{meter} {rate}" for meter, rate in change.row.rates.items()) or "no rate"
    return f"{_name(change.row)}: {rates}"


def _changed(change: Change) -> str:
    old = change.standing.rates if change.standing else {}
    meters = [meter for meter in {**old, **change.row.rates} if old.get(meter) != change.row.rates.get(meter)]
    said = ", ".join(f"{meter} {_move(old.get(meter), change.row.rates.get(meter))}" for meter in meters)
    return f"{_name(change.row)}: {said or 'thresholds'}"


def _move(old: str | None, new: str | None) -> str:
    if old is None or new is None or not Decimal(old):
        return f"{old or 'none'} -> {new or 'none'}"
    percent = (Decimal(new) / Decimal(old) - 1) * 100
    return f"{old} -> {new} ({percent:+.1f} %)"


def _differing(difference: Difference, planned: CatalogPlan) -> str:
    price = difference.price
    pairs = [
        f"{meter} {_usd(rate)} / {_usd(difference.theirs.rates[meter])}"
        for meter, rate in difference.ours.rates.items()
        if difference.theirs.rates.get(meter, rate) != rate
    ]
    sources = f"{planned.default.source} / {planned.second.source}"
    name = f"{price.provider}/{price.model} {price.service_tier}"
    return f"{name} +{difference.percent.normalize():f} % ({sources}): {', '.join(pairs) or 'beyond a threshold'}"


def _usd(rate: int) -> str:
    return f"{usd_per_million(rate).normalize():f}"


def _done(done: Publication, planned: Plan) -> str:
    return (
        f"{planned.snapshot.source}: catalog version {done.version}."
        f" Prices: {done.prices_new} new, {done.prices_superseded} superseded, {done.prices_withdrawn} withdrawn,"
        f" {done.prices_unchanged} unchanged."
    )
