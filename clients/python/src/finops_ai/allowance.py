"""The arithmetic of a lease: what may still be used locally. Pure: no clock, no network; safe between threads."""

from collections import Counter
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True)
class RunBounds:
    """What a run may still do under a lease. None: no bound. `deadline` is a monotonic instant in seconds."""

    steps: int | None = None
    max_attempts: int | None = None
    max_same_tool_calls: int | None = None
    deadline: float | None = None


@dataclass(frozen=True)
class Use:
    """What one call takes: a hold in units of 10^-12 USD, and its place in the run."""

    units: int
    step: int | None = None
    attempt: int = 1
    tool: tuple[str | None, str] | None = None


class Allowance:
    """A slice of a budget. At every instant `held <= granted - used` held for the last grant of a hold.

    `granted` grows with `grant`; `used` is what calls have cost. A call that cost more than its hold makes `left_units`
    smaller than the holds alone would, below zero even; then nothing is granted.
    """

    def __init__(self, before: "Allowance | None" = None) -> None:
        """Nothing yet. After another one, what the run has done under that stays counted."""
        self._lock = Lock()
        self._granted = 0
        self._held = 0
        self._used = 0
        self._deadline = float("-inf")
        self._run = RunBounds()
        self._steps_left: int | None = None
        self._attempts: Counter[int] = before._attempts.copy() if before else Counter()
        self._tools: Counter[tuple[str | None, str]] = before._tools.copy() if before else Counter()
        self._is_closed = False

    @property
    def left_units(self) -> int:
        with self._lock:
            return self._left()

    def grant(self, units: int, *, deadline: float, run: RunBounds | None = None) -> None:
        """Add a fresh amount, valid with all that is left until the new deadline (monotonic seconds)."""
        with self._lock:
            self._granted += units
            self._deadline = deadline
            if run is not None:
                self._run = run
                self._steps_left = None if run.steps is None else (self._steps_left or 0) + run.steps

    def take(self, use: Use, *, at: float) -> str | None:
        """Hold what a call may cost. None, or the code of what refuses it; then nothing is held."""
        with self._lock:
            refusal = self._refusal(use, at)
            if refusal is None:
                self._held += use.units
                self._count(use)
            return refusal

    def settle(self, held: int, cost: int) -> None:
        """A call is over and has cost this much, more than its hold perhaps."""
        with self._lock:
            self._held -= held
            self._used += cost

    def release(self, held: int) -> None:
        """A call did not happen. Its step and its tool call stay counted, as the service counts them."""
        with self._lock:
            self._held -= held

    def close(self) -> tuple[int, int]:
        """Grant nothing more. The units and the steps that no call has used or holds; zero the second time."""
        with self._lock:
            if self._is_closed:
                return 0, 0
            self._is_closed = True
            return max(0, self._left()), self._steps_left or 0

    def _left(self) -> int:
        return self._granted - self._held - self._used

    def _refusal(self, use: Use, at: float) -> str | None:
        if self._is_closed:
            return "lease_closed"
        if self._run.deadline is not None and at >= self._run.deadline:
            return "run_seconds"
        if self._is_repeated(use):
            return "run_same_tool_calls"
        if self._run.max_attempts is not None and self._attempt(use) > self._run.max_attempts:
            return "run_attempts"
        if at >= self._deadline:
            return "lease_expired"
        if use.units > self._left():
            return "lease_used_up"
        if self._steps_left == 0 and self._is_new_step(use):
            return "run_steps"
        return None

    def _is_repeated(self, use: Use) -> bool:
        most = self._run.max_same_tool_calls
        return most is not None and use.tool is not None and self._tools[use.tool] >= most

    def _attempt(self, use: Use) -> int:
        """The number of this attempt: what the caller says, or how often the step was seen here."""
        seen = 0 if use.step is None else self._attempts[use.step]
        return max(use.attempt, seen + 1)

    def _is_new_step(self, use: Use) -> bool:
        return use.attempt == 1 and (use.step is None or not self._attempts[use.step])

    def _count(self, use: Use) -> None:
        if self._steps_left is not None and self._is_new_step(use):
            self._steps_left -= 1
        if use.step is not None and (self._run.max_attempts is not None or self._steps_left is not None):
            self._attempts[use.step] += 1
        if use.tool is not None and self._run.max_same_tool_calls is not None:
            self._tools[use.tool] += 1
