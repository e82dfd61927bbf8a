"""The meters as charts group them, in one order and with one colour each, wherever they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.core.meters import METERS


@dataclass(frozen=True, slots=True)
class MeterGroup:
    """`swatch` is the class suffix of its colour, as in `charts`."""

    label: str
    swatch: str
    meters: tuple[str, ...]

    def sum_of(self, quantities: Mapping[str, int]) -> int:
        return sum(quantities[meter] for meter in self.meters)


# What a call read, the cheapest first; then what it wrote.
CONTEXT_GROUPS = (
    MeterGroup("Cache read", "3", ("cache_read_tokens",)),
    MeterGroup("Cache write", "5", ("cache_write_5m_tokens", "cache_write_1h_tokens")),
    MeterGroup("Input", "1", ("input_tokens",)),
)
_WRITTEN = (
    MeterGroup("Output", "2", ("output_tokens",)),
    MeterGroup("Reasoning", "4", ("reasoning_tokens",)),
)
_NAMED = frozenset(meter for group in (*CONTEXT_GROUPS, *_WRITTEN) for meter in group.meters)
METER_GROUPS = (
    *CONTEXT_GROUPS,
    *_WRITTEN,
    MeterGroup("Other meters", "other", tuple(meter for meter in METERS if meter not in _NAMED)),
)
