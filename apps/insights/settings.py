"""The thresholds of the detectors. Where they were measured: docs/signals.md."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """In standard deviations, shares of 1, and logs; `version` is stored with what was decided by them."""

    version: int = 2
    z24: float = 3.5
    z6: float = 5.0
    z_calm: float = 1.5
    z_plan: float = 2.0
    cusum_k: float = 0.5
    cusum_h: float = 5.0
    cusum_clip: float = 4.0
    lasting_days: int = 5
    lasting_gates: float = 3.0  # multiple of the gate that each of them is beyond
    rho: float = 0.002  # of a share: over-dispersion within a day, per hour
    rho_log: float = 0.0  # of a mean of logs
    mix: float = 0.25  # how far towards the reading the rate lies whose noise is taken
    tau_share: float = 0.04  # least scatter of days, of p (1 - p)
    tau_log: float = 0.02
    tau_tail: float = 1.0  # weight of the ninth decile of the days' distance, beside their median
    tau_short: float = 2.0  # multiple of tau squared in a window of 6 hours
    spend_z: float = 3.5
    spend_z_once: float = 7.0
    spend_ratio_once: float = 1.0  # above usual
    spend_floor: float = 0.05  # least scatter of an hour's log


DEFAULTS = Settings()
