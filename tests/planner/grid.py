"""The plans on which the closed form is held against runs played out; `bench/estimate.py` plays more of them."""

from typing import Any

from apps.planner.shapes import Compaction, Plan, Range
from tests.planner.plans import LARGE, SMALL, plan, step

SUPPORT: dict[str, Any] = {"dispersion": 2.5, "retry_rate": 0.06, "calls_max": 15}
CASCADE: dict[str, Any] = {"model": SMALL, "routing": "cascade", "escalates_to": LARGE, "escalation_rate": 0.15}
ROUTER: dict[str, Any] = {**CASCADE, "routing": "router", "router_cost_usd": 0.0004}
WARM: dict[str, Any] = {"cache": "5m", "prefix_cached_rate": 0.9, "reuse_rate": 0.95}

GRID: dict[str, Plan] = {
    "one call": plan("triage", calls=1),
    "fixed loop": plan("research"),
    "fixed between two counts": plan("research", calls=9.4),
    "Poisson loop": plan("support", dispersion=1),
    "between fixed and Poisson": plan("support", calls=5.3, dispersion=0.5),
    "long tail": plan("support", dispersion=6, calls_max=200),
    "long tail, cut": plan("support", dispersion=6, calls_max=8),
    "nearly all cut": plan("coding", dispersion=2, calls_max=3),
    "many retries": plan("support", **{**SUPPORT, "retry_rate": 0.5, "retries_max": 5, "retry_billed_share": 0.8}),
    "reasoning": plan("support", **SUPPORT, reasoning_tokens=800),
    "cache, measured": plan("support", **SUPPORT, **WARM),
    "cache for an hour": plan("support", **SUPPORT, **{**WARM, "cache": "1h"}),
    "cache, from few arrivals": plan("support", runs=3_000, **SUPPORT, cache="5m"),
    "cache, from many arrivals": plan("support", runs=50_000, **SUPPORT, cache="5m", reuse_rate=0.8),
    "prefix too short to share": plan("support", **SUPPORT, **WARM, prefix_tokens=600),
    "cascade": plan("support", **SUPPORT, **CASCADE, escalation_multiple=1.3),
    "cached cascade from arrivals": plan("support", runs=9_000, **SUPPORT, **CASCADE, cache="5m"),
    "router": plan("support", **SUPPORT, **ROUTER, **WARM),
    "batch": plan("support", **SUPPORT, batch_share=0.4),
    "window": plan("coding", dispersion=2, window_tokens=9_000, calls_max=60),
    "window and cache": plan("coding", dispersion=2, window_tokens=9_000, calls_max=60, **WARM),
    "window over what was retrieved": plan(
        "support", calls=12, dispersion=2, window_tokens=4_000, calls_max=40, **WARM
    ),
    "compaction": plan("coding", calls=40, dispersion=3, calls_max=120, compaction=Compaction(24_000, 2_000)),
    "compaction and cache": plan(
        "coding", calls=40, dispersion=3, calls_max=120, compaction=Compaction(24_000, 2_000), **WARM
    ),
    "several steps": Plan(
        (step("triage", calls=2.5, dispersion=1.5, calls_max=6), step("support", **SUPPORT, **WARM, runs_share=0.4)),
        Range.exact(20_000),
        other_cost_usd=Range.exact(0.004),
    ),
}
