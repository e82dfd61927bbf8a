"""Fatigue control: what is worth a person's time, how often, and under which name. Rules: docs/signals.md.

Pure; USD a day as floats, hours since 1970 UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

NOTIFY_USD = 10.0
NOTIFY_SHARE = 0.01  # of the organization's daily spend
DIGEST_USD = 5.0
CHILD_SHARE = 0.70
CHILDREN_TOGETHER = 3
CONFIRM_HOURS = 24
CONFIRM_Z = 3.5
AT_ONCE = 10.0  # times the notify gate, at which nobody waits for a confirmation
MERGE_HOURS = 24
COOL_DOWN_HOURS = 7 * 24
WEEK_HOURS = 7 * 24
NOTIFIES_A_WEEK = 1
NOT_USEFUL_SHARE = 0.05
NOT_USEFUL_MIN = 2  # one click is one person's opinion
RAISE = 1.25
RAISED_MAX = RAISE**6


class Tier(IntEnum):
    NONE = 0  # on the workflow's page, nowhere else
    DIGEST = 1
    NOTIFY = 2
    CRITICAL = 3


FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "escalation_rate": "routing",
        "cache_hit_rate": "cache",
        "cache_write_ratio": "cache",
        "loops_per_run": "loops",
        "capped_share": "loops",
        "retry_rate": "retries",
        "input_tokens_per_call": "context",
        "context_growth": "context",
        "cost_per_run": "cost",
        "cost_per_success": "cost",
        "spend_per_hour": "cost",
        "dead_spend": "waste",
        "unattributed_share": "attribution",
        "unpriced_share": "pricing",
        "burn": "budget",
        "runaway": "runaway",
    }
)
# One fault in a workflow moves several of these within a day; cost and waste are what the others do, and never lead.
MERGING = frozenset({"routing", "cache", "loops", "retries", "context", "cost", "waste"})
CONSEQUENCES = frozenset({"cost", "waste"})


@dataclass(frozen=True, slots=True)
class Gates:
    notify_usd: float
    digest_usd: float


def gates(org_daily_usd: float, raised: float = 1.0) -> Gates:
    """`raised`: what `raise_gates` has made of 1."""
    return Gates(raised * max(NOTIFY_USD, NOTIFY_SHARE * org_daily_usd), raised * DIGEST_USD)


def tier(excess_usd: float, at: Gates, *, critical: bool = False) -> Tier:
    """`critical`: a burning budget or a runaway run, which has no gate."""
    if critical:
        return Tier.CRITICAL
    if excess_usd >= at.notify_usd:
        return Tier.NOTIFY
    return Tier.DIGEST if excess_usd >= at.digest_usd else Tier.NONE


def confirmed(open_hours: float, z24: float, excess_usd: float, at: Gates, *, drift: bool = False) -> bool:
    """Whether an alarm may leave its page: a day old and still as far off, or too dear to wait for that.

    Most of what opens for nothing is gone within the day: measured, this takes nine tenths of the false notices and
    costs the true ones half a day's excess.
    """
    if excess_usd >= AT_ONCE * at.notify_usd:
        return True
    return open_hours >= CONFIRM_HOURS and (drift or z24 > CONFIRM_Z)


@dataclass(frozen=True, slots=True)
class Finding:
    """A signal in alarm. `scope` and `team` are the caller's own names for them."""

    signal: str
    scope: str
    since: float
    excess_usd: float

    @property
    def family(self) -> str:
        return FAMILIES[self.signal]


@dataclass(frozen=True, slots=True)
class Merged:
    """One incident. `excess_usd` is that of its largest finding: they tell of the same money."""

    scope: str
    family: str
    since: float
    excess_usd: float
    findings: tuple[Finding, ...]

    @property
    def key(self) -> tuple[str, str]:
        return (self.scope, self.family)


