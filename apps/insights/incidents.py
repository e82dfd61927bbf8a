"""From alarms to incidents: what opens, what joins one that is there, what closes, and who is told.

All of it happens in the transaction of an evaluation, which has the organization's turn: an incident opens once,
whoever evaluates beside whom, and `insights_incident_live_once` says so too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

from django.db import transaction
from django.db.utils import IntegrityError

from apps.insights import fatigue
from apps.insights.fatigue import FAMILIES, MERGING, Tier
from apps.insights.judging import Alarm
from apps.insights.models import Incident
from apps.insights.signals import Rule

EXPECTED = timedelta(days=7)
WEEK = timedelta(hours=fatigue.WEEK_HOURS)
REMEMBERED = timedelta(days=60)
TOGETHER = timedelta(hours=fatigue.MERGE_HOURS)
HISTORY_MAX = 50
WORKFLOW, TEAM, ORGANIZATION = "workflow", "team", "organization"
TIERS = {Tier.CRITICAL: Incident.Tier.CRITICAL, Tier.NOTIFY: Incident.Tier.NOTIFY, Tier.DIGEST: Incident.Tier.DIGEST}
# What an incident of a family points at; a signal of its own comes first.
FIXES = {
    "routing": "route", "cache": "cache", "loops": "bound_loop", "retries": "retry_policy", "context": "trim",
    "cost": "explain", "waste": "dead_runs", "attribution": "names", "pricing": "prices", "budget": "budget",
    "runaway": "bound_loop",
}  # fmt: skip
SIGNAL_FIXES = {"context_growth": "compact"}

VOLUME = "spend_per_hour"
# What is looked for every few seconds or minutes, without history.
FAST = ("runaway", "budget")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Who a scope belongs to now."""

    team: str | None = None
    project: str | None = None


@dataclass(slots=True)
class Round:
    """One evaluation's work on incidents. `places`: of each (kind, scope); `org_usd`: what a day costs in all."""

    org_id: int
    at: datetime
    org_usd: float
    gate_factor: float
    places: Mapping[Key, Place]
    live: list[Incident] = field(default_factory=list)
    ended: list[Incident] = field(default_factory=list)
    opened: list[Incident] = field(default_factory=list)
    closed: list[Incident] = field(default_factory=list)
    raised: list[Incident] = field(default_factory=list)

    @property
    def gates(self) -> fatigue.Gates:
        return fatigue.gates(self.org_usd, self.gate_factor)

    def live_of(self, kind: str, scope: str) -> list[Incident]:
        return [one for one in (*self.live, *self.opened) if (one.scope_kind, one.scope) == (kind, scope)]


def begin(
    org_id: int, at: datetime, *, org_usd: float, gate_factor: float, places: Mapping[Key, Place], fast: bool = False
) -> Round:
    """With what is live, locked where it is this round's to change, and what ended lately.

    `fast`: runaways and budgets, which the hourly evaluation only reads; all others are not the fast look's.
    Index: insights_incident_live_once, insights_incident_newest.
    """
    rows = Incident.objects.for_org(org_id).filter(closed_at=None).order_by("id")
    if fast:
        live = list(rows.filter(family__in=FAST).select_for_update())
    else:
        live = [*rows.exclude(family__in=FAST).select_for_update(), *rows.filter(family__in=FAST)]
    # Read when the live ones are held: what somebody ended meanwhile is in one of the two.
    return Round(org_id, at, org_usd, gate_factor, places, live, ended(org_id, at))


def ended(org_id: int, at: datetime) -> list[Incident]:
    """What ended lately. Index: insights_incident_newest."""
    rows = Incident.objects.for_org(org_id)
    return list(rows.filter(closed_at__gte=at - REMEMBERED, opened_at__gte=at - 2 * REMEMBERED))


# --- what alarms do -------------------------------------------------------------------------------------


def take_in(work: Round, alarms: Sequence[Alarm]) -> None:
    """Alarms update the incident that they are of, join one that began within a day, or open one."""
    seen: dict[int, set[str]] = {}
    fresh = []
    for alarm in _without_echoes(work, alarms):
        incident = _home(work, alarm)
        if incident is None:
            fresh.append(alarm)
        else:
            _put(incident, alarm, work.at)
            seen.setdefault(incident.pk, set()).add(alarm.signal)
    for incident in work.live:
        _refresh(work, incident, seen.get(incident.pk, set()))
    _open_all(work, fresh)


