"""The document of a statement: what is stored when a month closes, and what every format is drawn from. Pure.

Its JSON is canonical (fields in the order in which they stand here, no spaces), so that equal documents are equal
bytes and have one SHA-256. `*_usd` are decimal strings with 12 decimals, `amount`s and `total` decimal strings with the
currency's own decimals, None where no rate is known or nothing has a price.
"""

import hashlib
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property

import msgspec

FORMAT = 1

# Kinds of lines, in the order in which a statement lists them.
USAGE_KINDS = ("usage", "unattributed", "unpriced", "late")
FEE_KINDS = ("throughput", "throughput_idle", "seats")
CREDIT_KINDS = ("grant", "credit")
SHARED_KINDS = ("shared",)
ADJUSTMENT_KINDS = ("adjustment", "credit_note", "dispute", "true_up", "exchange", "tax")
KINDS = (*USAGE_KINDS, *FEE_KINDS, *CREDIT_KINDS, *SHARED_KINDS, *ADJUSTMENT_KINDS)


class Rate(msgspec.Struct, frozen=True):
    """How many units of the statement's currency one USD is, as a decimal string, and who says so."""

    per_usd: str
    source: str


class Line(msgspec.Struct, frozen=True):
    """One line. `meters` holds quantities in each meter's smallest unit, those of 0 left out.

    `of_month` ("YYYY-MM") is the month of late usage, and the month that an adjustment is about. `driver` and `share`
    ("0.3", 12 decimals at most) say by what, and how much of a whole, a part was given. `source` names what made the
    line where no event did: "contract:7", "pool:3", "adjustment:12".
    """

    kind: str
    team: str | None
    project: str | None = None
    workflow: str | None = None
    provider: str = ""
    model: str = ""
    name: str = ""
    of_month: str | None = None
    events: int = 0
    unpriced_events: int = 0
    meters: dict[str, int] = {}
    cost_usd: str | None = None
    amount: str | None = None
    driver: str = ""
    share: str | None = None
    source: str = ""
    refers_to: str = ""


class MeterCost(msgspec.Struct, frozen=True):
    """What one meter of one model cost on a statement; `list_usd_per_million` where one price held all month."""

    provider: str
    model: str
    meter: str
    quantity: int
    cost_usd: str
    list_usd_per_million: str | None = None


class Summary(msgspec.Struct, frozen=True):
    """Figures beside the lines. Any is None where it is not known."""

    budget_usd: str | None = None
    variance_usd: str | None = None
    variance_percent: str | None = None
    forecast_usd: str | None = None
    year_to_date_usd: str | None = None
    runs: int = 0
    cost_per_run_usd: str | None = None
    successful_runs: int = 0
    cost_per_successful_run_usd: str | None = None


class DisputeNote(msgspec.Struct, frozen=True):
    """A dispute of this statement: about which line, why, and what became of it."""

    id: int
    about: str
    amount_usd: str
    reason: str
    state: str
    answer: str = ""


class Document(msgspec.Struct, frozen=True, dict=True):
    """One team's month. `team` None: what no team owns. `number` is None until it is final."""

    format: int
    id: str
    number: int | None
    organization: str
    organization_name: str
    month: str
    timezone: str
    period_start: datetime
    period_end: datetime
    team: str | None
    team_name: str | None
    cost_centre: str | None
    status: str
    currency: str
    decimals: int
    rate: Rate | None
    as_of: datetime
    events: int
    unpriced_events: int
    usage_usd: str
    fees_usd: str
    credits_usd: str
    shared_usd: str
    adjustments_usd: str
    total_usd: str | None
    total: str | None
    summary: Summary
    lines: list[Line]
    by_meter: list[MeterCost]
    disputes: list[DisputeNote]

    @property
    def label(self) -> str:
        """What people call it: its number once it is final."""
        return f"CS-{self.number:06d}" if self.number is not None else f"Draft {self.id}"

    @property
    def first_day(self) -> date:
        return date.fromisoformat(f"{self.month}-01")

    @cached_property
    def canonical(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical).hexdigest()


def document_of(canonical: bytes) -> Document:
    """The document that was stored. Raises `msgspec.ValidationError` where it is none.

    It stays those very bytes, also where a later version would write it otherwise.
    """
    document = msgspec.json.decode(canonical, type=Document)
    document.__dict__["canonical"] = canonical
    return document


def usd(text: str | None) -> Decimal:
    """An amount of a document as a number; what is not known is in no sum."""
    return Decimal(0) if text is None else Decimal(text)
