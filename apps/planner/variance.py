"""Why a month cost more or less than another, or than its plan: the change in USD, split into lines. Pure.

    volume      more or fewer runs at what a run was to cost
    mix         runs moved from one workflow to another
    loops       calls a run
    retries     attempts a call
    routing     which models answered, and how many calls were answered again by a larger one
    context     prompt tokens an attempt
    cache       parts of the prompt that were read fresh, read from a cache or written to one
    output      tokens an attempt that were answered, or thought
    price       USD a token, as it came to: price lists, contracts, tiers and batches alike
    other       what was not text: searches, images, audio
    new         workflows that only the later side has
    retired     workflows that only the earlier side has

Lines add up to the change exactly, at 12 decimals, and so do their parts by workflow and model; the method is
`apps.planner.divisia`'s. Its top level is the workflow, so that a team's lines are the sums of its workflows'.

Calls without a price have no part in it: a model of which one side knows no price is left out of both, and named in
`apart`. Where a side does not know the runs of a workflow, calls are counted in their place: the change in calls is
then all volume, and `by_calls` names the workflow.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from apps.core.money import EXACT, pico_from_usd, sum_usd, usd_from_pico
from apps.planner.divisia import Factor, Node, effects
from apps.planner.shapes import ModelChoice

VOLUME, MIX, LOOPS, RETRIES, ROUTING = "volume", "mix", "loops", "retries", "routing"
CONTEXT, CACHE, OUTPUT, PRICE, OTHER, NEW, RETIRED = "context", "cache", "output", "price", "other", "new", "retired"
LINES = (VOLUME, MIX, LOOPS, RETRIES, ROUTING, CONTEXT, CACHE, OUTPUT, PRICE, OTHER, NEW, RETIRED)
PROMPT_CLASSES = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
OUTPUT_CLASSES = ("output", "reasoning")
CLASSES = (*PROMPT_CLASSES, *OUTPUT_CLASSES)
# A line of less than both of these is small: nobody has to look behind it.
LARGE_USD = Decimal(100)
LARGE_SHARE = Decimal("0.02")
# Of the larger side: what less than this is left over by the digits of a double, and says nothing.
NOISE_SHARE = Decimal("1e-9")
_CENT_PICO = 10**10

# A workflow's name; None: calls that name none that is known.
Workflow = str | None


@dataclass(frozen=True, slots=True)
class ClassUse:
    """Billed tokens of one class and what they cost, over the whole period."""

    tokens: float
    usd: Decimal


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model did for one workflow: priced attempts, of them retries and escalations, and tokens by class.

    `other_usd` is what it cost beside tokens of `CLASSES`. `unpriced_calls` are beside all of that. A model without
    any priced attempt has no cost that is known.
    """

    model: ModelChoice
    attempts: float
    retries: float = 0.0
    escalations: float = 0.0
    classes: Mapping[str, ClassUse] = field(default_factory=dict)
    other_usd: Decimal = Decimal(0)
    unpriced_calls: float = 0.0

    @property
    def usd(self) -> Decimal:
        return sum_usd([*(use.usd for use in self.classes.values()), self.other_usd])

    @property
    def is_unpriced(self) -> bool:
        return not self.attempts and bool(self.unpriced_calls)


@dataclass(frozen=True, slots=True)
class WorkflowUse:
    """One side of one workflow. `runs` None: nobody knows how many there were."""

    workflow: Workflow
    runs: float | None
    models: tuple[ModelUse, ...]

    @property
    def usd(self) -> Decimal:
        return sum_usd(model.usd for model in self.models)