def _without_echoes(work: Round, alarms: Sequence[Alarm]) -> list[Alarm]:
    """Volume rises in a workflow, its team and the organization at once: one of them speaks for it."""
    moved = [
        fatigue.Moved(f"{one.scope_kind}:{one.scope}", _above(work, one.scope_kind, one.scope), one.excess_usd)
        for one in alarms
        if one.signal == VOLUME
    ]
    told = fatigue.speakers(moved)
    heard = {one.scope for one in moved}
    parents = {one.scope: one.parent for one in moved}

    spoken = {one.scope for one in work.live if one.scope_kind == TEAM and not one.signals}

    def is_echo(alarm: Alarm) -> bool:
        name = f"{alarm.scope_kind}:{alarm.scope}"
        if alarm.signal != VOLUME:
            return False
        if alarm.scope_kind == TEAM and alarm.scope in spoken:
            return True
        if name in told:
            return False
        # Told by the one above, where that is in alarm itself.
        return alarm.scope_kind != WORKFLOW or parents[name] in heard

    return [alarm for alarm in alarms if not is_echo(alarm)]


def _above(work: Round, kind: str, scope: str) -> str | None:
    """The name of what a scope is part of, as far as volume is watched."""
    if kind == WORKFLOW:
        place = work.places.get((kind, scope))
        return f"{TEAM}:{place.team}" if place and place.team else None
    return f"{ORGANIZATION}:" if kind == TEAM else None


def _home(work: Round, alarm: Alarm) -> Incident | None:
    family, since = FAMILIES[alarm.signal], since_of(alarm)
    of_scope = [one for one in work.live if (one.scope_kind, one.scope) == (alarm.scope_kind, alarm.scope)]
    for incident in of_scope:
        if alarm.signal in {entry["signal"] for entry in incident.signals} or incident.family == family:
            return incident
    for incident in of_scope:
        is_near = abs(since - incident.since) <= TOGETHER or work.at - incident.opened_at <= TOGETHER
        if {incident.family, family} <= MERGING and is_near:
            return incident
    return None


def _put(incident: Incident, alarm: Alarm, at: datetime) -> None:
    """The entry of a signal as it stands now, the dearest first."""
    entry = entry_of(alarm)
    others = [one for one in incident.signals if one["signal"] != alarm.signal]
    known = len(others) < len(incident.signals)
    before = next((one for one in incident.signals if one["signal"] == alarm.signal), entry)
    entry["peak"] = max(_at_peak(before), _at_peak(entry), key=lambda one: float(one["excess_usd"]))
    incident.signals = sorted([*others, entry], key=lambda one: -float(one["excess_usd"]))
    incident.last_seen_at = at
    if not known:
        note(incident, at, f"{alarm.signal} joined")


# What a reading was held against, and came to, when it cost most: the last one in alarm is often back in its band.
_OF_PEAK = ("value", "baseline", "low", "high", "excess_usd")


def _at_peak(entry: Mapping[str, Any]) -> dict[str, Any]:
    return entry.get("peak") or {name: entry[name] for name in _OF_PEAK}


def _refresh(work: Round, incident: Incident, in_alarm: Collection[str]) -> None:
    """Figures of an incident whose signals were judged; the end of one of which none is in alarm any more."""
    if incident.family in FAST or (incident.scope_kind == TEAM and not incident.signals):
        return
    for entry in incident.signals:
        entry["in_alarm"] = entry["signal"] in in_alarm
    if not in_alarm:
        is_gone = incident.scope_kind == WORKFLOW and (WORKFLOW, incident.scope) not in work.places
        close(work, incident, "nothing is counted under this name any more" if is_gone else "back in its band")
        return
    lead = _lead(incident)
    incident.signal = lead["signal"]
    incident.excess_usd = max(Decimal(one["excess_usd"]) for one in incident.signals if one["in_alarm"])
    incident.peak_usd = max(incident.peak_usd or Decimal(0), incident.excess_usd)
    family = FAMILIES[lead["signal"]]
    taken = {(one.scope_kind, one.scope, one.family) for one in (*work.live, *work.opened) if one.pk != incident.pk}
    if incident.family in fatigue.CONSEQUENCES and (incident.scope_kind, incident.scope, family) not in taken:
        incident.family, incident.fix = family, fix_of(lead["signal"])
    _raise(work, incident)
    incident.save()


