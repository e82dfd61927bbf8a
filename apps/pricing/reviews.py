"""Two sources, one catalog: loading both, flagging what a person should look at, and what the person decides.

The default source's price stands while a difference is under review: nobody's usage becomes unpriced by a dispute.
A person accepts (what stands, or the change that was held), overrides with rates of their own, or waits with a note.
Flags and decisions are append-only; the latest decision counts.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from apps.core.errors import DomainError, NotFound
from apps.pricing import genai, litellm, selectors
from apps.pricing.agreements import read_rates
from apps.pricing.cost import Price
from apps.pricing.models import Price as PriceRow
from apps.pricing.models import PriceDecision, PriceFlag
from apps.pricing.selectors import REVIEW
from apps.pricing.services import Change, Plan, Publication, insert_version, plan, publish, stored_rates, stored_tiers
from apps.pricing.sources import Difference, Snapshot, breadth, catalog_of, differences

Verdict = PriceDecision.Verdict
CLOSED = (Verdict.ACCEPT, Verdict.OVERRIDE, Verdict.AGREED)
BY_CATALOG = "catalog"
NOTE_LENGTH_MAX = 500

# How the row of an override names its flag.
_MARK = "flag "

# The values of selectors.PRICE_KEY.
_Key = tuple[Any, ...]


@dataclass(slots=True)
class CatalogPlan:
    """What loading the installed sources would change, and the prices on which they differ."""

    default: Snapshot
    second: Snapshot
    plans: list[Plan]
    differences: list[Difference]


def plan_catalog(*, hold: bool = False) -> CatalogPlan:
    """Read both sources and compare them with the catalog; nothing is written.

    With `hold`, changes of prices that are already in force are left to a person. The second plan is made as if the
    first were published already, which its version says.
    """
    now = timezone.now()
    default, second = genai.read_snapshot(), litellm.read_litellm()
    known = {(model.provider, model.model) for model in default.models}
    plans = [plan(default), plan(breadth(default, second), known=known)]
    if hold:
        for planned in plans:
            planned.hold_what_is_in_force(now)
    if plans[0].models or plans[0].prices:
        plans[1].version += 1
    return CatalogPlan(default, second, plans, differences(catalog_of(default), second, now))


def publish_plan(planned: CatalogPlan) -> list[Publication]:
    """Publish what was planned and flag what differs or was held. Raises `DomainError` (`catalog_busy`)."""
    with transaction.atomic():
        done = [publish(each) for each in planned.plans]
        changed = [_held_flag(change, each.snapshot) for each in planned.plans for change in each.held]
        differing = [_difference_flag(difference, planned.second) for difference in planned.differences]
        PriceFlag.objects.bulk_create([*changed, *differing], ignore_conflicts=True)
        found = {flag.digest for flag in (*changed, *differing)}
        _say(open_flags().exclude(digest__in=found), Verdict.AGREED, "Nothing differs any more.")
        _say(flags().filter(verdict=Verdict.AGREED, digest__in=found), Verdict.WAIT, "It differs again.")
    return done


def _say(found: Iterable[Any], verdict: str, note: str) -> None:
    PriceDecision.objects.bulk_create(
        [PriceDecision(flag=flag, verdict=verdict, note=note, decided_by=BY_CATALOG) for flag in found]
    )


def flags() -> QuerySet[Any]:
    """Every flag with its latest decision as `verdict`, `note`, `decided_by` and `decided_at`; newest first."""
    columns = ("verdict", "note", "decided_by", "decided_at")
    return PriceFlag.objects.annotate(**{name: _of_latest_decision(name) for name in columns}).order_by("-id")


def _of_latest_decision(column: str) -> Subquery:
    latest = PriceDecision.objects.filter(flag=OuterRef("pk")).order_by("-id")
    return Subquery(latest.values(column)[:1])


def open_flags() -> QuerySet[Any]:
    """Flags that wait for a person."""
    return flags().filter(Q(verdict=None) | Q(verdict=Verdict.WAIT))


def decide(
    *, flag_id: int, verdict: str, actor: str, note: str = "", rates: Mapping[str, Any] | None = None
) -> PriceDecision:
    """What a person decides on a flag; a worker publishes what follows from it.

    Raises `NotFound`, or `DomainError`: `verdict_unknown`, `price_flag_closed`, `note_missing` for an override that
    does not say why, `rates_invalid`.
    """
    flag = flags().filter(pk=flag_id).first()
    if flag is None:
        raise NotFound("price flag")
    if verdict not in (Verdict.ACCEPT, Verdict.OVERRIDE, Verdict.WAIT):
        raise DomainError(
            "verdict_unknown", f"'{verdict}' is no decision: use accept, override or wait.", param="verdict"
        )
    if flag.verdict in CLOSED:
        raise DomainError(
            "price_flag_closed",
            f"Flag {flag.pk} was decided by {flag.decided_by} ({flag.verdict}): the next difference makes a new one.",
        )
    if len(note) > NOTE_LENGTH_MAX or "\0" in note or (verdict == Verdict.OVERRIDE and not note.strip()):
        raise DomainError("note_missing", f"Say why in 1 to {NOTE_LENGTH_MAX} characters.", param="note")
    own = read_rates(rates or {}) if verdict == Verdict.OVERRIDE else None
    return PriceDecision.objects.create(flag=flag, verdict=verdict, rates=own, note=note.strip(), decided_by=actor)


def publish_decisions() -> int:
    """Publish what decisions call for and the catalog does not say yet; how many rows. Running it again adds none.

    An override replaces the rates that it names and leaves the others, and all beyond a threshold, as they stand.
    Raises `DomainError` (`catalog_busy`).
    """
    calling = Q(verdict=Verdict.OVERRIDE) | Q(verdict=Verdict.ACCEPT, kind=PriceFlag.Kind.CHANGED)
    decided = list(flags().filter(calling).annotate(own_rates=_of_latest_decision("rates")).order_by("id"))
    if not decided:
        return 0
    version = selectors.newest_version()
    standing = _standing(version, decided)
    rows: dict[_Key, PriceRow] = {}
    for flag in decided:
        key = _key(flag)
        if key in standing and (row := _called_for(flag, rows.get(key, standing[key]))):
            rows[key] = row
    if rows:
        today = timezone.now().date().isoformat()
        with transaction.atomic():
            insert_version(version + 1, REVIEW, today, [], list(rows.values()))
    return len(rows)


def _standing(version: int, decided: Iterable[Any]) -> dict[_Key, PriceRow]:
    """The rows that stand for the keys of flags."""
    models = {(flag.provider, flag.model) for flag in decided}
    rows = selectors.current_prices(version).filter(
        provider__in={provider for provider, _ in models}, model__in={model for _, model in models}
    )
    return {_key(row): row for row in rows.select_related("catalog_version")}


def _key(found: Any) -> _Key:
    return tuple(getattr(found, column) for column in selectors.PRICE_KEY)


def _called_for(flag: Any, standing: PriceRow) -> PriceRow | None:
    """The row that a decision calls for, None where the catalog says it already or has moved on since."""
    key = {column: getattr(flag, column) for column in selectors.PRICE_KEY}
    if flag.verdict == Verdict.OVERRIDE:
        mark = f"{_MARK}{flag.pk}"
        is_done = standing.source == REVIEW and int(standing.source_version.removeprefix(_MARK)) >= flag.pk
        if is_done or (standing.catalog_version_id and standing.catalog_version.loaded_at > flag.decided_at):
            return None
        rates = {**standing.rates, **flag.own_rates}
        return PriceRow(
            **key, rates=rates, tiers=standing.tiers, published=flag.own_rates, source=REVIEW, source_version=mark
        )
    if _said(standing) != flag.ours or _said(standing) == {name: flag.theirs[name] for name in flag.ours}:
        return None
    return PriceRow(**key, **flag.theirs, source=flag.other_source, source_version=flag.other_version)


def _held_flag(change: Change, snapshot: Snapshot) -> PriceFlag:
    assert change.standing is not None, "only a change of what stands is held"
    row = change.row
    ours = _said(change.standing)
    theirs = {**_said(row), "published": row.published, "withdrawn": row.withdrawn}
    percent = _percent(change.standing.rates, row.rates)
    # The same change of another row, a change back and forth, is another finding.
    return _flag(PriceFlag.Kind.CHANGED, row, ours, theirs, snapshot, percent, f"row {change.standing.pk}")


def _said(row: PriceRow) -> dict[str, Any]:
    return {"rates": row.rates, "tiers": row.tiers}


def _difference_flag(difference: Difference, second: Snapshot) -> PriceFlag:
    ours, theirs = (
        {"rates": stored_rates(side.rates), "tiers": stored_tiers(side.tiers)}
        for side in (difference.ours, difference.theirs)
    )
    return _flag(PriceFlag.Kind.SOURCES_DIFFER, difference.price, ours, theirs, second, difference.percent)


def _flag(
    kind: str, at: PriceRow | Price, ours: Any, theirs: Any, other: Snapshot, percent: Decimal, of: str = ""
) -> PriceFlag:
    key = {column: getattr(at, column) for column in selectors.PRICE_KEY}
    said = json.dumps([kind, {name: str(value) for name, value in key.items()}, ours, theirs, of], sort_keys=True)
    return PriceFlag(
        kind=kind,
        **key,
        ours=ours,
        theirs=theirs,
        other_source=other.source,
        other_version=other.source_version,
        difference_percent=percent,
        digest=hashlib.sha256(said.encode()).hexdigest(),
    )


def _percent(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Decimal:
    """The largest change of a rate in percent of the old one; 100 where a rate appears or goes."""
    largest = Decimal(0)
    for meter in {*ours, *theirs}:
        old, new = Decimal(ours.get(meter, 0)), Decimal(theirs.get(meter, 0))
        change = Decimal(100) if not old else abs(new - old) / old * 100
        largest = max(largest, change if old != new else Decimal(0))
    return min(largest, Decimal(10**14)).quantize(Decimal("0.0001"))


def under_review(prices: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Sequence[PriceFlag]]:
    """The open flags of each of these (provider, model)."""
    wanted = set(prices)
    found: dict[tuple[str, str], list[PriceFlag]] = {}
    for flag in open_flags().filter(provider__in={provider for provider, _ in wanted}):
        if (flag.provider, flag.model) in wanted:
            found.setdefault((flag.provider, flag.model), []).append(flag)
    return dict(found)
