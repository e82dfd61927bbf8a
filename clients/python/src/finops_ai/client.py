"""The door of the package."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote
from uuid import uuid4

from finops_ai.asking import Asking, Estimate, OnUnavailable
from finops_ai.calls import Call, Cost
from finops_ai.dimensions import Dimensions, Scope, checked
from finops_ai.errors import Rejected
from finops_ai.governed import Governed
from finops_ai.leases import Lease
from finops_ai.money import Amount, units_of, usd_of
from finops_ai.queue import Limits, MemoryQueue, Queue, WhenFull
from finops_ai.recorder import EVENTS, Entry, Recorder
from finops_ai.spool import Spool
from finops_ai.transport import Transport

if TYPE_CHECKING:
    from finops_ai.dimensions import Unpack

CLOSE_SECONDS = 5.0
RUN_ID_MAX = 256


@dataclass(frozen=True)
class Stats:
    """What became of what was recorded since the client was made. Entries are events, releases, returns and reports."""

    waiting: int
    sent: int
    rejected: int
    dropped: int
    let_through: int
    let_through_usd: Decimal


class Client:
    """Asks before LLM calls and records them after, for one key. Safe between threads; make one per process.

    `timeout` (seconds) bounds a decision. `on_unavailable`: whether calls are refused or let through while the service
    is away. `cost` prices a usage where decisions are made here. `spool_dir` keeps on disk what waits to be sent;
    without it, memory does. Either is bounded by `queue_bytes_max`; at the bound, recording raises `QueueFull` or the
    oldest entries are dropped and counted, as `when_full` says. A batch is sent at `batch_events` or `flush_seconds`
    after its first event; `backoff_seconds` is the first pause after a failure. `on_rejected` is told, in a background
    thread, what the service refused for good.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        dimensions: Dimensions | None = None,
        on_unavailable: OnUnavailable = "deny",
        timeout: float = 2.0,
        cost: Cost | None = None,
        spool_dir: str | Path | None = None,
        queue_bytes_max: int = 64 * 1024 * 1024,
        when_full: WhenFull = "drop_oldest",
        batch_events: int = 500,
        flush_seconds: float = 1.0,
        backoff_seconds: float = 0.5,
        on_rejected: Callable[[Rejected], None] | None = None,
    ) -> None:
        if on_unavailable not in ("deny", "allow"):
            raise ValueError(f"on_unavailable is {on_unavailable!r}: choose 'deny' or 'allow'.")
        if when_full not in ("raise", "drop_oldest"):
            raise ValueError(f"when_full is {when_full!r}: choose 'raise' or 'drop_oldest'.")
        if not 1 <= batch_events <= 1000:
            raise ValueError(f"batch_events is {batch_events}: the service takes 1 to 1000.")
        self._dimensions = checked(dimensions or {}, Dimensions)
        self._transport = Transport(base_url, api_key, timeout)
        limits = Limits(queue_bytes_max, batch_events, when_full=when_full)
        self._recorder = Recorder(
            self._transport,
            partial(_make_queue, limits, None if spool_dir is None else Path(spool_dir)),
            flush_seconds=flush_seconds,
            backoff_seconds=backoff_seconds,
            on_rejected=on_rejected,
        )
        self._asking = Asking(self._transport, self._recorder, on_unavailable, cost)
        atexit.register(self._recorder.close, CLOSE_SECONDS)  # of the recorder: it outlives a client that is let go

    def call(
        self,
        *,
        provider: str,
        model: str,
        estimate_usd: Amount | None = None,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        ttl_seconds: int | None = None,
        **dimensions: Unpack[Dimensions],
    ) -> Call:
        """Ask for leave, which waits for the service; use what comes back in a `with` block.

        The hold is the estimate, or the tokens at the price in force, or what the step usually costs. It lasts
        `ttl_seconds` (10 to 3600, 600 by itself). Raises `Denied`; `ApiError` for a wrong key or field; `TypeError`
        for a dimension that does not exist.
        """
        fields: dict[str, Any] = {"request_id": uuid4().hex, "provider": provider, "model": model}
        if ttl_seconds is not None:
            fields["ttl_seconds"] = ttl_seconds
        estimate = Estimate(estimate_usd, input_tokens, max_output_tokens)
        return self._asking.decide(fields, self._with_defaults(dimensions, Dimensions), estimate)

    async def acall(self, **asked: Any) -> Call:
        """`call`, asked in a thread. Cancelled meanwhile, what is granted is released."""
        granted: list[Call] = []
        is_cancelled = False
        lock = threading.Lock()  # either side may come last

        def ask() -> Call:
            call = self.call(**asked)
            with lock:
                granted.append(call)
                if is_cancelled:
                    call.finish()
            return call

        try:
            return await asyncio.to_thread(ask)
        except asyncio.CancelledError:
            with lock:
                is_cancelled = True
                for call in granted:
                    call.finish()
            raise

    def governed(self, **asked: Any) -> Governed:
        """A decorator: asks, calls the function, and records what it returns: an SDK's answer, or the chunks it yields.

        Takes what `call` takes; a value that is a function is called with the arguments. A function with a parameter
        `call` is given the `Call`. Works on functions, generators, coroutine functions and asynchronous generators.
        """
        return Governed(self.call, self.acall, asked)

    def lease(
        self,
        amount_usd: Amount,
        *,
        provider: str,
        model: str,
        ttl_seconds: int = 30,
        steps: int | None = None,
        auto_renew: bool = False,
        cost: Cost | None = None,
        **dimensions: Unpack[Scope],
    ) -> Lease:
        """Hold an amount for calls with exactly these dimensions and decide them here until it is used or over.

        `ttl_seconds` is 5 to 60. With a `run_id` whose workflow bounds its steps, `steps` leases some of them. With
        `auto_renew` a call that finds too little or too late asks for another slice. `cost` is the client's, if not
        given. Raises `Denied`, and `ApiError` for what is wrong with the request.
        """
        return Lease(
            asking=self._asking,
            provider=provider,
            model=model,
            dimensions=self._with_defaults(dimensions, Scope),
            amount_units=units_of(amount_usd, "amount_usd"),
            ttl_seconds=ttl_seconds,
            steps=steps,
            auto_renew=auto_renew,
            cost=cost or self._asking.cost,
        ).open()

    def record(self, event: Mapping[str, Any]) -> str:
        """Record a call that was not asked for, as an event of the API. Its event_id; it and the time may be left out.

        Raises `QueueFull` where chosen, and `TypeError` or `ValueError` for what JSON cannot hold.
        """
        now = datetime.now(timezone.utc).isoformat()
        complete = {"event_id": uuid4().hex, "occurred_at": now, **self._dimensions, **event}
        self._recorder.put(Entry(EVENTS, complete))
        return str(complete["event_id"])

    def put_run(
        self,
        run_id: str,
        status: Literal["running", "ended"] = "ended",
        *,
        outcome: Literal["success", "failure", "unknown"] | None = None,
        units: int | None = None,
    ) -> None:
        """Say how a run is or how it ended, after the events recorded so far.

        Raises `QueueFull` where chosen, and `ValueError` for a run_id that no run has.
        """
        if not 1 <= len(run_id) <= RUN_ID_MAX:
            raise ValueError(f"run_id has {len(run_id)} characters: give 1 to {RUN_ID_MAX}.")
        said = {"status": status, "outcome": outcome, "units": units}
        body = {name: value for name, value in said.items() if value is not None}
        self._recorder.put(Entry(f"runs/{quote(run_id, safe='')}", body, "PUT"))

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until all that was recorded is with the service; False where it is not after `timeout` seconds."""
        return self._recorder.flush(timeout)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Flush and stop; also done when the interpreter ends. False where something was left: a spool keeps it."""
        atexit.unregister(self._recorder.close)
        return self._recorder.close(timeout)

    @property
    def stats(self) -> Stats:
        queue = self._recorder.queue
        return Stats(
            waiting=len(queue),
            sent=self._recorder.sent,
            rejected=self._recorder.rejected,
            dropped=queue.dropped,
            let_through=self._asking.let_through,
            let_through_usd=usd_of(self._asking.let_through_units),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_defaults(self, given: Mapping[str, Any], known: type) -> dict[str, Any]:
        defaults = {name: value for name, value in self._dimensions.items() if name in known.__annotations__}
        return {**defaults, **checked(given, known)}


def _make_queue(limits: Limits, spool_dir: Path | None) -> Queue:
    return MemoryQueue(limits) if spool_dir is None else Spool(limits, root=spool_dir)