def merge(findings: Sequence[Finding]) -> list[Merged]:
    """Findings of one scope that began within a day of the first of them, under the family that leads."""
    groups: list[list[Finding]] = []
    for finding in sorted(findings, key=lambda each: (each.scope, each.since, each.signal)):
        for group in reversed(groups):
            if _together(group[0], finding):
                group.append(finding)
                break
        else:
            groups.append([finding])
    return [_merged(group) for group in groups]


def _together(first: Finding, other: Finding) -> bool:
    if first.scope != other.scope or other.since - first.since > MERGE_HOURS:
        return False
    return first.family == other.family or {first.family, other.family} <= MERGING


def _merged(group: list[Finding]) -> Merged:
    lead = max(group, key=lambda each: (each.family not in CONSEQUENCES, each.excess_usd, each.signal))
    return Merged(
        scope=lead.scope,
        family=lead.family,
        since=min(each.since for each in group),
        excess_usd=max(each.excess_usd for each in group),
        findings=tuple(group),
    )


@dataclass(frozen=True, slots=True)
class Moved:
    """A scope whose excess is beyond the noise, and its parent's name (None: the organization itself)."""

    scope: str
    parent: str | None
    excess_usd: float


def speakers(moved: Sequence[Moved]) -> frozenset[str]:
    """The scopes that are told of; the others are part of a told one.

    A child that makes up 70 % of its parent's excess speaks for it; of three children or more that moved together, the
    parent speaks, whether or not it moved beyond its own noise. Otherwise each speaks for itself.
    """
    by_scope = {each.scope: each for each in moved}
    told = set(by_scope)
    children: dict[str, list[Moved]] = {}
    for each in moved:
        if each.parent is not None:
            children.setdefault(each.parent, []).append(each)
    for parent, below in children.items():
        whole = by_scope[parent].excess_usd if parent in by_scope else sum(each.excess_usd for each in below)
        if max(each.excess_usd for each in below) >= CHILD_SHARE * whole:
            told.discard(parent)
        elif len(below) >= CHILDREN_TOGETHER:
            told.difference_update(each.scope for each in below)
            told.add(parent)
    return frozenset(told)


@dataclass(frozen=True, slots=True)
class Told:
    """An incident key that was told of: until when (it closed, or was answered just now), and its highest excess."""

    hour: float
    excess_usd: float


def cooling(last: Told | None, hour: float, excess_usd: float) -> bool:
    """Whether to keep quiet: what was told of ended within 7 days, and its excess has not doubled since."""
    return last is not None and hour - last.hour < COOL_DOWN_HOURS and excess_usd < 2.0 * last.excess_usd


@dataclass(frozen=True, slots=True)
class Candidate:
    key: tuple[str, str]
    team: str
    tier: Tier
    excess_usd: float


def within_budget(candidates: Sequence[Candidate], told_this_week: Mapping[str, int]) -> dict[tuple[str, str], Tier]:
    """Tier by key: the dearest of a team's notices go out while its week has room, the others into the digest."""
    room = dict(told_this_week)
    tiers = {}
    for each in sorted(candidates, key=lambda each: (-each.excess_usd, each.key)):
        given = each.tier
        if given is Tier.NOTIFY:
            if room.get(each.team, 0) >= NOTIFIES_A_WEEK:
                given = Tier.DIGEST
            else:
                room[each.team] = room.get(each.team, 0) + 1
        tiers[each.key] = given
    return tiers


def raise_gates(raised: float, *, incidents: int, not_useful: int) -> float:
    """Once every 30 days, of the incidents told of in them: a quarter up when more than 5 % were of no use to those
    told.

    A quarter down, to 1 at the least, when all were of use: a gate that only rises ends up blind.
    """
    if not_useful >= NOT_USEFUL_MIN and not_useful > NOT_USEFUL_SHARE * incidents:
        return min(raised * RAISE, RAISED_MAX)
    if incidents and not not_useful:
        return max(raised / RAISE, 1.0)
    return raised
