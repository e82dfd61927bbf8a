"""Pricing events again: a preview first, then, where somebody says so, postings of the difference.

An event is never edited and a closed month never changes: what an event costs now, less what it cost, is posted under
the first open month. Both phases walk the events in order of their key, a batch a transaction; position, counts and
lines move with the batch, so a stop, a crash or a second worker change nothing, and a resumed phase goes on where it
was. One cause posts once per event, so running it again changes nothing either.
"""

import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.money import EXACT
from apps.core.tenancy import HasPk, tenant
from apps.organizations.models import Organization
from apps.pricing.contracts import Term
from apps.pricing.models import CatalogVersion
from apps.pricing.rating import ModelAliases
from apps.pricing.rules import RULES
from apps.usage.models import Rerating, ReratingLine

State = Rerating.State
RUNNING = (State.PREVIEWING, State.POSTING)
# Where a phase begins.
BEGINNING: Mapping[str, Any] = {"scanned": 0, "at_hour": None, "at_instant": None, "at_event": None}
REASON_LENGTH_MAX = 500
YEAR_MIN, YEAR_MAX = 1971, 2200
# What a re-rating can be restricted to, beside time.
FILTERS = (
    "provider", "model", "service_tier", "environment", "team", "project", "workflow", "priced", "price_id",
    "contract_id",
)  # fmt: skip


def start_preview(
    *,
    org: Organization,
    actor: object,
    reason: str,
    start: datetime,
    end: datetime,
    filters: Mapping[str, str],
    catalog_version: int | None = None,
) -> Rerating:
    """Begin to preview what events of [start, end) that match `filters` cost by a catalog version (None: the newest).

    A filter is a name of `FILTERS`; "" finds what has none. Raises `DomainError`: `reason_invalid`, `range_invalid`,
    `filter_unknown`, `filter_invalid`, `catalog_version_unknown`, or `rerating_active` while another one is under way.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= REASON_LENGTH_MAX or "\0" in reason:
        raise DomainError(
            "reason_invalid",
            f"Say why in 1 to {REASON_LENGTH_MAX} characters: it goes to the audit log.",
            param="reason",
        )
    _require_range(start, end)
    _require_known(filters)
    version = _version(catalog_version)
    with tenant(org):
        _take_turn(org)
        _require_nothing_running(org)
        rerating = Rerating(
            organization_id=org.pk,
            rerating_id=uuid.uuid4(),
            state=State.PREVIEWING,
            phase=State.PREVIEWING,
            reason=reason,
            actor=str(actor),
            created_at=timezone.now(),
            start=start,
            end=end,
            filters=dict(filters),
            catalog_version=version,
            rule_set=RULES.number,
        )
        rerating.save(force_insert=True)
        record(org, rerating, actor, "previewed", {"from": start.isoformat(), "to": end.isoformat()})
        _set_running(org)
    return rerating


def post(*, org: Organization, rerating_id: uuid.UUID, actor: object) -> Rerating:
    """Begin to post what was previewed; a posted one is answered as it is.

    Raises `NotFound`, or `DomainError`: `rerating_not_previewed`, `rerating_active`, `rerating_stale` where prices were
    posted or contracts changed since the preview.
    """
    with tenant(org):
        rerating = _locked(org, rerating_id)
        if rerating.state in (State.POSTED, State.POSTING):
            return rerating
        if rerating.state == State.PREVIEWED and is_overtaken(org, rerating):
            change(org, rerating, state=State.STALE)
        if rerating.state != State.STALE:
            _require_state(rerating, State.PREVIEWED, "rerating_not_previewed", "only a finished preview can be posted")
            _require_nothing_running(org)
            change(org, rerating, state=State.POSTING, phase=State.POSTING, posted_by=str(actor), **BEGINNING)
            record(org, rerating, actor, "posting", {})
            _set_running(org)
    if rerating.state == State.STALE:  # out here, where the new state is kept
        raise stale_error(rerating)
    return rerating


def stop(*, org: Organization, rerating_id: uuid.UUID, actor: object) -> Rerating:
    """Stop after the batch under way; what is posted stays posted. Raises `NotFound`, `rerating_not_running`."""
    with tenant(org):
        rerating = _locked(org, rerating_id)
        if rerating.state == State.STOPPED:
            return rerating
        if rerating.state not in RUNNING:
            raise _wrong_state(rerating, "rerating_not_running", "there is nothing to stop")
        change(org, rerating, state=State.STOPPED)
        record(org, rerating, actor, "stopped", {"scanned": rerating.scanned})
    return rerating


def resume(*, org: Organization, rerating_id: uuid.UUID, actor: object) -> Rerating:
    """Go on with the phase that was stopped. Raises `NotFound`, `rerating_not_stopped`, `rerating_active`."""
    with tenant(org):
        rerating = _locked(org, rerating_id)
        if rerating.state in RUNNING:
            return rerating
        _require_state(rerating, State.STOPPED, "rerating_not_stopped", "there is nothing to resume")
        _require_nothing_running(org)
        change(org, rerating, state=rerating.phase)
        record(org, rerating, actor, "resumed", {"scanned": rerating.scanned})
        _set_running(org)
    return rerating


def stale_error(rerating: Rerating) -> DomainError:
    return DomainError(
        "rerating_stale",
        f"Prices or contracts changed since re-rating {rerating.rerating_id} was previewed: preview it again.",
    )


def digest_of(terms: Sequence[Term], aliases: ModelAliases) -> str:
    """Tells whether an organization's contracts or model aliases are still what they were."""
    return hashlib.sha256(repr((sorted(terms, key=lambda term: term.id), sorted(aliases.items()))).encode()).hexdigest()


