"""Whole tenants: 50 workflows, five signals each, money gates; what a person is told of, and what it was worth."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from apps.insights.fatigue import NOTIFY_SHARE, Gates, Tier, Told, confirmed, cooling, gates, tier
from apps.insights.signals import SIGNALS, Rule, Verdicts
from bench.backgrounds import DAY, Floats, clients, traces
from bench.detection import Openings, interval, watch
from bench.workflows import Fault, Rows, Source, draw, source_of

WORKFLOWS = 50
FAULTS_A_TENANT = 5
ESCALATED_MULTIPLE = 5.0  # what an escalated run costs, of one that is not
INPUT_SHARE = 0.6  # of a workflow's spend that is input
READ = 0.1
WITHOUT_Z = frozenset({Rule.DRIFT, Rule.PLAN})
KEYS = ("escalation_rate", "cache_hit_rate", "loops_per_run", "retry_rate", "input_tokens_per_call")
FAULTS = {
    "escalation_rate": (Fault("x1.5", 1.57), Fault("x2", 2.19)),
    "cache_hit_rate": (Fault("break", 3.6),),
    "loops_per_run": (Fault("x1.5", 1.5), Fault("x2", 2.0)),
    "retry_rate": (Fault("x3", 3.13), Fault("x5", 5.44)),
    "input_tokens_per_call": (Fault("x1.5", 1.5), Fault("x2", 2.0)),
}


@dataclass(slots=True)
class Told50:
    """Of all tenants: notices that were right, that were not, and what the faults were worth."""

    tenants: int
    right: int = 0
    wrong: Floats = field(default_factory=lambda: np.zeros(0))
    digest_wrong: int = 0
    moved: int = 0  # of the wrong notices: the real traffic itself had changed by more than the gate
    faults_usd: list[float] = field(default_factory=list)
    found_usd: list[float] = field(default_factory=list)
    large: list[bool] = field(default_factory=list)  # each fault of at least 1 % of its organization: told of?
    lost_usd: list[float] = field(default_factory=list)


def measure(tenants: int, half: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(1000 + half)
    volume = np.exp(random.uniform(np.log(100), np.log(10_000), (tenants, WORKFLOWS)))
    usd_day = volume * np.exp(random.normal(np.log(0.04), 0.8, volume.shape))
    plans = _faults(tenants, random)
    told = Told50(tenants, wrong=np.zeros(tenants))
    for key in KEYS:
        sources = [each for name, calls in traces().items() if (each := source_of(key, name, calls.half(half)))]
        plan = [(int(volume.ravel()[at]), plans[key].get(at)) for at in range(volume.size)]
        rows = draw(SIGNALS[key], sources, clients()[half::2], plan, random)
        notices = _notices(rows, key, usd_day)
        _count(rows, key, usd_day, notices, sources, told)
    yield from _lines(told)


def _faults(tenants: int, random: np.random.Generator) -> dict[str, dict[int, Fault]]:
    plans: dict[str, dict[int, Fault]] = {key: {} for key in KEYS}
    for tenant in range(tenants):
        for workflow in random.choice(WORKFLOWS, FAULTS_A_TENANT, replace=False):
            key = KEYS[random.integers(len(KEYS))]
            plans[key][tenant * WORKFLOWS + int(workflow)] = FAULTS[key][random.integers(len(FAULTS[key]))]
    return plans


def excess_usd(key: str, value: Floats, usual: Floats, usd_day: Floats) -> Floats:
    """USD a day above usual, of a workflow that spends `usd_day` when it is usual; as excess.py does it."""
    if key == "escalation_rate":
        more = (value - usual) * (ESCALATED_MULTIPLE - 1) / (1 + usual * (ESCALATED_MULTIPLE - 1))
    elif key == "cache_hit_rate":
        paid = 1 - usual * (1 - READ)
        more = INPUT_SHARE * (usual - value) * (1 - READ) / paid
    elif key == "retry_rate":
        more = value - usual
    elif key == "loops_per_run":
        more = value / usual - 1
    else:
        more = INPUT_SHARE * (value / usual - 1)
    return np.asarray(np.nan_to_num(np.fmax(more, 0.0) * usd_day))


@dataclass(slots=True)
class _Incident:
    opened: int
    peak_usd: float
    told: bool = False  # as a notice; else it stands in the digest


def _notices(rows: Rows, key: str, usd_day: Floats) -> tuple[Openings, Openings]:
    """Hours at which a row was told of (notify), and at which what only a digest told of began; as incidents.py does:
    one notice an incident, however long it lasts, and quiet for 7 days after its end.
    """
    spend = usd_day.ravel()
    at = [gates(float(usd_day[tenant].sum())) for tenant in range(len(usd_day))]
    notify: Openings = [[] for _ in spend]
    digest: Openings = [[] for _ in spend]
    live: dict[int, _Incident] = {}
    ended: dict[int, Told] = {}

    def seen(hour: int, verdicts: Verdicts) -> None:
        excess = excess_usd(key, verdicts.value, verdicts.baseline, spend)
        for row in [row for row in live if verdicts.rule[row] == 0]:
            incident = live.pop(row)
            ended[row] = Told(hour, incident.peak_usd)
            if not incident.told:
                digest[row].append(incident.opened)
        for row in map(int, np.flatnonzero(verdicts.rule > 0)):
            usd = float(excess[row])
            incident = live.get(row) or _Incident(hour, usd)
            given = _tier(verdicts, row, hour - incident.opened, usd, _gate(at, row))
            if row not in live and (given is Tier.NONE or cooling(ended.get(row), hour, usd)):
                continue
            live[row] = incident
            incident.peak_usd = max(incident.peak_usd, usd)
            if given is Tier.NOTIFY and not incident.told:
                incident.told = True
                notify[row].append(hour)

    watch(rows, seen=seen)
    for row, incident in live.items():
        if not incident.told:
            digest[row].append(incident.opened)
    return notify, digest


def _tier(verdicts: Verdicts, row: int, hours: float, usd: float, at: Gates) -> Tier:
    """Until it is confirmed, it waits for the digest."""
    given = tier(usd, at)
    z24, has_no_z = float(np.nan_to_num(verdicts.z24[row])), int(verdicts.rule[row]) in WITHOUT_Z
    if given is Tier.NOTIFY and not confirmed(hours, z24, usd, at, drift=has_no_z):
        return Tier.DIGEST
    return given


def _gate(at: list[Gates], row: int) -> Gates:
    return at[row // WORKFLOWS]


def _count(
    rows: Rows, key: str, usd_day: Floats, notices: tuple[Openings, Openings], sources: list[Source], told: Told50
) -> None:
    usual_of = {source.name: _usual(key, source) for source in sources}
    for at, row in enumerate(rows.rows):
        tenant, spend = at // WORKFLOWS, usd_day.ravel()[at]
        for which, hours in zip(("notify", "digest"), (each[at] for each in notices), strict=True):
            wrong = sum(row.onset < 0 or hour <= row.onset for hour in hours)
            if which == "digest":
                told.digest_wrong += wrong
            else:
                told.wrong[tenant] += wrong
                told.right += len(hours) - wrong
                told.moved += sum(
                    (row.onset < 0 or hour <= row.onset) and rows.moved_itself(at, hour) for hour in hours
                )
        if row.fault is not None:
            usual = usual_of[row.trace]
            worth = float(excess_usd(key, _moved(key, usual, row.fault), np.array(usual), np.array(spend)))
            late = [hour - row.onset for hour in notices[0][at] if 0 < hour - row.onset <= 7 * DAY]
            told.faults_usd.append(worth)
            told.found_usd.append(worth if late else 0.0)
            told.lost_usd.append(worth * (min(late) / DAY if late else 7.0))
            if worth >= NOTIFY_SHARE * usd_day[tenant].sum():
                told.large.append(bool(late))


def _usual(key: str, source: Source) -> float:
    level = float(source.total[-1] / source.weight[-1])
    return float(np.exp(level)) if key in ("loops_per_run", "input_tokens_per_call") else level


def _moved(key: str, usual: float, fault: Fault) -> Floats:
    if key in ("loops_per_run", "input_tokens_per_call"):
        return np.array(usual * fault.factor)
    odds = usual / (1 - usual) * (1 / fault.factor if key == "cache_hit_rate" else fault.factor)
    return np.array(odds / (1 + odds))


def _lines(told: Told50) -> Iterator[dict[str, Any]]:
    wrong = int(told.wrong.sum())
    precision, strange = told.right / max(told.right + wrong, 1), wrong - told.moved
    low, high = interval(told.wrong, lambda values: float(values.mean()))
    days = sum(told.lost_usd) / max(sum(told.faults_usd), 1e-9)
    spread = f"{told.tenants} tenants of {WORKFLOWS} workflows, {len(KEYS)} signals"
    yield {
        "name": "signals_tenant_false_notices", "value": round(float(told.wrong.mean()), 2),
        "unit": "a tenant in 30 days",
        "detail": f"{spread}; 95 % {low:.2f} to {high:.2f}; without those before which the real traffic itself had "
        f"changed by more than the gate {strange / told.tenants:.2f}; digest {told.digest_wrong / told.tenants:.1f}",
    }  # fmt: skip
    yield {
        "name": "signals_tenant_precision", "value": round(precision, 2), "unit": "of notices",
        "detail": f"{told.right} right, {wrong} not, {told.moved} of these the real traffic's own moves; without them "
        f"{told.right / max(told.right + strange, 1):.2f}",
    }  # fmt: skip
    recall = sum(told.found_usd) / max(sum(told.faults_usd), 1e-9)
    yield {
        "name": "signals_tenant_dollar_recall", "value": round(recall, 2), "unit": "of the faults' USD, in 7 days",
        "detail": f"{len(told.faults_usd)} faults; worth 1 % of the organization or more: "
        f"{sum(told.large)} of {len(told.large)} told of; lost before the notice: median "
        f"{np.median(told.lost_usd):.2f} USD, in all {days:.1f} days' excess",
    }  # fmt: skip