def _lead(incident: Incident) -> dict[str, Any]:
    """Causes before what follows from them, and the dearest of those."""
    live: list[dict[str, Any]] = [one for one in incident.signals if one["in_alarm"]]
    return max(live, key=lambda one: (FAMILIES[one["signal"]] not in fatigue.CONSEQUENCES, float(one["excess_usd"])))


# A drift is far off in no single day, and a plan has no scatter to be far off by. What lasts among restless days waits
# for the digest: of the notices that it added, measured, none was of a fault.
_WITHOUT_Z = frozenset({Rule.DRIFT.name.lower(), Rule.PLAN.name.lower()})


def _raise(work: Round, incident: Incident) -> None:
    """A digest's incident that is confirmed, or grew beyond the gate of a notice, is told of now."""
    if incident.parent_id is not None or incident.tier != Incident.Tier.DIGEST:
        return
    lead, hours = incident.lead, (work.at - incident.opened_at) / timedelta(hours=1)
    z24, has_no_z = lead.get("z24") or 0.0, lead.get("rule") in _WITHOUT_Z
    tier = _tier(work, float(incident.excess_usd or 0), hours=hours, z24=z24, is_drift=has_no_z)
    if tier is Tier.NOTIFY and _room(work, incident):
        incident.tier = Incident.Tier.NOTIFY
        note(incident, work.at, "still there, and worth a notice")
        work.raised.append(incident)


def _tier(work: Round, usd: float, *, hours: float = 0.0, z24: float = 0.0, is_drift: bool = False) -> Tier:
    """Of an incident of one scope that has been open for `hours`: until it is confirmed, nobody is told."""
    tier = fatigue.tier(usd, work.gates)
    if tier is Tier.NOTIFY and not fatigue.confirmed(hours, z24, usd, work.gates, drift=is_drift):
        return Tier.DIGEST
    return tier


def _room(work: Round, incident: Incident) -> bool:
    told = told_this_week(work, but=incident.pk)
    return told.get(incident.team or "", 0) < fatigue.NOTIFIES_A_WEEK


def told_this_week(work: Round, but: int | None = None) -> dict[str, int]:
    told: dict[str, int] = {}
    for one in (*work.live, *work.ended):
        if one.tier == Incident.Tier.NOTIFY and one.opened_at > work.at - WEEK and one.pk != but:
            told[one.team or ""] = told.get(one.team or "", 0) + 1
    return told


# --- what opens -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _New:
    """Alarms of one scope that open an incident, should they be worth it."""

    scope_kind: str
    scope: str
    merged: fatigue.Merged
    alarms: tuple[Alarm, ...]

    @property
    def name(self) -> str:
        return f"{self.scope_kind}:{self.scope}"


def _open_all(work: Round, fresh: Sequence[Alarm]) -> None:
    new = [one for one in _merged(work, fresh) if not _is_quiet(work, one)]
    speaking = _speakers(work, new)
    worth = {one.merged.key: _tier(work, one.merged.excess_usd) for one in new}
    parents = {name: _open_parent(work, name, new) for name in speaking if _is_parent(name, new)}
    # The volume of a team whose workflows moved together is part of that.
    spoken = {parent.scope for parent in parents.values() if parent is not None}
    new = [one for one in new if one.scope_kind != TEAM or one.scope not in spoken]
    candidates = [
        fatigue.Candidate(one.merged.key, _team(work, one) or "", worth[one.merged.key], one.merged.excess_usd)
        for one in new
        if one.name + one.merged.family in speaking
    ]
    tiers = fatigue.within_budget(candidates, told_this_week(work))
    for one in new:
        tier = tiers.get(one.merged.key, min(worth[one.merged.key], Tier.DIGEST))
        parent = parents.get(f"{TEAM}:{_team(work, one)}{one.merged.family}")
        if tier is not Tier.NONE or parent is not None:
            _open(work, one, tier if tier is not Tier.NONE else Tier.DIGEST, parent)


def _seen_since(work: Round, alarm: Alarm) -> float:
    """What is first seen at once is told as one, however differently each signal dates its beginning."""
    return max(since_of(alarm), work.at - TOGETHER).timestamp() / 3600