# --- what there is to see ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a re-rating's lines; amounts in USD. `difference_usd` is what the preview found."""

    events: int
    newly_priced: int
    newly_unpriced: int
    before_usd: Decimal
    after_usd: Decimal
    posted_events: int
    posted_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        return EXACT.subtract(self.after_usd, self.before_usd)


def list_reratings(org: HasPk) -> QuerySet[Rerating]:
    """Newest first."""
    return Rerating.objects.for_org(org).order_by("-created_at")


def count_unposted(org: HasPk, start: datetime, end: datetime) -> int:
    """How many re-ratings of calls in [start, end) were begun and neither posted nor overtaken by other prices."""
    rows = Rerating.objects.for_org(org).filter(start__lt=end, end__gt=start)
    return rows.exclude(state__in=(State.POSTED, State.STALE)).count()


def rerating_by_id(org: HasPk, rerating_id: uuid.UUID) -> Rerating:
    """Raises `NotFound`."""
    rerating = Rerating.objects.for_org(org).filter(rerating_id=rerating_id).first()
    if rerating is None:
        raise NotFound("re-rating")
    return rerating


def lines_of(org: HasPk, rerating_id: uuid.UUID) -> QuerySet[ReratingLine]:
    """What changes, by team, month and model: the months in order, the teams by name."""
    lines = ReratingLine.objects.for_org(org).filter(rerating_id=rerating_id)
    return lines.order_by("month", F("team").asc(nulls_last=True), "provider", "model")


def totals_of(org: HasPk, rerating_id: uuid.UUID) -> Totals:
    return totals_of_each(org, [rerating_id])[rerating_id]


def totals_of_each(org: HasPk, rerating_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Totals]:
    """The totals of each of these re-ratings, by one statement; of one without lines they are zero."""
    names = [each.name for each in fields(Totals)]
    lines = ReratingLine.objects.for_org(org).filter(rerating_id__in=rerating_ids)
    summed = lines.values_list("rerating_id").annotate(*(Sum(name) for name in names)).order_by()
    sums = {one: Totals(*known) for one, *known in summed}
    nothing = Totals(0, 0, 0, Decimal(0), Decimal(0), 0, Decimal(0))
    return {one: sums.get(one, nothing) for one in rerating_ids}


