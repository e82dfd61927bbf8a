"""What runs were seen to do: the sums that a plan is fitted from. Pure.

A run is seen as sums a step, so that it can be read with one GROUP BY from stored events, from the run's own row (one
step, no first call), or from a trace call by call (`step_of_calls`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from apps.planner.shapes import ModelChoice


@dataclass(frozen=True, slots=True)
class SlopeSums:
    """Sums over the calls of one run: x is a call's number in its step, y its whole prompt in tokens.

    These are `slope_n`, `slope_step`, `slope_step_sq`, `slope_input`, `slope_step_input` of a stored run.
    """

    n: int
    x: int
    xx: int
    y: int
    xy: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of one attempt, or summed over some. `prompt_tokens` are whole prompts: uncached, read from the cache and written
    to it; the rest is plain input. `output_tokens` are visible output, `reasoning_tokens` not included.
    """

    prompt_tokens: int
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    retrieved_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedStep(Tokens):
    """What one run spent in one step of its plan: sums over its calls.

    `name` and `model` tell steps apart: what shares both in different runs is one step. Tokens are those of all
    attempts.

    calls, attempts      first attempts; the retries too
    first_prompt_tokens  prompt of the first call, and `first_cached_tokens` what of it was read; None: not known
    prefix_tokens        the stable prefix where somebody knows it; used where no first call was seen to read one
    batch_calls          calls that were sent in a batch
    peak_tokens          the longest prompt; 0: not known
    billed_usd           what it was billed, None: not known; rates for long prompts are in it, and in no card
    escalated_from       the model that these calls, or one of them, were escalated from, as events name it
    """

    name: str
    model: ModelChoice
    calls: int
    attempts: int
    first_prompt_tokens: int | None = None
    first_cached_tokens: int | None = None
    prefix_tokens: int = 0
    batch_calls: int = 0
    peak_tokens: int = 0
    billed_usd: float | None = None
    escalated_from: str | None = None
    slope: SlopeSums | None = None


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """One execution of the workflow.

    `day` is the organization's calendar day on which it began. `cluster` is what it shares with runs that are no
    independent evidence (a person, a conversation that was resumed); None: it stands alone. `succeeded` is None where
    nobody said. `other_cost_usd` is what it cost beside tokens.
    """

    run_id: str
    day: date
    steps: tuple[ObservedStep, ...]
    cluster: str | None = None
    succeeded: bool | None = None
    other_cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class ObservedCall(Tokens):
    """One attempt of a call, for those who hold calls."""

    is_retry: bool = False
    is_batch: bool = False


@dataclass(slots=True)
class _Slope:
    calls: int = 0
    sums: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])

    def add(self, call: ObservedCall) -> None:
        number = self.calls
        self.calls += not call.is_retry
        for at, value in enumerate((1, number, number**2, call.prompt_tokens, number * call.prompt_tokens)):
            self.sums[at] += value


def step_of_calls(
    name: str,
    model: ModelChoice,
    calls: Sequence[ObservedCall],
    *,
    prefix_tokens: int = 0,
    billed_usd: float | None = None,
    escalated_from: str | None = None,
) -> ObservedStep:
    """The sums of one run's calls in one step, given in their order. Raises ValueError without a call."""
    if not calls:
        raise ValueError(f"Step {name} of a run has no call: leave the step out of the run instead.")
    slope = _Slope()
    for call in calls:
        slope.add(call)
    return ObservedStep(
        name=name,
        model=model,
        calls=max(1, slope.calls),
        attempts=len(calls),
        prompt_tokens=sum(c.prompt_tokens for c in calls),
        cache_read_tokens=sum(c.cache_read_tokens for c in calls),
        cache_write_5m_tokens=sum(c.cache_write_5m_tokens for c in calls),
        cache_write_1h_tokens=sum(c.cache_write_1h_tokens for c in calls),
        output_tokens=sum(c.output_tokens for c in calls),
        reasoning_tokens=sum(c.reasoning_tokens for c in calls),
        retrieved_tokens=sum(c.retrieved_tokens for c in calls),
        first_prompt_tokens=calls[0].prompt_tokens,
        first_cached_tokens=calls[0].cache_read_tokens,
        prefix_tokens=prefix_tokens,
        batch_calls=sum(c.is_batch for c in calls),
        peak_tokens=max(c.prompt_tokens for c in calls),
        billed_usd=billed_usd,
        escalated_from=escalated_from,
        slope=SlopeSums(*slope.sums),
    )
