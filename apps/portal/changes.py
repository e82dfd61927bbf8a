"""What changed since the period before, and why: the largest changes in dollars, as sentences made from numbers. Pure.

A change is told by how many calls there were and what each cost: calls without a price have no part in either.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Literal

from apps.portal import formats
from apps.reports.selectors import Spend, SpendRow, Sums

SENTENCES_MAX = 4
# A change of less than this part of the spend is no news.
LEAST_SHARE = Decimal("0.01")
# From here on "4 times as many" is read faster than a share.
MANIFOLD = 3
# Wide enough for how many times the largest amount holds the least.
_WIDE = Context(prec=60)
NAMELESS = {"team": "What no team owns", "workflow": "Calls without a workflow", "model": "Calls without a model"}


@dataclass(frozen=True, slots=True)
class Moved:
    """One value of a dimension (None: it is missing) that cost more or less; `subject` and `says` are its sentence."""

    dimension: str
    value: str | None
    direction: Literal["up", "down"]
    subject: str
    says: str


def largest_changes(answers: Mapping[str, Spend]) -> list[Moved]:
    """The largest change of each dimension and the largest of the rest, in order of size.

    `answers` are by dimension, all over the same spend, each compared with the period before.
    """
    every = sorted(_differences(answers), key=lambda one: (-abs(one[0]), one[1], one[2].groups[0] or ""))
    first = list({dimension: place for place, (_, dimension, _) in reversed(list(enumerate(every)))}.values())
    rest = [place for place in range(len(every)) if place not in first]
    chosen = sorted([*first, *rest][:SENTENCES_MAX])
    return [_moved(*every[place]) for place in chosen]


def _differences(answers: Mapping[str, Spend]) -> Iterator[tuple[Decimal, str, SpendRow]]:
    for dimension, answer in answers.items():
        whole = max(_cost(answer.total), _cost(answer.before))
        for row in answer.rows:
            now, before = row.sums.cost_usd, row.before.cost_usd if row.before else None
            # What is unpriced on one side cannot be compared.
            if now is None or before is None or now == before:
                continue
            if abs(now - before) >= whole * LEAST_SHARE:
                yield now - before, dimension, row


def _cost(sums: Sums | None) -> Decimal:
    return (sums.cost_usd if sums else None) or Decimal(0)


def _moved(difference: Decimal, dimension: str, row: SpendRow) -> Moved:
    value = row.groups[0]
    assert row.before is not None
    return Moved(
        dimension=dimension,
        value=value,
        direction="up" if difference > 0 else "down",
        subject=NAMELESS[dimension] if value is None else f"{dimension.capitalize()} {value}",
        says=_sentence(difference, row.sums, row.before),
    )


def _sentence(difference: Decimal, now: Sums, before: Sums) -> str:
    """What follows the subject, a full stop included."""
    amount = formats.dollars(abs(difference))
    if not before.events:
        return f"cost {amount} for {_calls(now.events)}, and nothing before."
    if not now.events:
        return f"cost nothing, and {amount} before."
    more = "more" if difference > 0 else "less"
    earlier = _cost(before)
    # What grew tenfold is told by how many times, not by a share.
    size = f" ({formats.growth(difference / earlier)})" if earlier > 0 and abs(difference) < earlier * 10 else ""
    why = ", ".join(_reasons(now, before))
    return f"cost {amount} {more}{size}{f': {why}' if why else ''}."


def _calls(count: int) -> str:
    return f"{formats.count(count)} call{'' if count == 1 else 's'}"


def _reasons(now: Sums, before: Sums) -> Iterator[str]:
    """How many calls there were, and what each cost, against before."""
    calls, earlier = (sums.events - sums.unpriced_events for sums in (now, before))
    if calls <= 0 or earlier <= 0:
        return
    noun = "priced calls" if now.unpriced_events or before.unpriced_events else "calls"
    many = Decimal(calls) / earlier
    yield _compared(many, f"as many {noun}", f"{{}} times as many {noun}", f"{{}} more {noun}", f"{{}} fewer {noun}")
    if _cost(now) > 0 and _cost(before) > 0:
        each = _cost(now) / _cost(before) / many
        yield _compared(each, "each at the same cost", "each {} times as dear", "each {} dearer", "each {} cheaper")


def _compared(ratio: Decimal, same: str, manifold: str, more: str, fewer: str) -> str:
    per_cent = (abs(ratio - 1) * 100).quantize(Decimal(1), context=_WIDE)
    if not per_cent:
        return same
    if ratio >= MANIFOLD:
        return manifold.format(formats.digits(ratio.quantize(Decimal("0.1"), context=_WIDE)))
    if ratio < 1 and per_cent == 100:
        return fewer.format(f"more than 99{formats.THIN}%")
    return (more if ratio > 1 else fewer).format(f"{per_cent}{formats.THIN}%")
