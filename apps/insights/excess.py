"""What a signal costs: its excess in USD a day.

Pure; USD and tokens as floats, prices per token, costs per call or run, counts per day. Every function gives 0 where
the reading is no worse than usual. Arrays may stand in place of numbers. Formulae: docs/signals.md.
"""

import numpy as np

from apps.insights.signals import Floats

Number = float | Floats


def escalation_usd(rate: Number, usual: Number, runs: Number, large_call_usd: Number, calls: Number = 1.0) -> Number:
    """`calls`: of the larger model in an escalated run; `large_call_usd`: what each costs."""
    return _more(rate, usual) * runs * calls * large_call_usd


def cache_hit_usd(
    rate: Number, usual: Number, eligible_tokens: Number, input_usd: Number,
    *, read_multiple: Number = 0.1, write_multiple: Number = 1.0,
) -> Number:  # fmt: skip
    """A token not read from the cache is paid at `write_multiple` of the input price in place of `read_multiple`.

    `write_multiple` is 1 where writing carries no surcharge, 1.25 or 2 where it does.
    """
    return _more(usual, rate) * eligible_tokens * input_usd * (write_multiple - read_multiple)


def cache_write_usd(
    written_tokens: Number, read_tokens: Number, input_usd: Number, *, read_multiple: Number, write_multiple: Number
) -> Number:
    """What caching lost: the surcharge of the writes less what the reads saved."""
    lost = written_tokens * (write_multiple - 1.0) - read_tokens * (1.0 - read_multiple)
    return np.maximum(lost, 0.0) * input_usd


def retry_usd(rate: Number, usual: Number, attempts: Number, call_usd: Number, *, billed_share: Number = 1.0) -> Number:
    return _more(rate, usual) * attempts * billed_share * call_usd


def input_tokens_usd(tokens: Number, usual: Number, calls: Number, effective_input_usd: Number) -> Number:
    """`effective_input_usd`: what an input token costs on average, read from the cache or not."""
    return _more(tokens, usual) * calls * effective_input_usd


def share_usd(share: Number, usual: Number, usd: Number) -> Number:
    """Unattributed, unpriced (at the highest price of its family) and dead spend: the money above the usual share."""
    return _more(share, usual) * usd


def spend_usd(actual_usd: Number, expected_usd: Number) -> Number:
    return _more(actual_usd, expected_usd)


def relative_usd(excess_ratio: Number, usd: Number) -> Number:
    """Where nothing finer is known: of `usd` a day at a reading worse by `excess_ratio`, what the change makes up."""
    ratio = np.maximum(excess_ratio, 0.0)
    return usd * ratio / (1.0 + ratio)


def _more(now: Number, usual: Number) -> Number:
    return np.maximum(np.subtract(now, usual), 0.0)