@dataclass(frozen=True, slots=True)
class Part:
    """Of one line, what one workflow added, and one model of it; `model` None: all of them together."""

    workflow: Workflow
    model: ModelChoice | None
    usd: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """`parts` add up to `usd`, the largest first."""

    kind: str
    usd: Decimal
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Apart:
    """A model of a workflow that one side knows no price of: its calls and cost are in nothing else.

    A cost is None where it is not known, and 0 where there were no calls.
    """

    workflow: Workflow
    model: ModelChoice
    before_calls: float
    after_calls: float
    before_usd: Decimal | None
    after_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Variance:
    """`lines` add up to `change_usd`, in the order of `LINES`, those of 0 left out.

    `flexed_usd` is the earlier side at the later side's runs and prices, with what is new as it came: what
    `controllable_usd` is measured from.
    """

    before_usd: Decimal
    after_usd: Decimal
    flexed_usd: Decimal
    lines: tuple[Line, ...]
    apart: tuple[Apart, ...] = ()
    by_calls: tuple[Workflow, ...] = ()

    @property
    def change_usd(self) -> Decimal:
        return EXACT.subtract(self.after_usd, self.before_usd)

    @property
    def controllable_usd(self) -> Decimal:
        """What loops, retries, routing, context, cache and output added: not how much was asked, nor its price."""
        return EXACT.subtract(self.after_usd, self.flexed_usd)

    def is_large(self, line: Line) -> bool:
        """Whether somebody should look behind it: at least 100 USD, and 2 % of the earlier side."""
        return abs(line.usd) >= max(LARGE_USD, LARGE_SHARE * abs(self.before_usd))

    def is_noise(self, line: Line) -> bool:
        """Whether it is there for the sum alone, which is exact."""
        return abs(line.usd) < NOISE_SHARE * max(abs(self.before_usd), abs(self.after_usd))


def explain(before: Iterable[WorkflowUse], after: Iterable[WorkflowUse]) -> Variance:
    """From `before`, a plan or an earlier month, to `after`. Each workflow stands at most once on a side."""
    old, new = ({use.workflow: use for use in side} for side in (before, after))
    # In one order, whatever that of the sides: doubles add up alike.
    names = sorted({**old, **new}, key=lambda name: (name is None, name or ""))
    apart: list[Apart] = []
    sides: dict[Workflow, tuple[_Side, _Side]] = {}
    for name in names:
        left, right = (side.get(name) or WorkflowUse(name, None, ()) for side in (old, new))
        without = _unpriced_of(left, right)
        apart += _apart(left, right, without)
        sides[name] = _Side(left, without), _Side(right, without)
    shared = {name: pair for name, pair in sides.items() if pair[0].calls and pair[1].calls}
    by_calls = tuple(name for name, (left, right) in shared.items() if not left.runs or not right.runs)
    cells = _one_sided(sides, shared) + _compared(shared, by_calls)
    return Variance(
        before_usd=sum_usd(left.usd for left, _ in sides.values()),
        after_usd=sum_usd(right.usd for _, right in sides.values()),
        flexed_usd=sum_usd([_flexed_usd(shared, by_calls), *(part.usd for kind, part in cells if kind == NEW)]),
        lines=_lines(cells),
        apart=tuple(apart),
        by_calls=by_calls,
    )


# --- one side of a workflow ------------------------------------------------------------------------------


class _Side:
    """A workflow's compared models, and what its calls come to."""

    def __init__(self, use: WorkflowUse, without: Collection[ModelChoice]) -> None:
        self.models = {one.model: one for one in use.models if one.model not in without and one.attempts}
        self.runs = use.runs
        self.usd = sum_usd(model.usd for model in self.models.values())
        self.attempts = sum(model.attempts for model in self.models.values())
        retries = sum(model.retries for model in self.models.values())
        escalations = sum(model.escalations for model in self.models.values())
        # Data may say that all is a retry: then nothing is.
        self.answers = self.attempts - retries if retries < self.attempts else self.attempts
        # Calls that a run wanted: answering one again on a larger model is routing.
        self.calls = self.answers - escalations if escalations < self.answers else self.answers


def _unpriced_of(left: WorkflowUse, right: WorkflowUse) -> set[ModelChoice]:
    return {model.model for use in (left, right) for model in use.models if model.is_unpriced}


def _apart(left: WorkflowUse, right: WorkflowUse, without: Collection[ModelChoice]) -> list[Apart]:
    found = []
    for model in sorted(without):
        sides = [next((one for one in use.models if one.model == model), None) for use in (left, right)]
        calls = [one.attempts + one.unpriced_calls if one else 0.0 for one in sides]
        costs = [None if one and one.is_unpriced else one.usd if one else Decimal(0) for one in sides]
        found.append(Apart(left.workflow, model, calls[0], calls[1], costs[0], costs[1]))
    return found


