"""Levers that calls show: another model, another provider, caching, batches, answers that are there already. Pure.

Each takes a workflow's facts and answers what it would keep of its cost, or nothing where its rule does not hold.
`seed` is the organization's; every lever draws from a generator of its own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from apps.insights import chances
from apps.insights.chances import Floats
from apps.insights.recommendations import Grade, Kind, Label, Pull
from apps.insights.savings_facts import Cell, Prices, WorkflowFacts
from apps.planner.levers import ESCALATION_RATE
from apps.planner.prices import CHEAPER_AT_MOST
from apps.planner.shapes import Card, ModelChoice

CALLS_MIN = 50
# Work that small models are good at, and work that gives the same answer to the same question.
EASY = ("classif", "extract", "summar", "format", "tag", "rout", "triage", "intent", "sentiment", "translat")
REPEATABLE = ("classif", "extract", "embed", "tag", "intent", "sentiment", "moderat")
WAITING = ("eval", "enrich", "embed", "report", "batch", "backfill", "index", "label")
EASY_OUTPUT_MAX, EASY_CALLS_MAX, EASY_SUCCESS_MIN = 400, 2.0, 0.95
ELSEWHERE_AT_MOST = 0.95
JUDGED_MIN = 30
ESCALATIONS_MIN = 100
HIT_GAP = 0.10
PEOPLE_MAX = 0.01
CUT_MIN, CUT_SHARE_MIN = 20, 0.05
# P10, P50, P90 of what nobody knows before trying.
ESCALATION = (ESCALATION_RATE.low, ESCALATION_RATE.likely, ESCALATION_RATE.high)
ESCALATED_COSTS = (1.0, 1.0 + 1e-9, 1.5)
TOKENIZER = (1.0, 1.1, 1.35)
# What of the reusable tokens a provider's cache answers, assumed: block hashes of two traces leave 0.94 to 0.99 to one
# that forgets nothing (`python -m bench savings`).
ATTAINED = (0.84, 0.95, 0.99)
BATCHABLE = (0.3, 0.6, 0.9)
AVOIDABLE_REPEATS = {True: (0.8, 0.9, 0.98), False: (0.3, 0.6, 0.9)}
AVOIDABLE_CUTS = (0.2, 0.5, 0.8)


def does(task_type: str | None, kinds: tuple[str, ...]) -> bool:
    """Whether a task type, however it is spelled, is of some kinds."""
    name = (task_type or "").lower()
    return any(name.startswith(kind) or f"_{kind}" in name or f"-{kind}" in name for kind in kinds)


def route_down(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Easy work on a dear model: a cheaper one first, the dear one where that fails (a cascade)."""
    for cell in facts.cells:
        card = prices.card(cell)
        if card is None or not _is_easy(cell, facts):
            continue
        target = _cheaper(cell, card, prices)
        if target is None:
            continue
        rng = chances.generator(seed, facts.workflow, Kind.ROUTE_DOWN, cell.key)
        escalated, costs = chances.share(rng, *ESCALATION), chances.factor(rng, *ESCALATED_COSTS)
        tokens, small = chances.factor(rng, *TOKENIZER), prices.cards[target]
        again = escalated * costs
        yield Pull(
            kind=Kind.ROUTE_DOWN,
            segment=cell.key,
            kept={
                cell.key: (
                    _ratio(cell.prompt_usd(small), cell.prompt_usd(card)) * tokens + again,
                    small.output / card.output * tokens + again if card.output else np.zeros(chances.DRAWS),
                )
            },
            grade=Grade.C,
            label=Label.UNVERIFIED,
            evidence={
                "model": cell.model, "provider": cell.provider, "task_type": cell.task_type, "calls": cell.calls,
                "output_p90": cell.output_p90, "to_provider": target.provider, "to_model": target.model,
                "price_ratio": cell.reckoned_usd(small) / cell.reckoned_usd(card), "escalation_p50": ESCALATION[1],
            },
        )  # fmt: skip


def _is_easy(cell: Cell, facts: WorkflowFacts) -> bool:
    """Rule 1 of the catalogue. What nobody reports (outcomes, runs) does not speak against it: a trial shows it."""
    runs = facts.runs
    return (
        cell.calls >= CALLS_MIN
        and does(cell.task_type, EASY)
        and cell.output_p90 is not None
        and cell.output_p90 <= EASY_OUTPUT_MAX
        and (not runs.seen or float(runs.calls.mean()) <= EASY_CALLS_MAX)
        and (runs.known < JUDGED_MIN or (runs.success or 0.0) >= EASY_SUCCESS_MIN)
    )


def _cheaper(cell: Cell, card: Card, prices: Prices) -> ModelChoice | None:
    """The first of the cheaper models that would cost at most half for the cell's own tokens."""
    most = CHEAPER_AT_MOST * cell.reckoned_usd(card)
    named = (choice for choice in prices.cheaper.get(cell.choice, ()) if choice in prices.cards)
    return next((choice for choice in named if cell.reckoned_usd(prices.cards[choice]) <= most), None)


