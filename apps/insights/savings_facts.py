"""What a workflow was seen to do, as recommendations read it: sums of calls by model, and its runs. Pure.

Amounts are USD of the days that were looked at (`WorkflowFacts.days`); a month is 30 of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apps.planner.shapes import Card, ModelChoice

Floats = NDArray[np.float64]
MONTH_DAYS = 30


@dataclass(frozen=True, slots=True)
class Cell:
    """Calls of one workflow to one model for one task type, at one service tier.

    Tokens are disjoint; `output` holds reasoning. `usd` sums the priced calls, and `unpriced` counts the others.
    `eligible` are prompt tokens of calls long enough to be cached (1,024 and up), and `reusable_5m`, `reusable_1h`
    those of them that repeat what the same run sent to the same model within that time (`facts_sql`). `cut` counts
    answers that ended at their limit. `repeats` are calls with the hash of a request that was answered in the 24 hours
    before. `late_retries` are attempts after the third. `by_people` counts calls that name a user.
    """

    provider: str
    model: str
    task_type: str | None = None
    service_tier: str = ""
    calls: int = 0
    usd: float = 0.0
    unpriced: int = 0
    input: float = 0.0
    cache_read: float = 0.0
    cache_write_5m: float = 0.0
    cache_write_1h: float = 0.0
    output: float = 0.0
    eligible: float = 0.0
    reusable_5m: float = 0.0
    reusable_1h: float = 0.0
    output_p90: float | None = None
    cut: int = 0
    cut_usd: float = 0.0
    repeats: int = 0
    repeats_usd: float = 0.0
    late_retries: int = 0
    late_retries_usd: float = 0.0
    by_people: int = 0

    @property
    def choice(self) -> ModelChoice:
        return ModelChoice(self.provider, self.model)

    @property
    def key(self) -> str:
        return "|".join((self.provider, self.model, self.task_type or "", self.service_tier))

    @property
    def prompt(self) -> float:
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def prompt_usd(self, card: Card) -> float:
        """What the prompts cost by a card, a token at a time."""
        return (
            self.input * card.input
            + self.cache_read * card.cache_read
            + self.cache_write_5m * card.cache_write_5m
            + self.cache_write_1h * card.cache_write_1h
        )

    def reckoned_usd(self, card: Card) -> float:
        return self.prompt_usd(card) + self.output * card.output


@dataclass(frozen=True, slots=True)
class Escalated:
    """Calls that went from one model to another for a task type, after the first had answered."""

    from_model: str
    provider: str
    model: str
    task_type: str | None
    service_tier: str
    calls: int
    usd: float


@dataclass(frozen=True, slots=True)
class Runs:
    """A sample of runs, an entry of every array each, of `counted` there were. `outcome` is 1, 0 or NaN (not known).

    `calls` counts attempts and `steps` first attempts. `beyond` is what of `usd` was spent after `bound` calls.
    `prompt` and `slope` are tokens: of all prompts, and what a call's prompt is longer than the one's before. `failed`
    is 1 where nobody could use the run.
    """

    counted: int
    calls: Floats
    steps: Floats
    usd: Floats
    outcome: Floats
    prompt: Floats
    slope: Floats
    failed: Floats
    bound: int = 0
    beyond: Floats = field(default_factory=lambda: np.zeros(0))
    ids: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Self:
        empty = np.zeros(0)
        return cls(0, empty, empty, empty, empty, empty, empty, empty)

    @property
    def seen(self) -> int:
        return len(self.calls)

    @property
    def known(self) -> int:
        """Runs whose outcome is known."""
        return int(np.isfinite(self.outcome).sum())

    @property
    def success(self) -> float | None:
        return float(np.nanmean(self.outcome)) if self.known else None


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """One workflow over `days` days.

    `tool_tokens` and `retrieved_tokens` are means over calls that say them, `peers_tool_tokens` and
    `peers_retrieved_tokens` the third quartile of the organization's other workflows; None where nobody says.
    """

    workflow: str
    days: float
    cells: tuple[Cell, ...]
    runs: Runs
    escalated: tuple[Escalated, ...] = ()
    tool_tokens: float | None = None
    retrieved_tokens: float | None = None
    peers_tool_tokens: float | None = None
    peers_retrieved_tokens: float | None = None

    @property
    def usd(self) -> float:
        return sum(cell.usd for cell in self.cells)

    @property
    def month_usd(self) -> float:
        return self.usd * self.to_month

    @property
    def to_month(self) -> float:
        return MONTH_DAYS / self.days

    @property
    def unpriced(self) -> int:
        return sum(cell.unpriced for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Prices:
    """What the organization pays: a card for each model that it calls, and what else it could call.

    `elsewhere` are the same models at other providers, `cheaper` what could be tried for less, the first one first.
    """

    cards: Mapping[ModelChoice, Card]
    elsewhere: Mapping[ModelChoice, tuple[ModelChoice, ...]] = field(default_factory=dict)
    cheaper: Mapping[ModelChoice, tuple[ModelChoice, ...]] = field(default_factory=dict)

    def card(self, cell: Cell) -> Card | None:
        """The card of a cell that has one, and any tokens to price by it."""
        card = self.cards.get(cell.choice)
        return card if card is not None and cell.usd > 0 and cell.reckoned_usd(card) > 0 else None