def _require_range(start: datetime, end: datetime) -> None:
    for param, at in (("from", start), ("to", end)):
        if not YEAR_MIN <= at.year <= YEAR_MAX:
            raise DomainError(
                "range_invalid", f"{at.isoformat()} is not in the years {YEAR_MIN} to {YEAR_MAX}.", param=param
            )
    if start >= end:
        raise DomainError(
            "range_invalid", f"{end.isoformat()} is not after {start.isoformat()}: to lies after from.", param="to"
        )


def _require_known(filters: Mapping[str, str]) -> None:
    for name, value in filters.items():
        if name not in FILTERS:
            raise DomainError(
                "filter_unknown", f"There is no filter '{name}': use {', '.join(FILTERS)}.", param=f"filters.{name}"
            )
        if "\0" in value:
            raise DomainError("filter_invalid", f"{name} holds a NUL character.", param=f"filters.{name}")
        if name == "priced" and value not in ("true", "false"):
            raise DomainError("filter_invalid", f"priced is '{value}': use true or false.", param="filters.priced")
        if name in ("price_id", "contract_id") and value and not value.isdecimal():
            raise DomainError("filter_invalid", f"{name} is '{value}': use a number.", param=f"filters.{name}")


def _version(asked: int | None) -> int:
    versions = CatalogVersion.objects.order_by("-id").values_list("id", flat=True)
    found = versions.first() if asked is None else versions.filter(id=asked).first()
    if found is None:
        known = f"the newest is {versions.first()}" if versions.exists() else "none is published yet"
        raise DomainError(
            "catalog_version_unknown", f"There is no catalog version {asked}: {known}.", param="catalog_version"
        )
    return found


def _take_turn(org: Organization) -> None:
    """One act at a time on an organization's re-ratings."""
    Organization.objects.select_for_update().get(pk=org.pk)


def _locked(org: Organization, rerating_id: uuid.UUID) -> Rerating:
    _take_turn(org)
    rerating = Rerating.objects.for_org(org).select_for_update().filter(rerating_id=rerating_id).first()
    if rerating is None:
        raise NotFound("re-rating")
    return rerating


def is_overtaken(org: Organization, rerating: Rerating) -> bool:
    """Whether another re-rating has posted since this one was begun."""
    others = Rerating.objects.for_org(org).exclude(rerating_id=rerating.rerating_id)
    return others.filter(phase=State.POSTING, worked_at__gt=rerating.created_at).exists()


def _require_nothing_running(org: Organization) -> None:
    active = Rerating.objects.for_org(org).filter(state__in=RUNNING).first()
    if active is not None:
        raise DomainError(
            "rerating_active", f"Re-rating {active.rerating_id} is {active.state}: wait for it or stop it first."
        )


def _require_state(rerating: Rerating, state: str, code: str, says: str) -> None:
    if rerating.state != state:
        raise _wrong_state(rerating, code, says)


def _wrong_state(rerating: Rerating, code: str, says: str) -> DomainError:
    return DomainError(code, f"Re-rating {rerating.rerating_id} is {rerating.state}: {says}.")


def change(org: Organization, rerating: Rerating, **changes: Any) -> None:
    Rerating.objects.for_org(org).filter(rerating_id=rerating.rerating_id).update(**changes)
    for name, value in changes.items():
        setattr(rerating, name, value)


def _set_running(org: Organization) -> None:
    """Workers find work by this flag, whatever becomes of a message to them."""
    Organization.objects.filter(pk=org.pk).update(is_rerating=True)


def record(org: Organization, rerating: Rerating, actor: object, act: str, data: dict[str, Any]) -> None:
    audit.record(
        org=org,
        actor=actor,
        action=f"reratings.{act}",
        subject=str(rerating.rerating_id),
        data={
            "reason": rerating.reason,
            "filters": rerating.filters,
            "catalog_version": rerating.catalog_version,
            **data,
        },
    )
