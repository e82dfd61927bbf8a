"""A slice of a budget that is used call by call, without a round trip."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from finops_ai.allowance import Allowance, RunBounds, Use
from finops_ai.asking import Asking, Estimate
from finops_ai.calls import Call, Cost
from finops_ai.dimensions import Dimensions, Place, checked
from finops_ai.errors import ApiError, Denied, Reason, Unavailable
from finops_ai.money import Amount, text_of, units_of, usd_of
from finops_ai.recorder import Entry

if TYPE_CHECKING:
    from finops_ai.dimensions import Unpack

# The client's deadline lies this much before the service's, whose clock it does not know.
MARGIN_SECONDS = 1.0
# A call that finds the slice used up again by other threads each time gives up at last.
ROUNDS_MAX = 8
LEASES = "leases"
AWAY_SECONDS = 1.0

DETAILS = {
    "lease_closed": "The lease is closed: take another.",
    "lease_expired": "The lease is over: take another, or use auto_renew=True.",
    "lease_used_up": "What is left of the lease is less than this call may cost: take another, or use auto_renew=True.",
    "run_steps": "The steps of this lease are used: lease more with steps=..., or end the run.",
    "run_attempts": "The step was tried as often as its workflow allows.",
    "run_same_tool_calls": "The same tool call was made as often as its workflow allows.",
    "run_seconds": "The run has lasted as long as its workflow allows.",
}


@dataclass(frozen=True)
class _Hold:
    """A part of a lease, held for one call."""

    id: str
    units: int
    allowance: Allowance

    def settle(self, cost_units: int | None) -> list[Entry]:
        self.allowance.settle(self.units, self.units if cost_units is None else cost_units)
        return []

    def release(self) -> list[Entry]:
        self.allowance.release(self.units)
        return []


@dataclass
class _Grant:
    """A lease of the service's, and what is left of it."""

    id: str
    provider: str
    model: str
    allowance: Allowance

    def give_back(self) -> list[Entry]:
        """Stop granting; what is to be told."""
        units, steps = self.allowance.close()
        body = {"unused_usd": text_of(units)} | ({"unused_steps": steps} if steps else {})
        return [Entry(f"leases/{self.id}/return", body)]


