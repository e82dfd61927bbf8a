"""What changed from one statement to the next, and why: the change in USD, split into drivers that add up to it. Pure.

    volume          more or fewer tokens (calls, where a workflow has none) at the month before's cost of one
    price           what a model's unit cost more or less than in the month before
    mix             the rest: a workflow used its models in other parts, or took up another model
    new, gone       workflows that only one of the two months has
    late, fees, credits, shared, adjustments    what lines of those kinds came to, this month less the last

Within a workflow volume and price are rounded once, half-even to 12 decimals, and mix is what they leave of the exact
change: so all drivers add up to it, difference 0.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from apps.core.meters import TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.core.money import EXACT, USD_PLACES, sum_usd
from apps.reports.document import ADJUSTMENT_KINDS, CREDIT_KINDS, FEE_KINDS, SHARED_KINDS, Document, Line, usd

VOLUME, PRICE, MIX, NEW, GONE = "volume", "price", "mix", "new", "gone"
LATE, FEES, CREDITS, SHARED, ADJUSTMENTS = "late", "fees", "credits", "shared", "adjustments"
_GROUPS = {
    LATE: ("late",),
    FEES: FEE_KINDS,
    CREDITS: CREDIT_KINDS,
    SHARED: SHARED_KINDS,
    ADJUSTMENTS: ADJUSTMENT_KINDS,
}
_CALLS = ("usage", "unattributed")
_TOKENS = (*TOKENS_IN, *TOKENS_CACHED, *TOKENS_OUT)
_ROUNDING = Context(prec=100, rounding=ROUND_HALF_EVEN)
_QUANTUM = Decimal(1).scaleb(-USD_PLACES)

Workflow = tuple[str | None, str | None]
Model = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Driver:
    """A part of the change. `name` is the model of price and mix, and the workflow of new and gone, "" for calls of
    none.
    """

    kind: str
    name: str
    change_usd: Decimal


@dataclass(frozen=True, slots=True)
class Change:
    """`drivers` add up to `change_usd`, and the largest stand first; those of 0 are left out. `is_first`: there was no
    statement before.
    """

    before_usd: Decimal
    after_usd: Decimal
    drivers: Sequence[Driver]
    is_first: bool = False

    @property
    def change_usd(self) -> Decimal:
        return EXACT.subtract(self.after_usd, self.before_usd)


@dataclass(slots=True)
class _Use:
    tokens: int = 0
    events: int = 0
    cost_usd: Decimal = Decimal(0)


_Uses = dict[Workflow, dict[Model, _Use]]


def explain(before: Document | None, after: Document) -> Change:
    """The change from the statement `before` (None: there was none, and all is new) to `after`, of the same team."""
    old, new = (before.lines if before else [], after.lines)
    parts: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    for driver in (*_of_workflows(_uses(old), _uses(new)), *_of_kinds(old, new)):
        parts[driver.kind, driver.name].append(driver.change_usd)
    drivers = [Driver(kind, name, sum_usd(amounts)) for (kind, name), amounts in parts.items()]
    return Change(
        before_usd=_total(old),
        after_usd=_total(new),
        drivers=sorted((one for one in drivers if one.change_usd), key=lambda one: (-abs(one.change_usd), one.kind)),
        is_first=before is None,
    )


def _total(lines: Iterable[Line]) -> Decimal:
    return sum_usd(usd(line.cost_usd) for line in lines)


def _uses(lines: Iterable[Line]) -> _Uses:
    found: _Uses = {}
    for line in lines:
        if line.kind in _CALLS:
            models = found.setdefault((line.project, line.workflow), {})
            use = models.setdefault((line.provider, line.model), _Use())
            use.tokens += sum(line.meters.get(meter, 0) for meter in _TOKENS)
            use.events += line.events
            use.cost_usd = EXACT.add(use.cost_usd, usd(line.cost_usd))
    return found


def _of_kinds(old: Sequence[Line], new: Sequence[Line]) -> Iterator[Driver]:
    for group, kinds in _GROUPS.items():
        before, after = (_total(line for line in lines if line.kind in kinds) for lines in (old, new))
        yield Driver(group, "", EXACT.subtract(after, before))


def _of_workflows(old: _Uses, new: _Uses) -> Iterator[Driver]:
    for workflow in {**old, **new}:
        name = workflow[1] or ""
        if workflow not in old:
            yield Driver(NEW, name, _cost(new[workflow]))
        elif workflow not in new:
            yield Driver(GONE, name, -_cost(old[workflow]))
        else:
            yield from _of_models(old[workflow], new[workflow])


def _cost(models: Mapping[Model, _Use]) -> Decimal:
    return sum_usd(use.cost_usd for use in models.values())


def _of_models(old: Mapping[Model, _Use], new: Mapping[Model, _Use]) -> Iterator[Driver]:
    """Of one workflow that both months have."""
    by_tokens = all(sum(use.tokens for use in models.values()) for models in (old, new))

    def units(models: Mapping[Model, _Use], model: Model) -> int:
        use = models.get(model, _Use())
        return use.tokens if by_tokens else use.events

    before, after = (sum(units(models, model) for model in models) for models in (old, new))
    for model in {**old, **new}:
        cost_before, cost_after = (models.get(model, _Use()).cost_usd for models in (old, new))
        volume = _scaled(cost_before, after - before, before)
        at_old_price = _scaled(cost_before, units(new, model), units(old, model))
        is_in_both = units(old, model) > 0 and units(new, model) > 0
        price = EXACT.subtract(cost_after, at_old_price) if is_in_both else Decimal(0)
        change = EXACT.subtract(cost_after, cost_before)
        yield Driver(VOLUME, "", volume)
        yield Driver(PRICE, model[1], price)
        yield Driver(MIX, model[1], EXACT.subtract(EXACT.subtract(change, volume), price))


def _scaled(cost_usd: Decimal, part: int, whole: int) -> Decimal:
    """cost x part / whole, rounded once; 0 of nothing."""
    if not whole:
        return Decimal(0)
    exact = _ROUNDING.divide(_ROUNDING.multiply(cost_usd, Decimal(part)), Decimal(whole))
    return exact.quantize(_QUANTUM, context=_ROUNDING)
