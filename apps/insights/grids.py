"""A whole organization as arrays: what readings and live hours say, and each signal's windows of it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from apps.insights.signals import (
    DAILY_DAYS,
    HOURLY_HOURS,
    SPEND_HOURS,
    WRITE_SURCHARGE_1H,
    WRITE_SURCHARGE_5M,
    Floats,
    Windows,
    write_share_max,
)
from apps.insights.sums import NAMES, PLACE

MICRO, PICO = 1e-6, 1e-12


@dataclass(slots=True, eq=False)
class Grid:
    """Sums by name, scope and window, oldest first: `daily` (names, scopes, DAILY_DAYS), `hourly` (names, scopes,
    HOURLY_HOURS), `spend` (scopes, SPEND_HOURS) in USD. `collected`: of DAILY_DAYS, those with a reading at all; of the
    others nothing is known. `extra`: `unattributed_usd` of an organization's grid, by "daily" and "hourly".
    """

    scopes: Sequence[str]
    teams: Sequence[str | None]
    projects: Sequence[str | None]
    daily: Floats
    hourly: Floats
    spend: Floats
    collected: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    unattributed: tuple[Floats, Floats] | None = None

    @classmethod
    def empty(cls, scopes: Sequence[str], collected: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> "Grid":
        count = len(scopes)
        return cls(
            scopes=scopes,
            teams=[None] * count,
            projects=[None] * count,
            daily=np.zeros((len(NAMES), count, DAILY_DAYS)),
            hourly=np.zeros((len(NAMES), count, HOURLY_HOURS)),
            spend=np.zeros((count, SPEND_HOURS)),
            collected=collected,
        )

    def last(self, name: str, hours: int = 24) -> Floats:
        """The sum over the last hours, by scope."""
        summed: Floats = self.hourly[PLACE[name], :, -hours:].sum(axis=1)
        return summed

    def day_mean(self, name: str, days: int = 7) -> Floats:
        """The mean of the last collected days, by scope; 0 where none was."""
        kept = self.collected.copy()
        kept[:-days] = False
        sums: Floats = self.daily[PLACE[name]][:, kept].sum(axis=1)
        return sums / max(int(kept.sum()), 1)

    def usual_day(self, name: str) -> Floats:
        """The median of the collected days, by scope; 0 where none was."""
        if not self.collected.any():
            return np.zeros(len(self.scopes))
        usual: Floats = np.median(self.daily[PLACE[name]][:, self.collected], axis=1)
        return usual

    def windows(self, key: str) -> tuple[Windows, Windows]:
        """(daily, hourly) of a signal; a day that was not collected is NaN."""
        if key == "spend_per_hour":
            return Windows(self.spend, self.spend), Windows(self.spend, self.spend)
        if key == "unattributed_share":
            return self._unattributed()
        make = _WINDOWS[key]
        daily = make(lambda name: self.daily[PLACE[name]])
        hourly = make(lambda name: self.hourly[PLACE[name]])
        return Windows(np.where(self.collected, daily.n, np.nan), daily.total, daily.weight, daily.square), hourly

    def _unattributed(self) -> tuple[Windows, Windows]:
        assert self.unattributed is not None
        days, hours = self.unattributed
        n = np.where(self.collected, self.daily[PLACE["events"]], np.nan)
        return (
            Windows(n, days, self.daily[PLACE["cost_usd"]]),
            Windows(self.hourly[PLACE["events"]], hours, self.hourly[PLACE["cost_usd"]]),
        )

    def write_limit(self) -> Floats:
        """The share of cache writes, of writes and reads, at which caching loses money: by what was written for how
        long in the live hours; NaN where nothing was.
        """
        short, long = (self.hourly[PLACE[f"cache_write_{ttl}_tokens"]].sum(axis=1) for ttl in ("5m", "1h"))
        with np.errstate(divide="ignore", invalid="ignore"):
            surcharge = (WRITE_SURCHARGE_5M * short + WRITE_SURCHARGE_1H * long) / (short + long)
            return np.where(short + long > 0, write_share_max(surcharge), np.nan)


Read = Callable[[str], Floats]


def _counted(n: str, total: str) -> Callable[[Read], Windows]:
    return lambda read: Windows(read(n), read(total))


def _logs(n: str, name: str, successes: str = "") -> Callable[[Read], Windows]:
    def make(read: Read) -> Windows:
        weight = np.minimum(read(successes), read(n)) if successes else None
        return Windows(read(n), read(f"{name}_micro") * MICRO, weight, read(f"{name}_sq_pico") * PICO)

    return make


def _written(read: Read) -> Floats:
    return read("cache_write_5m_tokens") + read("cache_write_1h_tokens")


def _tokens(read: Read) -> Floats:
    return (
        read("input_tokens") + read("cache_read_tokens") + _written(read) + read("output_tokens")
        + read("reasoning_tokens")
    )  # fmt: skip


def prompt_tokens(read: Read) -> Floats:
    return read("input_tokens") + read("cache_read_tokens") + _written(read)


_WINDOWS: dict[str, Callable[[Read], Windows]] = {
    "escalation_rate": _counted("runs", "escalated_runs"),
    "cache_hit_rate": lambda read: Windows(read("input_events"), read("cache_read_tokens"), prompt_tokens(read)),
    "cache_write_ratio": lambda read: Windows(
        read("write_events"), _written(read), _written(read) + read("cache_read_tokens")
    ),
    "loops_per_run": _logs("step_runs", "ln_steps"),
    "capped_share": _counted("runs", "capped_runs"),
    "retry_rate": _counted("events", "retries"),
    "input_tokens_per_call": _logs("input_events", "ln_input"),
    "context_growth": _logs("slope_runs", "ln_slope"),
    "cost_per_run": _logs("cost_runs", "ln_cost"),
    "cost_per_success": _logs("judged_cost_runs", "ln_judged", "succeeded_runs"),
    "unpriced_share": lambda read: Windows(read("events"), read("unpriced_tokens"), _tokens(read)),
    "dead_spend": lambda read: Windows(read("runs"), read("dead_usd"), read("run_usd")),
}
WORKFLOW_SIGNALS = tuple(key for key in _WINDOWS if key != "unpriced_share")
ORGANIZATION_SIGNALS = ("unattributed_share", "unpriced_share", "spend_per_hour")


def levels(key: str, daily: Windows) -> Floats:
    """The reading of each window in the signal's own unit: a share, a geometric mean; NaN without an observation."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if daily.square is None:
            weight = daily.n if daily.weight is None else daily.weight
            return np.where(weight > 0, daily.total / weight, np.nan)
        mean = np.where(daily.n > 0, daily.total / daily.n, np.nan)
        if daily.weight is not None:
            mean = mean - np.log((daily.weight + 0.5) / (daily.n + 1.0))
        return np.exp(mean)
