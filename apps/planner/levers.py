"""What can be done about a plan's cost: each lever is a plan in, a plan out, and their savings are reckoned jointly."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.planner.shapes import Card, Cards, Estimate, ModelChoice, Plan, Range

ESCALATION_RATE = Range(0.08, 0.15, 0.35)
ESCALATION_MULTIPLE = Range(1.0, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Settings:
    """How far each lever is pulled.

    cheaper           model -> the small model that a cascade tries first; None: the cheapest other card
    batch_share       share of runs that their owner lets wait; 0: nobody said that any may
    """

    cheaper: Mapping[ModelChoice, ModelChoice] | None = None
    escalation_rate: Range = ESCALATION_RATE
    escalation_multiple: Range = ESCALATION_MULTIPLE
    retry_rate: float = 0.02
    tool_results_to: float = 0.6
    retrieved_to: float = 0.5
    compaction_threshold_tokens: int = 24_000
    compaction_summary_tokens: int = 2_000
    batch_share: float = 0.0


DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Lever:
    """One lever of the waterfall; amounts are USD in the first month.

    name             bound_loops, limit_retries, trim_tool_results, trim_retrieved, cache, compact, route, batch
    alone_usd        what it saves where it is the only one pulled
    joint_after_usd  the month's cost once this one and all before it are pulled
    saving           what it saves on top of those before it: P10, at the likely inputs, P90
    advised          pulled; where not, nothing changes and `reason` says why
    """

    name: str
    alone_usd: float
    joint_after_usd: float
    saving: Range
    advised: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of a comparison."""

    name: str
    plan: Plan
    cards: Cards


def waterfall(plan: Plan, cards: Cards, seed: int, settings: Settings = DEFAULTS) -> tuple[Lever, ...]:
    """Every lever in the order in which they build on each other, reckoned jointly."""
    raise NotImplementedError


def bound_loops(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def limit_retries(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def trim_tool_results(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def trim_retrieved(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def cache(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def compact(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def route(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def batch(plan: Plan, cards: Cards, settings: Settings = DEFAULTS) -> Plan:
    raise NotImplementedError


def swap_model(plan: Plan, old: ModelChoice, new: ModelChoice) -> Plan:
    """The plan with `new` wherever `old` stands; as itself where it stands nowhere."""
    raise NotImplementedError


def change_price(cards: Cards, model: ModelChoice, card: Card) -> Cards:
    """The cards with another one for `model`."""
    raise NotImplementedError


def change_cap(plan: Plan, step: str, calls_max: int) -> Plan:
    """The plan with another bound on one step's calls; KeyError where no step has the name."""
    raise NotImplementedError


def compare(
    variants: tuple[Variant, ...], *, seed: int, draws: int, months: int = 12, budget_usd: float | None = None
) -> tuple[tuple[str, Estimate], ...]:
    """Estimates side by side, from the same draws of the inputs that variants share."""
    raise NotImplementedError
