"""The sums that signals are read from, by name. Pure.

The columns of a reading, and of an hour that is read live, in one order.
"""

CALLS = (
    "events", "retries", "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "output_tokens", "reasoning_tokens", "input_events", "ln_input_micro", "ln_input_sq_pico", "cost_usd",
    "unpriced_events",
)  # fmt: skip
RUNS = (
    "runs", "escalated_runs", "escalated_usd", "capped_runs", "failed_runs", "succeeded_runs", "run_usd", "dead_usd",
    "step_runs", "steps", "steps_sq", "ln_steps_micro", "ln_steps_sq_pico",
    "slope_runs", "ln_slope_micro", "ln_slope_sq_pico",
    "cost_runs", "cost_runs_usd", "ln_cost_micro", "ln_cost_sq_pico",
    "judged_cost_runs", "judged_cost_usd", "ln_judged_micro", "ln_judged_sq_pico",
)  # fmt: skip
NAMES = (*CALLS, "write_events", "unpriced_tokens", *RUNS)
PLACE = {name: place for place, name in enumerate(NAMES)}
