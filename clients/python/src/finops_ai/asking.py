"""Leave for a call: from the service, and what happens when it is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Lock
from typing import Any, Literal

from finops_ai.calls import Call, Cost, LetThrough, Reservation, units_by
from finops_ai.errors import ApiError, Denied, Reason, Unavailable, budgets_in, reasons_in
from finops_ai.money import Amount, text_of, units_of, usd_of
from finops_ai.recorder import Recorder
from finops_ai.transport import Transport

OnUnavailable = Literal["deny", "allow"]


@dataclass(frozen=True)
class Estimate:
    """What a call may cost, as far as its caller knows before it."""

    usd: Amount | None = None
    input_tokens: int | None = None
    max_output_tokens: int | None = None

    def fields(self) -> dict[str, Any]:
        """The estimate as a decision request has it."""
        said = {
            "estimate_usd": None if self.usd is None else text_of(units_of(self.usd, "estimate_usd")),
            "input_tokens": self.input_tokens,
            "max_output_tokens": self.max_output_tokens,
        }
        return {name: value for name, value in said.items() if value is not None}

    def units(self, model: str, cost: Cost | None) -> int | None:
        """The estimate in units of 10^-12 USD; None where only the service could price it."""
        if self.usd is not None:
            return units_of(self.usd, "estimate_usd")
        if self.input_tokens is None or self.max_output_tokens is None:
            return None
        return units_by(cost, model, {"input_tokens": self.input_tokens, "output_tokens": self.max_output_tokens})


@dataclass
class Asking:
    """What decisions and leases share: the service, the queue, and what was let through."""

    transport: Transport
    recorder: Recorder
    on_unavailable: OnUnavailable
    cost: Cost | None
    let_through: int = 0
    let_through_units: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def granted(self, path: str, body: Mapping[str, Any], id_field: str) -> dict[str, Any]:
        """An answer that allows. Raises `Denied`, `Unavailable`, and `ApiError` for what is wrong with the request."""
        try:
            answer = self.transport.ask(path, body)
        except ApiError as error:
            if error.is_temporary:  # a caller that asks too often is not one whom nobody watches
                raise Denied([Reason(error.code, error.detail)]) from error
            raise
        if answer.get("decision", "allow") not in ("allow", "downgrade"):
            raise Denied(reasons_in(answer), budgets_in(answer))
        if not isinstance(answer.get(id_field), str):
            raise Unavailable(f"The answer holds no {id_field}: is this the service's address?")
        return answer

    def decide(self, fields: Mapping[str, Any], dimensions: dict[str, Any], estimate: Estimate) -> Call:
        """A call that the service allowed. Raises what `granted` raises; `Denied` where the service is away."""
        try:
            answer = self.granted("decisions", {**fields, **dimensions, **estimate.fields()}, "reservation_id")
        except Unavailable as error:
            return self.without(error, fields["provider"], fields["model"], dimensions, estimate)
        held = answer.get("held_usd")
        return Call(
            provider=answer.get("provider") or fields["provider"],
            model=answer.get("model") or fields["model"],
            dimensions=dimensions,
            hold=Reservation(answer["reservation_id"]),
            recorder=self.recorder,
            decision=answer.get("decision", "allow"),
            held_usd=None if held is None else usd_of(units_of(held)),
            reasons=tuple(reasons_in(answer)),
            budgets=tuple(budgets_in(answer)),
            input_tokens=estimate.input_tokens,
            cost=self.cost,
        )

    def without(
        self, error: Unavailable, provider: str, model: str, dimensions: dict[str, Any], estimate: Estimate
    ) -> Call:
        """A call while the service is away: let through and counted where the caller chose so, else `Denied`."""
        if self.on_unavailable == "deny":
            detail = f"No decision could be had ({error}). Try again, or choose on_unavailable='allow'."
            raise Denied([Reason("store_unavailable", detail)]) from error
        units = estimate.units(model, self.cost) or 0
        with self._lock:
            self.let_through += 1
            self.let_through_units += units
        return Call(
            provider=provider,
            model=model,
            dimensions=dimensions,
            hold=LetThrough(units, datetime.now(timezone.utc), str(error)[:256]),
            recorder=self.recorder,
            input_tokens=estimate.input_tokens,
            cost=self.cost,
        )