def direct_route(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """A cascade that escalates too often: straight to the large model costs less than trying the small one first.

    Of V first calls at c_s, e are made again at c_l. Without the first: V (c_s + e c_l - c_l) is saved, which is more
    than 0 above the break-even e* = 1 - c_s / c_l.
    """
    for up in facts.escalated:
        small = [c for c in facts.cells if c.model == up.from_model and c.task_type == up.task_type and c.usd > 0]
        calls, usd = sum(c.calls for c in small), sum(c.usd for c in small)
        if calls < ESCALATIONS_MIN or up.calls <= 0 or up.usd <= 0:
            continue
        again = up.usd / up.calls
        break_even = 1 - usd / calls / again
        rng = chances.generator(seed, facts.workflow, Kind.DIRECT_ROUTE, up.from_model, up.task_type)
        rate = chances.rate(rng, up.calls, calls)
        if float(np.median(rate)) <= break_even:
            continue
        yield Pull(
            kind=Kind.DIRECT_ROUTE,
            segment="|".join((up.from_model, up.task_type or "")),
            kept={c.key: (np.zeros(chances.DRAWS), np.zeros(chances.DRAWS)) for c in small},
            grade=Grade.B,
            label=Label.UNVERIFIED,
            evidence={
                "model": up.from_model, "to_model": up.model, "task_type": up.task_type, "calls": calls,
                "escalated": up.calls, "escalation_rate": up.calls / calls, "break_even": break_even,
                "usd_per_call": usd / calls, "usd_per_escalated_call": again,
            },
            extra_usd=calls * (1 - rate) * again,
        )  # fmt: skip


# --- caching --------------------------------------------------------------------------------------------


class Policy(NamedTuple):
    """A way to cache, what it would make of a cell's prompts in USD (draws), and the share of tokens it would read."""

    name: str
    usd: Floats
    hit: float


def caching(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Whether the prompts of a cell would cost less with another policy: off, 5 minutes, 1 hour.

    A policy's prompts: what repeats within its time is read at the read price, the rest of what is long enough to be
    cached is written, and what is too short is plain input. Writing all of it is the dearest way to cache.
    """
    for cell in facts.cells:
        card = prices.card(cell)
        if card is None or cell.calls < CALLS_MIN or cell.eligible <= 0 or cell.prompt_usd(card) <= 0:
            continue
        rng = chances.generator(seed, facts.workflow, "caching", cell.key)
        best = min(_policies(cell, card, rng), key=lambda policy: float(np.median(policy.usd)))
        kind = _kind_of_caching(cell, best)
        if kind is None:
            continue
        yield Pull(
            kind=kind,
            segment=cell.key,
            kept={cell.key: (best.usd / cell.prompt_usd(card), np.ones(chances.DRAWS))},
            grade=Grade.B,
            label=Label.UNCHANGED,
            evidence={
                "model": cell.model, "provider": cell.provider, "task_type": cell.task_type, "calls": cell.calls,
                "hit_rate": cell.cache_read / cell.prompt, "attainable": best.hit, "policy": best.name,
                "policy_now": policy_now(cell), "reusable_5m": cell.reusable_5m / cell.prompt,
                "reusable_1h": cell.reusable_1h / cell.prompt,
            },
        )  # fmt: skip


def _policies(cell: Cell, card: Card, rng: np.random.Generator) -> Iterator[Policy]:
    # What is measured apart may disagree by a late event: no share exceeds 1.
    eligible = min(cell.eligible, cell.prompt)
    plain = cell.prompt - eligible
    attained = chances.share(rng, *ATTAINED)
    yield Policy("off", np.full(chances.DRAWS, cell.prompt * card.input), 0.0)
    ways = [("5m", cell.reusable_5m, card.cache_write_5m)]
    if card.cache_write_1h > card.cache_write_5m:  # else the provider's cache has no second lifetime
        ways.append(("1h", cell.reusable_1h, card.cache_write_1h))
    for name, reusable, write in ways:
        read = min(reusable, eligible) * attained
        usd = plain * card.input + read * card.cache_read + (eligible - read) * write
        yield Policy(name, usd, min(reusable, eligible) * ATTAINED[1] / cell.prompt)


def policy_now(cell: Cell) -> str:
    """How a cell's prompts are cached, as far as its meters show."""
    if cell.cache_write_1h > cell.cache_write_5m:
        return "1h"
    return "5m" if cell.cache_write_5m or cell.cache_read else "off"


def _kind_of_caching(cell: Cell, best: Policy) -> Kind | None:
    now = policy_now(cell)
    if best.name == "off":
        return None if now == "off" else Kind.DISABLE_CACHING
    if now == "off":
        return Kind.ENABLE_CACHING
    if best.name != now:
        return Kind.CACHE_TTL
    return Kind.FIX_CACHING if cell.cache_read / cell.prompt < best.hit - HIT_GAP else None


# --- the rest -------------------------------------------------------------------------------------------


def batch(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Work that nobody waits for, at the price of a batch. Whether it may wait, its owner says."""
    for cell in facts.cells:
        card = prices.card(cell)
        if (
            card is None
            or cell.calls < CALLS_MIN
            or not card.batch_factor < 1
            or cell.service_tier not in ("", "standard")
            or not does(cell.task_type, WAITING)
            or cell.by_people > PEOPLE_MAX * cell.calls
        ):
            continue
        rng = chances.generator(seed, facts.workflow, Kind.BATCH, cell.key)
        kept = 1 - chances.share(rng, *BATCHABLE) * (1 - card.batch_factor)
        evidence = {
            "model": cell.model, "task_type": cell.task_type, "calls": cell.calls, "batch_factor": card.batch_factor,
            "batchable_p50": BATCHABLE[1],
        }  # fmt: skip
        yield Pull(Kind.BATCH, cell.key, {cell.key: (kept, kept)}, Grade.C, Label.UNCHANGED, evidence)


def reuse_answers(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """The same request again within 24 hours: what repeats cost is known, how many an old answer serves is not."""
    for cell in facts.cells:
        if prices.card(cell) is None or cell.repeats <= 0 or cell.repeats_usd <= 0:
            continue
        repeatable = does(cell.task_type, REPEATABLE)
        rng = chances.generator(seed, facts.workflow, Kind.REUSE_ANSWERS, cell.key)
        kept = 1 - chances.share(rng, *AVOIDABLE_REPEATS[repeatable]) * min(1.0, cell.repeats_usd / cell.usd)
        evidence = {
            "model": cell.model, "task_type": cell.task_type, "calls": cell.calls, "repeats": cell.repeats,
            "repeats_usd": cell.repeats_usd, "avoidable_p50": AVOIDABLE_REPEATS[repeatable][1],
        }  # fmt: skip
        grade = Grade.A if repeatable else Grade.B
        yield Pull(Kind.REUSE_ANSWERS, cell.key, {cell.key: (kept, kept)}, grade, Label.UNVERIFIED, evidence)


def cut_answers(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Answers that end at their limit: what they cost is paid, and often nobody can use them."""
    for cell in facts.cells:
        if prices.card(cell) is None or cell.cut < max(CUT_MIN, CUT_SHARE_MIN * cell.calls):
            continue
        rng = chances.generator(seed, facts.workflow, Kind.CUT_ANSWERS, cell.key)
        kept = 1 - chances.share(rng, *AVOIDABLE_CUTS) * min(1.0, cell.cut_usd / cell.usd)
        evidence = {
            "model": cell.model, "task_type": cell.task_type, "calls": cell.calls, "cut": cell.cut,
            "cut_usd": cell.cut_usd, "avoidable_p50": AVOIDABLE_CUTS[1],
        }  # fmt: skip
        yield Pull(Kind.CUT_ANSWERS, cell.key, {cell.key: (kept, kept)}, Grade.C, Label.UNVERIFIED, evidence)


def bound_retries(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """Attempts after the third, left out: exact, but for those that would have been answered at last."""
    late = {c.key: c.late_retries_usd / c.usd for c in facts.cells if c.late_retries > 0 and prices.card(c) is not None}
    if not late:
        return
    rng = chances.generator(seed, facts.workflow, Kind.BOUND_RETRIES)
    left_out = chances.share(rng, 0.7, 0.9, 0.99)
    kept = {key: 1 - left_out * min(1.0, part) for key, part in late.items()}
    evidence = {
        "attempts": sum(cell.late_retries for cell in facts.cells), "bound": 3,
        "late_usd": sum(cell.late_retries_usd for cell in facts.cells),
    }  # fmt: skip
    both = {key: (value, value) for key, value in kept.items()}
    yield Pull(Kind.BOUND_RETRIES, "", both, Grade.A, Label.UNVERIFIED, evidence)


def change_provider(facts: WorkflowFacts, prices: Prices, seed: int) -> Iterator[Pull]:
    """The same model for less at another provider: the same tokens at its prices."""
    for cell in facts.cells:
        card = prices.card(cell)
        if card is None or cell.service_tier not in ("", "standard"):
            continue
        others = [choice for choice in prices.elsewhere.get(cell.choice, ()) if choice in prices.cards]
        costs = sorted((cell.reckoned_usd(prices.cards[choice]), choice) for choice in others)
        if not costs or costs[0][0] > ELSEWHERE_AT_MOST * cell.reckoned_usd(card):
            continue
        other, now = prices.cards[costs[0][1]], np.ones(chances.DRAWS)
        kept = (
            now * _ratio(cell.prompt_usd(other), cell.prompt_usd(card)),
            now * (other.output / card.output if card.output else 1.0),
        )
        evidence = {
            "model": cell.model, "provider": cell.provider, "to_provider": costs[0][1].provider,
            "to_model": costs[0][1].model, "calls": cell.calls, "price_ratio": costs[0][0] / cell.reckoned_usd(card),
        }  # fmt: skip
        yield Pull(Kind.CHANGE_PROVIDER, cell.key, {cell.key: kept}, Grade.A, Label.UNCHANGED, evidence)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 1.0


LEVERS = (route_down, direct_route, caching, batch, reuse_answers, cut_answers, bound_retries, change_provider)
