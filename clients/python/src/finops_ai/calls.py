"""One governed call: allowed before, recorded after, its hold settled or let go."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

from finops_ai.dimensions import Result, checked
from finops_ai.errors import Budget, Reason
from finops_ai.money import Amount, text_of, units_of
from finops_ai.recorder import ALLOWANCES, EVENTS, Entry, Recorder
from finops_ai.usage import StreamUsage, found_in, plain

if TYPE_CHECKING:
    from finops_ai.dimensions import Unpack

log = logging.getLogger("finops_ai")

T = TypeVar("T")
# USD for a model and the usage as it was recorded: meters, or the provider's object as a dict. None: not known.
Cost = Callable[[str, Mapping[str, Any]], Decimal | None]

UNGOVERNED_TAG = "finops_ungoverned"


class Hold(Protocol):
    """What a call holds until it is over."""

    @property
    def id(self) -> str | None:
        """The reservation or the lease that its event settles; None where nothing is held."""

    def settle(self, cost_units: int | None) -> list[Entry]:
        """The call is over; None: its cost is not known here. What is to be told beside its event."""

    def release(self) -> list[Entry]:
        """The call did not happen. What is to be told."""


@dataclass(frozen=True)
class Reservation:
    """A hold of the service's: the event settles it."""

    id: str

    def settle(self, cost_units: int | None) -> list[Entry]:
        return []

    def release(self) -> list[Entry]:
        return [Entry(f"reservations/{self.id}/release", {})]


@dataclass(frozen=True)
class LetThrough:
    """No hold: the service was away, and the caller chose to go on. `units` is the estimate, 0 where unknown."""

    units: int
    at: datetime
    reason: str
    id: None = None

    def settle(self, cost_units: int | None) -> list[Entry]:
        at = self.at.isoformat()
        report = {"events": 1, "amount_usd": text_of(self.units), "from": at, "to": at, "reason": self.reason}
        return [Entry(ALLOWANCES, report)]

    def release(self) -> list[Entry]:
        return []


