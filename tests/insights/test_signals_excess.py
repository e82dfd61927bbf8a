import numpy as np
import pytest

from apps.insights import excess


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        # 4 points more of 1,000 runs, 3 calls of 0.05 USD each.
        (excess.escalation_usd(0.12, 0.08, 1_000, 0.05, calls=3), 6.0),
        (excess.escalation_usd(0.05, 0.08, 1_000, 0.05), 0.0),
        # A million eligible tokens at 3 USD: 0.3 of them paid at 1 in place of 0.1, or at 1.25.
        (excess.cache_hit_usd(0.45, 0.75, 1e6, 3e-6), 0.81),
        (excess.cache_hit_usd(0.45, 0.75, 1e6, 3e-6, write_multiple=1.25), 1.035),
        (excess.cache_hit_usd(0.80, 0.75, 1e6, 3e-6), 0.0),
        # 5 minutes: 0.25 lost on each written token, 0.9 saved on each read one; even at 3.6 written to one read.
        (excess.cache_write_usd(3.6e6, 1e6, 3e-6, read_multiple=0.1, write_multiple=1.25), 0.0),
        (excess.cache_write_usd(1e7, 1e6, 3e-6, read_multiple=0.1, write_multiple=1.25), 4.8),
        (excess.retry_usd(0.06, 0.02, 10_000, 0.01), 4.0),
        (excess.retry_usd(0.06, 0.02, 10_000, 0.01, billed_share=0.5), 2.0),
        (excess.input_tokens_usd(3_000, 2_000, 10_000, 1e-6), 10.0),
        (excess.share_usd(0.10, 0.02, 2_000), 160.0),
        (excess.spend_usd(90, 100), 0.0),
        (excess.relative_usd(0.5, 150), 50.0),
        (excess.relative_usd(-0.5, 150), 0.0),
    ],
)
def test_the_excess_in_usd_a_day(usd: float, expected: float) -> None:
    assert usd == pytest.approx(expected)


def test_many_series_at_once() -> None:
    assert excess.retry_usd(np.array([0.06, 0.01]), 0.02, 10_000, 0.01) == pytest.approx([4.0, 0.0])