@dataclass
class Lease:
    """Leave for calls of one kind, for an amount and a time. Made by `Client.lease`; safe between threads.

    The sum of what calls hold never exceeds the amount. A call that cost more than it held makes the rest smaller.
    Without `cost` or `cost_usd`, a call counts as what it held. The deadline counts from before the service was asked,
    on a clock that nobody sets, and lies a second before the service's own.
    """

    asking: Asking
    provider: str
    model: str
    dimensions: dict[str, Any]
    amount_units: int
    ttl_seconds: int
    steps: int | None
    auto_renew: bool
    cost: Cost | None
    _grant: _Grant | None = None
    _grants: int = 0
    _away_until: float = 0.0
    _away: Unavailable | None = None
    # What was asked for, where and when first, while nobody has answered: asked again it is the same slice.
    _unanswered: tuple[str, dict[str, Any], float] | None = None
    _is_closed: bool = False
    _renewing: Lock = field(default_factory=Lock, repr=False)
    _pid: int = field(default_factory=os.getpid, repr=False)

    def open(self) -> Lease:
        """Take the lease. Raises `Denied`, and `ApiError` for what is wrong with the request."""
        try:
            self._take(self.amount_units)
        except Unavailable as error:
            self._note_away(error)
            if self.asking.on_unavailable == "deny":
                raise Denied([Reason("store_unavailable", f"No lease could be had ({error}).")]) from error
        return self

    @property
    def lease_id(self) -> str | None:
        """None while the service is away and calls are let through."""
        return self._grant.id if self._grant else None

    @property
    def left_usd(self) -> Decimal:
        """What calls may still hold; below zero where they cost more than they held."""
        return usd_of(self._grant.allowance.left_units if self._grant else 0)

    def call(
        self,
        *,
        estimate_usd: Amount | None = None,
        input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        **dimensions: Unpack[Dimensions],
    ) -> Call:
        """A call under the lease, allowed here and now: its hold is the estimate, or tokens at what `cost` says.

        Raises `Denied`; `ValueError` for other dimensions than the lease's or an estimate that cannot be priced here.
        """
        if self._pid != os.getpid():
            raise RuntimeError("A lease belongs to the process that took it: take one in this process.")
        place = self._place(dimensions)
        units = Estimate(estimate_usd, input_tokens, max_output_tokens).units(self.model, self.cost)
        if units is None:
            raise ValueError("Give estimate_usd, or cost=... to the lease and input_tokens and max_output_tokens.")
        tool = place.get("tool_call_hash")
        use = Use(
            units, place.get("step"), place.get("attempt", 1), None if tool is None else (place.get("tool_name"), tool)
        )
        dimensions_of_event = {**self.dimensions, **place}
        try:
            grant = self._leave(use)
        except Unavailable as error:
            estimate = Estimate(usd_of(units), input_tokens)
            return self.asking.without(error, self.provider, self.model, dimensions_of_event, estimate)
        return Call(
            provider=grant.provider,
            model=grant.model,
            dimensions=dimensions_of_event,
            hold=_Hold(grant.id, units, grant.allowance),
            recorder=self.asking.recorder,
            decision="allow" if grant.model == self.model else "downgrade",
            held_usd=usd_of(units),
            input_tokens=input_tokens,
            cost=self.cost,
        )

    def close(self) -> None:
        """Grant nothing more and give back what no call has used, after the events that are on their way.

        In another process than the lease's own it does nothing.
        """
        if self._pid != os.getpid():
            return
        with self._renewing:
            if self._is_closed:
                return
            self._is_closed = True
            if self._grant is not None:
                self.asking.recorder.put(*self._grant.give_back())

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The call's place in the run. Raises `ValueError` where it names what the lease is not for."""
        place = checked(given, Dimensions)
        for name in [name for name in place if name not in Place.__annotations__]:
            if place[name] != self.dimensions.get(name):
                leased = self.dimensions.get(name)
                raise ValueError(f"The lease is for {name}={leased!r}, not {place[name]!r}: take one for that.")
            del place[name]
        return place

    def _leave(self, use: Use) -> _Grant:
        """A grant that holds `use`. Raises `Denied` and `Unavailable`."""
        refusal = "lease_used_up"
        for _ in range(ROUNDS_MAX):
            seen, grant = self._grants, self._grant  # in this order: a grant that is newer than `seen` does no harm
            if grant is not None:
                refused = grant.allowance.take(use, at=time.monotonic())
                if refused is None:
                    return grant
                refusal = refused
                if not self._is_renewable(refused):
                    break
            elif self._is_closed:
                refusal = "lease_closed"
                break
            self._renew(seen, use.units)
        raise Denied([Reason(refusal, DETAILS[refusal])])

    def _is_renewable(self, refusal: str) -> bool:
        """Whether more leave could help. A taken-over grant is closed for a moment before its successor stands."""
        if refusal == "run_steps":
            return self.auto_renew and bool(self.steps)
        return self.auto_renew and not self._is_closed and refusal in ("lease_used_up", "lease_expired", "lease_closed")

    def _renew(self, seen: int, units: int) -> None:
        """More leave, unless another thread got it since `seen`. Raises `Denied` and `Unavailable`."""
        with self._renewing:
            if self._grants != seen or self._is_closed:
                return
            if self._away is not None and time.monotonic() < self._away_until:
                raise self._away
            amount = max(self.amount_units, units)
            try:
                is_taking = self._unanswered is not None and self._unanswered[0] == LEASES
                if self._grant is None or is_taking or not self._extend(self._grant, amount):
                    self._take(amount)
            except Unavailable as error:
                self._note_away(error)
                raise

    def _extend(self, grant: _Grant, amount: int) -> bool:
        """A fresh amount and time under the same lease; False where that is over for the service."""
        try:
            answered = self._ask(f"leases/{grant.id}/renew", amount, {})
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        except Denied as denied:
            if denied.code != "lease_over":
                raise
            return False
        self._add(grant, *answered)
        self._note_granted()
        return True

    def _take(self, amount: int) -> None:
        fields = {"provider": self.provider, "model": self.model, **self.dimensions}
        if self.steps is not None:
            fields["steps"] = self.steps
        asked, answer, start = self._ask(LEASES, amount, fields)
        before = self._grant
        back = before.give_back() if before else []
        grant = _Grant(
            id=answer["lease_id"],
            provider=answer.get("provider") or self.provider,
            model=answer.get("model") or self.model,
            allowance=Allowance(before.allowance if before else None),
        )
        self._add(grant, asked, answer, start)
        self._grant = grant
        self._note_granted()
        if back:
            self.asking.recorder.put(*back)

    def _ask(self, path: str, amount: int, fields: Mapping[str, Any]) -> tuple[int, dict[str, Any], float]:
        """The units that were asked for, the answer, and the instant before it was first asked for."""
        if self._unanswered is None:
            body = {
                **fields,
                "request_id": uuid4().hex,
                "amount_usd": text_of(amount),
                "ttl_seconds": self.ttl_seconds,
            }
            self._unanswered = path, body, time.monotonic()
        path, body, start = self._unanswered
        try:
            answer = self.asking.granted(path, body, "lease_id")
        except (ApiError, Denied):
            self._unanswered = None
            raise
        self._unanswered = None
        return units_of(body["amount_usd"]), answer, start

    def _add(self, grant: _Grant, asked: int, answer: Mapping[str, Any], start: float) -> None:
        """Never more than was asked for, than was granted, or than the run may still cost."""
        run = answer.get("run") or {}
        amounts = [answer.get("amount_usd"), run.get("cost_remaining_usd")]
        units = min([asked, *(units_of(amount) for amount in amounts if amount is not None)])
        ttl = min(self.ttl_seconds, answer.get("ttl_seconds") or self.ttl_seconds)
        grant.allowance.grant(units, deadline=start + ttl - MARGIN_SECONDS, run=_bounds(run, start) if run else None)

    def _note_granted(self) -> None:
        self._away = None
        self._grants += 1

    def _note_away(self, error: Unavailable) -> None:
        self._away = error
        self._away_until = time.monotonic() + (error.retry_after or AWAY_SECONDS)


def _bounds(run: Mapping[str, Any], start: float) -> RunBounds:
    """`steps` are leased ones; they bind unless the service says that none remain to be counted."""
    is_unbounded = "steps_remaining" in run and run["steps_remaining"] is None
    seconds = run.get("seconds_remaining")
    return RunBounds(
        steps=None if is_unbounded else run.get("steps"),
        max_attempts=run.get("max_attempts"),
        max_same_tool_calls=run.get("max_same_tool_calls"),
        deadline=None if seconds is None else start + seconds,
    )
