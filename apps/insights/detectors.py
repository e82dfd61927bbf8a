"""The detectors: what a reading says against its own history. Formulae and figures: docs/signals.md."""

from dataclasses import dataclass

from apps.insights.signals import Readings, State, Verdicts


@dataclass(frozen=True, slots=True)
class Settings:
    """Thresholds of the detectors, in standard deviations and shares; version them where they are stored."""

    z24: float = 3.5
    z6: float = 5.0
    z_calm: float = 1.5
    cusum_k: float = 0.5
    cusum_h: float = 5.0
    cusum_clip: float = 4.0
    rho: float = 0.004


def evaluate(readings: Readings, state: State, settings: Settings = Settings()) -> Verdicts:
    """Judge every series of one signal as of `readings.hour`.

    Evaluating twice at one hour, or leaving hours out, gives the drift state that evaluating each hour gives.
    """
    raise NotImplementedError