# --- the tree --------------------------------------------------------------------------------------------

_Cells = list[tuple[str, Part]]


def _one_sided(sides: Mapping[Workflow, tuple[_Side, _Side]], shared: Collection[Workflow]) -> _Cells:
    cells: _Cells = []
    for name, (left, right) in sides.items():
        if name not in shared:
            cells.append((NEW, Part(name, None, right.usd)))
            cells.append((RETIRED, Part(name, None, EXACT.minus(left.usd))))
    return cells


def _compared(shared: Mapping[Workflow, tuple[_Side, _Side]], by_calls: Collection[Workflow]) -> _Cells:
    """Workflows that are counted in runs share one volume, and those that are counted in calls another."""
    cells: _Cells = []
    for counts_calls in (False, True):
        units = {
            name: tuple(side.calls if counts_calls else side.runs or 0.0 for side in pair)
            for name, pair in shared.items()
            if (name in by_calls) == counts_calls
        }
        whole = tuple(sum(pair[index] for pair in units.values()) for index in (0, 1))
        for name, counted in units.items():
            left, right = shared[name]
            cells += _exact(name, left, right, _workflow(left, right, counted, whole))
    return cells


def _exact(name: Workflow, left: _Side, right: _Side, node: Node) -> _Cells:
    """The node's effects in pico-USD, which add up to the difference: halves go to even, and what then is missing to
    those that were rounded furthest from it.
    """
    amounts: dict[tuple[str, ModelChoice | None], float] = defaultdict(float)
    for label, line, amount in effects(node):
        amounts[line, label] += amount * 1e12  # type: ignore[index]  # labels here are models
    rounded = {key: round(amount) for key, amount in amounts.items()}
    missing = pico_from_usd(EXACT.subtract(right.usd, left.usd)) - sum(rounded.values())
    step = 1 if missing > 0 else -1
    open_ = [key for key, amount in amounts.items() if amount]
    if abs(missing) > len(open_):
        # Digits that a double does not have.
        largest = max(amounts, key=lambda key: abs(amounts[key]))
        rounded[largest] += missing
    else:
        for key in sorted(open_, key=lambda key: -step * (amounts[key] - rounded[key]))[: abs(missing)]:
            rounded[key] += step
    return [(line, Part(name, model, usd_from_pico(pico))) for (line, model), pico in rounded.items()]


def _workflow(left: _Side, right: _Side, counted: Sequence[float], whole: Sequence[float]) -> Node:
    factors = [
        Factor(VOLUME, *whole),
        Factor(MIX, *(count / every if every else None for count, every in zip(counted, whole, strict=True))),
    ]
    pairs = (
        (LOOPS, [(side.calls, count) for side, count in zip((left, right), counted, strict=True)]),
        (RETRIES, [(side.attempts, side.answers) for side in (left, right)]),
        (ROUTING, [(side.answers, side.calls) for side in (left, right)]),
    )
    factors += [Factor(name, *(over / under for over, under in sides)) for name, sides in pairs]
    models = sorted({**left.models, **right.models})
    children = tuple(_model(model, left, right) for model in models)
    return Node(float(left.usd), float(right.usd), tuple(factors), children)


def _model(model: ModelChoice, left: _Side, right: _Side) -> Node:
    uses = [side.models.get(model) for side in (left, right)]
    shares = [(use.attempts if use else 0.0) / side.attempts for use, side in zip(uses, (left, right), strict=True)]
    costs = [(float(use.usd) if use else 0.0) / side.attempts for use, side in zip(uses, (left, right), strict=True)]
    children = [_prompt(*uses), *(_output(name, *uses) for name in OUTPUT_CLASSES), _other(*uses)]
    present = tuple(child for child in children if child.before or child.after)
    return Node(costs[0], costs[1], (Factor(ROUTING, *shares),), present, model)


def _prompt(left: ModelUse | None, right: ModelUse | None) -> Node:
    costs, tokens, classes = [], [], []
    for use in (left, right):
        used = {name: use.classes[name] for name in PROMPT_CLASSES if name in use.classes} if use else {}
        count = sum(one.tokens for one in used.values())
        costs.append(_per(sum(float(one.usd) for one in used.values()), use.attempts if use else 0))
        tokens.append(_ratio(count, use.attempts if use else 0))
        classes.append((used, count))
    children = tuple(_class(name, classes) for name in PROMPT_CLASSES)
    present = tuple(child for child in children if child.before or child.after)
    return Node(costs[0], costs[1], (Factor(CONTEXT, *tokens),), present)


