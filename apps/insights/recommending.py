"""Recommendations found, answered and measured.

Found once a week by a worker, which alone writes what was found; answered by people and keys; measured by a worker 14
and 30 days after a change took effect. Locks: the organization's round, then recommendations by id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.money import COST_MAX_USD, usd_text
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.insights import chances
from apps.insights.catalogue import recommend
from apps.insights.models_savings import REASON_LENGTH_MAX, SEGMENT_LENGTH_MAX, Adoption, Recommendation, SavingsRound
from apps.insights.recommendations import Found, Label, headline
from apps.insights.savings_seen import read_facts, read_prices
from apps.organizations.models import Organization
from apps.teams.selectors import list_workflows, owned

State = Recommendation.State
EVERY = timedelta(days=7)
# A dismissed recommendation comes back after this time, or once its saving doubled.
STAYS_DISMISSED = timedelta(days=90)
COMES_BACK_AT = 2
# One that was done is measured first; what is found again after that is new.
STAYS_DONE = timedelta(days=45)
LATE_MAX = timedelta(days=90)
# How long a change is measured: it is not counted twice for the same days.
MEASURED = timedelta(days=30)
HOURS_MAX = 10_000
TRIAL_RUNS_MAX = 10**9
_SIX = Decimal("0.000001")


def usd_of(estimate: float) -> Decimal:
    """An estimate as it is stored: 6 decimals, within what a column holds."""
    most = float(COST_MAX_USD) / 10
    return Decimal(repr(min(max(estimate, -most), most))).quantize(_SIX)


# --- finding --------------------------------------------------------------------------------------------


def find(org_id: int, *, anew: bool = False, at: datetime | None = None) -> int:
    """Look through the organization's workflows, where that was not done for a week; how many were found.

    `at` is now, unless what would have been found then is wanted. Locks: the round. Running it again finds the same.
    """
    org, at = Organization.objects.get(pk=org_id), at or timezone.now()
    with tenant(org):
        SavingsRound.objects.for_org(org).bulk_create([SavingsRound(organization_id=org_id)], ignore_conflicts=True)
        turn = SavingsRound.objects.for_org(org).select_for_update().get()
        if turn.found_at is not None and turn.found_at > at - EVERY and not anew:
            return 0
        facts = read_facts(org, at)
        prices = read_prices(org, facts.values(), at)
        places = _places(org, at)
        found = [
            (places[workflow_id], one)
            for workflow_id, seen in facts.items()
            if workflow_id in places
            for one in recommend(seen, prices, seed=org_id)
            if len(one.segment) <= SEGMENT_LENGTH_MAX
        ]
        _store(org, found, at)
        turn.found_at, turn.days = at, round(max((seen.days for seen in facts.values()), default=0))
        turn.save(update_fields=["found_at", "days"])
    return len(found)


@dataclass(frozen=True, slots=True)
class Place:
    workflow_id: int
    workflow: str
    project: str
    team: str | None


def _places(org: Organization, at: datetime) -> dict[int, Place]:
    """Every workflow with the project and the team that it belongs to now."""
    workflows = list_workflows(org)
    owners = {project.pk: team for project, team in owned(org, [workflow.project for workflow in workflows], at)}
    return {
        workflow.pk: Place(workflow.pk, workflow.slug, workflow.project.slug, owners.get(workflow.project_id))
        for workflow in workflows
    }


def _store(org: Organization, found: Sequence[tuple[Place, Found]], at: datetime) -> None:
    rows = Recommendation.objects.for_org(org).select_for_update().order_by("id")
    known = {(row.kind, row.workflow_id, row.segment): row for row in rows}
    fresh, seen = [], []
    for place, one in found:
        row = known.pop((one.kind, place.workflow_id, one.segment), None)
        if row is None:
            fresh.append(_told(Recommendation(organization=org, kind=one.kind, first_found_at=at), place, one, at))
        else:
            _come_back(org, _told(row, place, one, at), at)
            seen.append(row)
    Recommendation.objects.for_org(org).bulk_create(fresh)
    _write(org, seen, [*_FOUND_FIELDS, *_DECISION_FIELDS])
    gone = [row for row in known.values() if row.vanished_at is None]
    for row in gone:
        row.vanished_at = at
    _write(org, gone, ["vanished_at"])


_FOUND_FIELDS = [
    "workflow", "project", "team", "grade", "label", "saving_low_usd", "saving_likely_usd", "saving_high_usd",
    "headline_usd", "scope_usd", "runs_needed", "evidence", "effects", "runs", "found_at", "vanished_at",
]  # fmt: skip
_DECISION_FIELDS = ["state", "reason", "decided_at", "decided_by", "dismissed_usd"]


def _write(org: Organization, rows: Sequence[Recommendation], fields: list[str]) -> None:
    if rows:
        Recommendation.objects.for_org(org).bulk_update(rows, fields, batch_size=200)


def _told(row: Recommendation, place: Place, one: Found, at: datetime) -> Recommendation:
    row.workflow_id, row.workflow, row.project, row.team = place.workflow_id, place.workflow, place.project, place.team
    row.segment, row.grade = one.segment, one.grade
    # What a trial showed of this change stays shown.
    row.label = Label.VERIFIED if row.trial and one.label == Label.UNVERIFIED else one.label
    row.saving_low_usd, row.saving_likely_usd, row.saving_high_usd = map(
        usd_of, (one.saving.low, one.saving.likely, one.saving.high)
    )
    row.headline_usd, row.scope_usd = usd_of(headline(one.saving, row.label)), usd_of(one.scope_usd)
    row.runs_needed = one.runs_needed
    row.evidence = dict(one.evidence)
    row.effects = {"cells": [asdict(effect) for effect in one.effects], "extra_usd": list(one.extra_usd)}
    row.runs = list(one.runs)
    row.found_at, row.vanished_at = at, None
    return row


def _come_back(org: Organization, row: Recommendation, at: datetime) -> None:
    """Open again what was dismissed long ago or saves twice as much now, and what was done and did not help."""
    if row.decided_at is None:
        return
    doubled = row.dismissed_usd is not None and row.saving_likely_usd >= COMES_BACK_AT * row.dismissed_usd
    dismissed = row.state == State.DISMISSED and (doubled or at >= row.decided_at + STAYS_DISMISSED)
    done = row.state == State.DONE and at >= row.decided_at + STAYS_DONE
    if dismissed or done:
        was = row.state
        _open(row)
        _record(org, row, None, "savings.came_back", was=was, doubled=doubled)


# --- answering ------------------------------------------------------------------------------------------


def accept(
    *,
    org: Organization,
    recommendation_id: int,
    actor: object,
    hours: Decimal | None = None,
    hourly_usd: Decimal | None = None,
    trial: Mapping[str, int] | None = None,
) -> Recommendation:
    """Say that it will be done; with what it costs to do (hours times their rate), and with a trial's figures.

    Accepted already: nothing changes. Raises `NotFound`, `DomainError` (`recommendation_answered`,
    `implementation_invalid`, `trial_invalid`, `trial_inconclusive`).
    """
    cost, shown = _implementation(hours, hourly_usd), _trial(trial)

    def act(row: Recommendation) -> None:
        row.implementation_usd = cost
        if shown is not None and row.label == Label.UNVERIFIED:
            _require_shown(row, shown)
            row.trial, row.label, row.headline_usd = shown, Label.VERIFIED, row.saving_likely_usd

    fields = ["implementation_usd", "trial", "label", "headline_usd"]
    data = {"implementation_usd": usd_text(cost), "trial": shown}
    return _decide(org, recommendation_id, actor, State.ACCEPTED, (State.OPEN,), act, fields, data)


def dismiss(*, org: Organization, recommendation_id: int, reason: str, actor: object) -> Recommendation:
    """Say why it will not be done. It stays dismissed for 90 days, unless its saving doubles.

    Dismissed already: nothing changes. Raises `NotFound`, `DomainError` (`reason_invalid`, `recommendation_answered`).
    """
    if not is_name(reason, REASON_LENGTH_MAX):
        raise DomainError("reason_invalid", f"Say why, in 1 to {REASON_LENGTH_MAX} characters.", param="reason")

    def act(row: Recommendation) -> None:
        row.reason, row.dismissed_usd = reason, row.saving_likely_usd

    fields = ["reason", "dismissed_usd"]
    data = {"reason": reason}
    return _decide(org, recommendation_id, actor, State.DISMISSED, (State.OPEN, State.ACCEPTED), act, fields, data)


def mark_done(
    *, org: Organization, recommendation_id: int, actor: object, adopted_at: datetime | None = None
) -> Recommendation:
    """Say that it took effect, now or at an instant of the last 90 days; from there on its saving is measured.

    Done already: nothing changes. Raises `NotFound`, `DomainError` (`adopted_at_invalid`, `recommendation_answered`).
    """
    now = timezone.now()
    effective = adopted_at or now
    if not now - LATE_MAX <= effective <= now:
        raise DomainError(
            "adopted_at_invalid",
            f"adopted_at is {effective.isoformat()}: name an instant of the last {LATE_MAX.days} days.",
            param="adopted_at",
        )

    def act(row: Recommendation) -> None:
        _require_new(org, row, effective)
        # One that came back before it was measured to its end is measured anew.
        _take_back(org, row, now)
        Adoption.objects.for_org(org).create(
            organization=org,
            recommendation=row,
            **{name: getattr(row, name) for name in ("kind", "workflow_id", "workflow", "project", "team")},
            adopted_at=effective,
            recorded_at=now,
            recorded_by=str(actor),
            predicted_low_usd=row.saving_low_usd,
            predicted_likely_usd=row.saving_likely_usd,
            predicted_high_usd=row.saving_high_usd,
            implementation_usd=row.implementation_usd,
        )

    data = {"adopted_at": effective.isoformat()}
    return _decide(org, recommendation_id, actor, State.DONE, (State.OPEN, State.ACCEPTED), act, [], data)


def _require_new(org: Organization, row: Recommendation, effective: datetime) -> None:
    """Raises where the ledger has measured these very days as a saving of this recommendation already."""
    before = Adoption.objects.for_org(org).filter(
        recommendation=row,
        withdrawn_at=None,
        measured_days=30,
        adopted_at__gt=effective - MEASURED,
        adopted_at__lt=effective + MEASURED,
    )
    earlier = before.order_by("-adopted_at").first()
    if earlier is not None:
        raise DomainError(
            "adopted_at_invalid",
            f"It is in the ledger since {earlier.adopted_at.isoformat()}, and measured: name an instant of"
            f" {MEASURED.days} days later or more.",
            param="adopted_at",
        )


def reopen(*, org: Organization, recommendation_id: int, actor: object) -> Recommendation:
    """Take an answer back; a change that is not measured to its end leaves the ledger's totals.

    Open already: nothing changes. Raises `NotFound`.
    """

    def act(row: Recommendation) -> None:
        _take_back(org, row, timezone.now())
        _open(row)

    everything = (State.ACCEPTED, State.DISMISSED, State.DONE)
    return _decide(org, recommendation_id, actor, State.OPEN, everything, act, ["reason", "dismissed_usd"], {})


def _take_back(org: Organization, row: Recommendation, at: datetime) -> None:
    live = Adoption.objects.for_org(org).filter(recommendation=row, withdrawn_at=None, measured_days__lt=30)
    live.update(withdrawn_at=at)


def _open(row: Recommendation) -> None:
    row.state, row.reason, row.decided_at, row.decided_by, row.dismissed_usd = State.OPEN, "", None, "", None


def _decide(
    org: Organization,
    recommendation_id: int,
    actor: object,
    to: Recommendation.State,
    allowed: tuple[Recommendation.State, ...],
    act: Callable[[Recommendation], None],
    fields: list[str],
    data: dict[str, Any],
) -> Recommendation:
    with tenant(org):
        rows = Recommendation.objects.for_org(org).select_for_update()
        row = rows.filter(pk=recommendation_id).first() if recommendation_id < 2**63 else None
        if row is None:
            raise NotFound("recommendation")
        if row.state == to:
            return row
        if row.state not in allowed:
            raise DomainError(
                "recommendation_answered",
                f"It was {row.state} by {row.decided_by} already: reopen it first.",
                param="recommendation_id",
            )
        act(row)
        row.state = to
        if to != State.OPEN:
            row.decided_at, row.decided_by = timezone.now(), str(actor)
        row.save(update_fields=["state", "decided_at", "decided_by", *fields])
        _record(org, row, actor, f"savings.{_ACTS[to]}", **data)
    return row


_ACTS = {State.OPEN: "reopened", State.ACCEPTED: "accepted", State.DISMISSED: "dismissed", State.DONE: "done"}


def _record(org: Organization, row: Recommendation, actor: object, action: str, **data: object) -> None:
    facts = {"kind": row.kind, "segment": row.segment, "saving_usd": usd_text(row.saving_likely_usd), **data}
    audit.record(org=org, actor=actor, action=action, subject=row.workflow, data=facts)


def _implementation(hours: Decimal | None, hourly_usd: Decimal | None) -> Decimal | None:
    if hours is None and hourly_usd is None:
        return None
    for name, value in (("hours", hours), ("hourly_rate_usd", hourly_usd)):
        if value is None or not value.is_finite() or not 0 <= value <= HOURS_MAX:
            raise DomainError(
                "implementation_invalid",
                f"Give both hours and hourly_rate_usd, each from 0 to {HOURS_MAX}.",
                param=name,
            )
    return ((hours or Decimal(0)) * (hourly_usd or Decimal(0))).quantize(_SIX)


TRIAL = ("control_runs", "control_successes", "trial_runs", "trial_successes")


def _trial(given: Mapping[str, int] | None) -> dict[str, int] | None:
    if given is None:
        return None
    shown = {name: int(given[name]) for name in TRIAL}
    for arm in ("control", "trial"):
        runs, successes = shown[f"{arm}_runs"], shown[f"{arm}_successes"]
        if not 0 <= successes <= runs <= TRIAL_RUNS_MAX or not runs:
            raise DomainError(
                "trial_invalid",
                f"{arm}_successes is {successes} of {runs} runs: it lies between 0 and {arm}_runs, of 1 or more.",
                param=f"{arm}_successes",
            )
    return shown


def _require_shown(row: Recommendation, shown: Mapping[str, int]) -> None:
    control = (shown["control_successes"], shown["control_runs"])
    trial = (shown["trial_successes"], shown["trial_runs"])
    if not chances.is_not_worse(control, trial):
        needed = chances.runs_needed(control[0] / control[1])
        raise DomainError(
            "trial_inconclusive",
            f"The trial does not show that successes fall by less than {chances.MARGIN:.0%}: it takes about {needed}"
            " runs in each arm that succeed as often. Accept it without the trial, or send more runs.",
            param="trial",
        )