def _merged(work: Round, fresh: Sequence[Alarm]) -> list[_New]:
    by_name = {(f"{one.scope_kind}:{one.scope}", one.signal): one for one in fresh}
    findings = [
        fatigue.Finding(one.signal, f"{one.scope_kind}:{one.scope}", _seen_since(work, one), one.excess_usd)
        for one in fresh
    ]
    found = []
    for merged in fatigue.merge(findings):
        of = tuple(by_name[merged.scope, finding.signal] for finding in merged.findings)
        found.append(_New(of[0].scope_kind, of[0].scope, merged, of))
    return found


def _is_quiet(work: Round, new: _New) -> bool:
    """Whether somebody said that it is expected or of no use, or it was told of within a week and did not double."""
    signals = {alarm.signal for alarm in new.alarms}
    for one in work.ended:
        if (one.scope_kind, one.scope) != (new.scope_kind, new.scope) or one.closed_at is None:
            continue
        if one.state == Incident.State.EXPECTED:
            if signals & covered(one) and work.at < one.closed_at + EXPECTED:
                return True
            continue
        if not signals & {entry["signal"] for entry in one.signals} and one.family != new.merged.family:
            continue
        began_before = min(since_of(alarm) for alarm in new.alarms) <= one.closed_at
        answered = one.answered_at is not None and began_before
        if is_cooling(work, one, new.merged.excess_usd, of=work.at if answered else one.closed_at):
            return True
    return False


def is_cooling(work: Round, one: Incident, excess_usd: float, *, of: datetime) -> bool:
    """Whether what was told of until `of`, at the incident's peak, is still no news at this excess."""
    last = fatigue.Told(of.timestamp() / 3600, float(one.peak_usd or 0))
    return fatigue.cooling(last, work.at.timestamp() / 3600, excess_usd)


def _speakers(work: Round, new: Sequence[_New]) -> frozenset[str]:
    """Names, each with its family, of the scopes that are told of."""
    told: set[str] = set()
    for family in {one.merged.family for one in new}:
        moved = [
            fatigue.Moved(one.name, _above(work, one.scope_kind, one.scope), one.merged.excess_usd)
            for one in new
            if one.merged.family == family
        ]
        told |= {name + family for name in fatigue.speakers(moved)}
    return frozenset(told)


def _is_parent(name: str, new: Sequence[_New]) -> bool:
    """Whether a scope speaks for those below it without having moved beyond its own noise."""
    return name.startswith(f"{TEAM}:") and all(one.name + one.merged.family != name for one in new)


def _team(work: Round, one: _New) -> str | None:
    place = work.places.get((one.scope_kind, one.scope))
    return one.scope if one.scope_kind == TEAM else place.team if place else None


def _open_parent(work: Round, name: str, new: Sequence[_New]) -> Incident | None:
    """One incident of a team whose workflows moved together: three at once need no day to be believed."""
    below = [one for one in new if f"{TEAM}:{_team(work, one)}{one.merged.family}" == name]
    family, team = below[0].merged.family, _team(work, below[0])
    usd = sum(one.merged.excess_usd for one in below)
    tier = fatigue.tier(usd, work.gates)
    if tier is Tier.NONE or any(one.family == family for one in work.live_of(TEAM, team or "")):
        return None
    lead = max(below, key=lambda one: one.merged.excess_usd)
    incident = _incident(work, TEAM, team or "", family, lead.alarms, tier, usd)
    incident.signals = []
    note(incident, work.at, f"{len(below)} workflows moved together")
    return incident if store(work, incident) else None


def _open(work: Round, new: _New, tier: Tier, parent: Incident | None) -> None:
    incident = _incident(
        work, new.scope_kind, new.scope, new.merged.family, new.alarms, tier, new.merged.excess_usd, parent
    )
    store(work, incident)


def _incident(
    work: Round, kind: str, scope: str, family: str, alarms: Sequence[Alarm], tier: Tier, usd: float,
    parent: Incident | None = None,
) -> Incident:  # fmt: skip
    place = work.places.get((kind, scope), Place())
    lead = max(alarms, key=lambda one: (FAMILIES[one.signal] == family, one.excess_usd))
    amount = estimate(usd)
    incident = Incident(
        organization_id=work.org_id,
        scope_kind=kind,
        scope=scope,
        team=scope if kind == TEAM else place.team,
        project=place.project,
        family=family,
        signal=lead.signal,
        parent=parent,
        tier=TIERS[tier],
        opened_at=work.at,
        since=min(since_of(one) for one in alarms),
        last_seen_at=work.at,
        signals=sorted((entry_of(one) for one in alarms), key=lambda one: -float(one["excess_usd"])),
        excess_usd=amount,
        peak_usd=amount,
        fix=fix_of(lead.signal),
    )
    note(incident, work.at, "opened")
    return incident