def _class(name: str, sides: Sequence[tuple[Mapping[str, ClassUse], float]]) -> Node:
    uses = [used.get(name, _NOTHING) for used, _ in sides]
    costs = [_per(float(use.usd), count) for use, (_, count) in zip(uses, sides, strict=True)]
    shares = [_ratio(use.tokens, count) for use, (_, count) in zip(uses, sides, strict=True)]
    prices = [_ratio(float(use.usd), use.tokens) for use in uses]
    return Node(costs[0], costs[1], (Factor(CACHE, *shares), Factor(PRICE, *prices)))


def _output(name: str, left: ModelUse | None, right: ModelUse | None) -> Node:
    uses = [use.classes.get(name, _NOTHING) if use else _NOTHING for use in (left, right)]
    attempts = [use.attempts if use else 0.0 for use in (left, right)]
    costs = [_per(float(use.usd), count) for use, count in zip(uses, attempts, strict=True)]
    lengths = [_ratio(use.tokens, count) for use, count in zip(uses, attempts, strict=True)]
    prices = [_ratio(float(use.usd), use.tokens) for use in uses]
    return Node(costs[0], costs[1], (Factor(OUTPUT, *lengths), Factor(PRICE, *prices)))


def _other(left: ModelUse | None, right: ModelUse | None) -> Node:
    costs = [_per(float(use.other_usd), use.attempts) if use else 0.0 for use in (left, right)]
    return Node(costs[0], costs[1], (Factor(OTHER, *costs),))


_NOTHING = ClassUse(0.0, Decimal(0))


def _ratio(over: float, under: float) -> float | None:
    return over / under if under else None


def _per(amount: float, count: float) -> float:
    return amount / count if count else 0.0


# --- what comes out of it --------------------------------------------------------------------------------


def _lines(cells: _Cells) -> tuple[Line, ...]:
    parts: dict[str, list[Part]] = defaultdict(list)
    for kind, part in cells:
        if part.usd:
            parts[kind].append(part)
    return tuple(
        Line(kind, sum_usd(part.usd for part in parts[kind]), tuple(sorted(parts[kind], key=_by_size)))
        for kind in LINES
        if parts[kind]
    )


def _by_size(part: Part) -> tuple[Decimal, str, str]:
    return -abs(part.usd), part.workflow or "", str(part.model)


def _flexed_usd(shared: Mapping[Workflow, tuple[_Side, _Side]], by_calls: Collection[Workflow]) -> Decimal:
    return usd_from_pico(round(sum(_flexed(*pair, name in by_calls) for name, pair in shared.items()) * 1e12))


def _flexed(left: _Side, right: _Side, counts_calls: bool) -> float:
    """What the earlier side would have cost at the later side's runs and prices; its own price where there is none."""
    runs = (left.calls, right.calls) if counts_calls else (left.runs or 0.0, right.runs or 0.0)
    cost = 0.0
    for model, use in left.models.items():
        later = right.models.get(model)
        cost += float(use.other_usd)
        for name, one in use.classes.items():
            paid = later.classes.get(name) if later else None
            is_known = paid is not None and paid.tokens > 0
            cost += one.tokens * float(paid.usd) / paid.tokens if paid and is_known else float(one.usd)
    return cost * runs[1] / runs[0]


def in_cents(amounts: Sequence[Decimal]) -> list[Decimal]:
    """Amounts in whole cents that add up to their sum in cents: the largest remainders get what flooring left over."""
    picos = [pico_from_usd(amount) for amount in amounts]
    floors = [pico // _CENT_PICO for pico in picos]
    left_over = round(Fraction(sum(picos), _CENT_PICO)) - sum(floors)
    ranked = sorted(range(len(picos)), key=lambda index: (-(picos[index] % _CENT_PICO), index))
    for index in ranked[:left_over]:
        floors[index] += 1
    return [EXACT.scaleb(Decimal(whole), -2) for whole in floors]