@dataclass
class Call:
    """A call that may be made now, with `model` at `provider`: another model than was asked for after a downgrade.

    Use it in a `with` block. What `record` was told last is sent when the block ends, however it ends; a block that
    ends without a record made no call, and its hold is released. Nothing in here waits for the network, but `settle`.
    """

    provider: str
    model: str
    dimensions: dict[str, Any]
    hold: Hold
    recorder: Recorder
    decision: str = "allow"
    held_usd: Decimal | None = None
    reasons: tuple[Reason, ...] = ()
    budgets: tuple[Budget, ...] = ()
    input_tokens: int | None = None
    cost: Cost | None = None
    event_id: str = field(default_factory=lambda: uuid4().hex)
    occurred_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    _started: float = field(default_factory=time.monotonic, repr=False)
    _pid: int = field(default_factory=os.getpid, repr=False)
    _result: dict[str, Any] = field(default_factory=dict, repr=False)
    _stream: StreamUsage | None = field(default=None, repr=False)
    _is_over: bool = False

    @property
    def is_governed(self) -> bool:
        """False for a call that was let through while the service was away."""
        return not isinstance(self.hold, LetThrough)

    @property
    def is_recorded(self) -> bool:
        """Whether `record`, `record_answer` or a stream has said what was used."""
        return "usage" in self._result or "provider_usage" in self._result

    def record(
        self,
        usage: Mapping[str, int] | None = None,
        *,
        provider_usage: object = None,
        cost_usd: Amount | None = None,
        **result: Unpack[Result],
    ) -> None:
        """What the call has used: disjoint meters in `usage`, or the provider's own object in `provider_usage`.

        Said again, it replaces the usage said before, so a stream may be recorded as it goes. `cost_usd` is what you
        know it to cost; it settles a lease's hold and stands beside the service's own figure. Raises `TypeError`.
        """
        if (usage is None) == (provider_usage is None):
            raise TypeError("Give usage or provider_usage, one of them.")
        said = {"usage": dict(usage)} if usage is not None else {"provider_usage": plain(provider_usage)}
        self._say(said | checked(result, Result))
        if cost_usd is not None:
            self._result["cost_usd"] = text_of(units_of(cost_usd, "cost_usd"))

    def record_answer(self, answer: object, **result: Unpack[Result]) -> None:
        """Record usage, model and stop reason of an SDK's answer, an object or its JSON.

        Raises `TypeError` where it carries no usage.
        """
        found = found_in(answer)
        if "provider_usage" not in found:
            raise TypeError(f"{type(answer).__name__} carries no usage: give it to record().")
        self._say(found | checked(result, Result))

    def record_found(self, answer: object) -> None:
        """What a decorated function returned, unless it has recorded its call itself. Never a reason to lose that."""
        if self.is_recorded:
            return
        try:
            self.record_answer(answer)
        except TypeError as error:
            log.warning("Nothing is recorded and the hold is released: %s", error)

    def stream(self, chunks: Iterable[T]) -> Iterator[T]:
        """The chunks of an SDK's stream, recorded as they pass. Broken off, it has used what was emitted."""
        self._stream = StreamUsage(self.input_tokens)
        for chunk in chunks:
            self._say(self._stream.take(chunk))
            yield chunk
        self._stream = None

    async def astream(self, chunks: AsyncIterable[T]) -> AsyncIterator[T]:
        """`stream` for an asynchronous one."""
        self._stream = StreamUsage(self.input_tokens)
        async for chunk in chunks:
            self._say(self._stream.take(chunk))
            yield chunk
        self._stream = None

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(error)

    def finish(self, error: BaseException | None = None) -> None:
        """What the end of a `with` block does; doing it twice changes nothing. Raises `QueueFull` where chosen.

        A child process that leaves the block changes nothing: the call is its parent's.
        """
        if self._is_over or self._pid != os.getpid():
            return
        self._is_over = True
        if not self.is_recorded:
            entries = self.hold.release()
        else:
            self._say_how_it_ended(error)
            entries = [Entry(EVENTS, self._event()), *self.hold.settle(self._cost_units())]
        if entries:
            self.recorder.put(*entries)

    def _say(self, said: dict[str, Any]) -> None:
        if self._is_over:
            log.error("A call said what it has used after its block had ended: that is not counted")
        if "usage" in said or "provider_usage" in said:
            for replaced in ("usage", "provider_usage", "cost_usd"):
                self._result.pop(replaced, None)
        self._result |= {"latency_ms": int((time.monotonic() - self._started) * 1000), **said}

    def _say_how_it_ended(self, error: BaseException | None) -> None:
        if self._stream is not None:
            self._result |= self._stream.interrupted()
        if isinstance(error, GeneratorExit | KeyboardInterrupt | asyncio.CancelledError):
            self._result.setdefault("status", "cancelled")
        elif error is not None:
            self._result.setdefault("status", "error")
            self._result.setdefault("error_type", type(error).__name__[:256])
        elif self._stream is not None:
            self._result.setdefault("status", "cancelled")

    def _event(self) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event_id": self.event_id,
            "occurred_at": self.occurred_at.isoformat(),
            "provider": self.provider,
            "model": self.model,
            **self.dimensions,
            **self._result,
        }
        if self.hold.id is not None:
            event["reservation_id"] = self.hold.id
        if not self.is_governed:
            event["tags"] = {**event.get("tags", {}), UNGOVERNED_TAG: "true"}
        return event

    def _cost_units(self) -> int | None:
        """What the call has cost, as far as it is known here."""
        if "cost_usd" in self._result:
            return units_of(self._result["cost_usd"])
        try:
            return units_by(self.cost, self.model, self._result.get("usage") or self._result.get("provider_usage", {}))
        except Exception:
            log.exception("cost() failed for %s; the call counts as it was held", self.model)
            return None


def units_by(cost: Cost | None, model: str, usage: Mapping[str, Any]) -> int | None:
    """What a usage costs in units, by the caller's own prices; None without them."""
    known = None if cost is None else cost(model, usage)
    return None if known is None else units_of(known, "cost")