def store(work: Round, incident: Incident) -> bool:
    """Whether it is new: another evaluator may have opened it."""
    try:
        with transaction.atomic():
            incident.save(force_insert=True)
    except IntegrityError:
        return False
    work.opened.append(incident)
    return True


# --- what closes ----------------------------------------------------------------------------------------


def close(work: Round, incident: Incident, why: str) -> None:
    incident.state, incident.closed_at = Incident.State.CLOSED, work.at
    for entry in incident.signals:
        entry["in_alarm"] = False
    note(incident, work.at, f"closed: {why}")
    incident.save()
    work.closed.append(incident)


def close_parents(work: Round) -> None:
    """A team's incident ends with the last of its workflows'."""
    held = {one.parent_id for one in (*work.live, *work.opened) if one.closed_at is None and one.parent_id}
    for incident in work.live:
        if incident.closed_at is None and incident.scope_kind == TEAM and not incident.signals:
            if incident.pk not in held:
                close(work, incident, "none of its workflows is away from its baseline")
                continue
            below = [one for one in work.live if one.parent_id == incident.pk and one.closed_at is None]
            incident.excess_usd = sum((one.excess_usd or Decimal(0) for one in below), Decimal(0))
            incident.peak_usd = max(incident.peak_usd or Decimal(0), incident.excess_usd)
            incident.last_seen_at = work.at
            incident.save(update_fields=["excess_usd", "peak_usd", "last_seen_at"])


# --- pieces ---------------------------------------------------------------------------------------------


def since_of(alarm: Alarm) -> datetime:
    return datetime.fromtimestamp(alarm.verdict.since * 3600, UTC)


def entry_of(alarm: Alarm) -> dict[str, Any]:
    one = alarm.verdict
    return {
        "signal": alarm.signal,
        "in_alarm": True,
        "value": number(one.value),
        "baseline": number(one.baseline),
        "low": number(one.low),
        "high": number(one.high),
        "change": number(one.excess_ratio),
        "sample": number(one.sample),
        "z24": number(one.z24),
        "rule": Rule(one.rule).name.lower(),
        "since": since_of(alarm).isoformat(),
        "excess_usd": f"{estimate(alarm.excess_usd):f}",
    }


def number(value: float) -> float | None:
    """Nine digits that count; None for what is not known."""
    return float(f"{value:.9g}") if isfinite(value) else None


def estimate(usd: float) -> Decimal:
    """An estimate in USD at 6 decimals, never beyond what a column holds."""
    return Decimal(f"{min(max(usd, -1e15), 1e15):.6f}")


def fix_of(signal: str) -> str:
    return SIGNAL_FIXES.get(signal) or FIXES[FAMILIES[signal]]


def note(incident: Incident, at: datetime, what: str, actor: str = "", reason: str = "") -> None:
    """Add to what happened to it; the oldest lines but the first go where there are too many."""
    line = {"at": at.isoformat(), "what": what, "actor": actor, "reason": reason}
    history = [*incident.history, line]
    incident.history = history if len(history) <= HISTORY_MAX else [history[0], *history[-HISTORY_MAX + 1 :]]


def spans_left_out(incidents: Iterable[Incident]) -> list[tuple[str, str, str, datetime, datetime | None]]:
    """(kind, scope, signal, from, to) of what is no part of a baseline: the days inside a closed incident, and of an
    expected one all days before it (from the beginning of time, to when it began).
    """
    found: list[tuple[str, str, str, datetime, datetime | None]] = []
    beginning = datetime.min.replace(tzinfo=UTC)
    for one in incidents:
        for signal in covered(one):
            key = (one.scope_kind, one.scope, signal)
            if one.state == Incident.State.EXPECTED:
                found.append((*key, beginning, one.since))
            elif one.state == Incident.State.CLOSED:
                found.append((*key, one.since, one.closed_at))
    return found


def covered(incident: Incident) -> frozenset[str]:
    """Signals that an answer is about: those in it, and where a change is expected all that one change moves."""
    own = frozenset(entry["signal"] for entry in incident.signals)
    if incident.state != Incident.State.EXPECTED or incident.family not in MERGING:
        return own
    return own | {signal for signal, family in FAMILIES.items() if family in MERGING}
