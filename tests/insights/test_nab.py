"""The score of the Numenta Anomaly Benchmark, by hand."""

import numpy as np
import pytest

from bench.nab import Series, score, sigmoid

ONE = Series("one", np.arange(1000.0), np.arange(1000.0), ((400, 499),))


def test_saying_nothing_is_0_and_the_first_record_of_every_window_100() -> None:
    assert score([(ONE, ())]) == 0.0
    assert score([(ONE, (400,))]) == pytest.approx(100.0, abs=0.1)


@pytest.mark.parametrize(
    ("position", "value"), [(-1.0, 0.98661), (-0.5, 0.84828), (0.0, 0.0), (1.0, -0.98661), (3, -1)]
)
def test_the_sigmoid_as_published(position: float, value: float) -> None:
    assert sigmoid(np.array([position]))[0] == pytest.approx(value, abs=1e-5)


def test_the_earliest_of_a_window_counts_and_what_lies_outside_costs() -> None:
    late = score([(ONE, (480,))])
    assert score([(ONE, (480, 490))]) == late < score([(ONE, (410,))])
    # Before any window a detection is wholly false: 0.11 of a range of 2.
    assert score([(ONE, (300,))]) == pytest.approx(-100 * 0.11 / 2)
    assert score([(ONE, (300,))]) < score([(ONE, (510,))]) < 0.0


def test_the_probation_neither_counts_nor_costs() -> None:
    assert score([(ONE, (10, 149))]) == 0.0
