"""How settings of forecasts were chosen: each alternative by itself, on the half of the series that is for choosing.

One line each: the run rate's MAPE that is left, the mean over days and sets of series but pools. Two minutes.
"""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from apps.usage import forecast
from bench.forecast import AS_OF, DATA, Sets, cases_of, halves

ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "HAMPEL_MADS": (3.0, 4.0, 6.0, 1e6),
    "HAMPEL_REACH": (5, 10),
    "RATIO_MAX": (3.0, 8.0),
    "WINDOWS": ((7,), (14,), (1, 7, 14, 28), (3, 7, 14, 28, 56), (1, 2, 3, 5, 7, 14, 28, 56)),
    "ORIGINS_BACK": (range(3, 46, 2), range(7, 60, 5)),
    "HORIZON": (7, 21),
    "ERROR_FLOOR": (0.02, 0.1, 0.2),
    "DRIFT_PRIOR": ((1.0, 1.0, 1.0), (3.0, 1.0, 0.3)),
}
SETS = ("nab_days", "nab_slots", "servegen_clients")


def measure() -> Iterator[dict[str, Any]]:
    if not DATA.exists():
        yield {"name": "forecast_settings", "value": 0, "unit": "", "detail": "the traces are not beside the project"}
        return
    tuned = {name: series for name, series in halves()[0].items() if name in SETS}
    yield _line("as they are", tuned)
    for name, values in ALTERNATIVES.items():
        for value in values:
            with patch.object(forecast, name, value):
                yield _line(f"{name} = {value}", tuned)


def _line(words: str, tuned: Sets) -> dict[str, Any]:
    by_set = {name: np.mean([_ratio(cases, day) for day in AS_OF]) for name, cases in cases_of(tuned).items()}
    return {
        "name": f"forecast_settings: {words}",
        "value": round(float(np.mean(list(by_set.values()))), 4),
        "unit": "of the run rate's MAPE",
        "detail": {name: round(float(ratio), 3) for name, ratio in by_set.items()},
    }


def _ratio(cases: Any, day: int) -> float:
    off = {
        method: np.mean([abs(one.spent + one.rest[method] - one.came) / one.came for one in cases if one.as_of == day])
        for method in ("ours", "run_rate")
    }
    return float(off["ours"] / off["run_rate"])
