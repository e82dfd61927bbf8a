"""What can go wrong, by what a caller does about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


class FinopsError(Exception):
    """Any error of this package."""


@dataclass(frozen=True)
class Reason:
    """Why a call is refused or moved to another model; `code` is stable, `detail` says the way out."""

    code: str
    detail: str
    budget_id: str | None = None


@dataclass(frozen=True)
class Budget:
    """A budget as it stood at the answer. Amounts are USD; `resets_at` is an RFC 3339 time, or None for no reset."""

    id: str
    limit_usd: Decimal | None
    spent_usd: Decimal | None
    held_usd: Decimal | None
    remaining_usd: Decimal | None
    resets_at: str | None


class Denied(FinopsError):
    """The call must not be made. `code` is that of the first reason, or `store_unavailable`."""

    def __init__(self, reasons: Iterable[Reason], budgets: Iterable[Budget] = ()) -> None:
        self.reasons = tuple(reasons) or (Reason("denied", "The call was denied without a reason."),)
        self.budgets = tuple(budgets)
        self.code = self.reasons[0].code
        super().__init__(" ".join(f"{reason.code}: {reason.detail}" for reason in self.reasons))


class ApiError(FinopsError):
    """The service understood the request and refuses it: a wrong key, a wrong field. Never a reason to go on."""

    def __init__(
        self, status: int, code: str, detail: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.param = param
        self.retry_after = retry_after

    @property
    def is_temporary(self) -> bool:
        return self.status in (408, 425, 429) or self.code == "body_unreadable"


class Unavailable(FinopsError):
    """No answer, one that says to come again, or somebody else's: connection errors, timeouts, 5xx, a proxy's page."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueFull(FinopsError):
    """An event finds no room in the queue; it was not kept."""


@dataclass(frozen=True)
class Rejected:
    """What the service refused for good, as it was sent: an event, a report or an act on a hold."""

    path: str
    body: Mapping[str, Any]
    code: str
    detail: str
    param: str | None = None


def reasons_in(answer: Mapping[str, Any]) -> list[Reason]:
    return [
        Reason(str(found.get("code", "denied")), str(found.get("detail", "")), _text(found.get("budget_id")))
        for found in answer.get("reasons") or ()
    ]


def budgets_in(answer: Mapping[str, Any]) -> list[Budget]:
    return [
        Budget(
            id=str(found.get("id")),
            limit_usd=_usd(found.get("limit_usd")),
            spent_usd=_usd(found.get("spent_usd")),
            held_usd=_usd(found.get("held_usd")),
            remaining_usd=_usd(found.get("remaining_usd")),
            resets_at=_text(found.get("resets_at")),
        )
        for found in answer.get("budgets") or ()
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _usd(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
