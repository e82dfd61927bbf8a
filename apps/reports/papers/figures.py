"""What the papers of a statement say of it in words and figures: its money, its kinds of lines, its build-up. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cached_property
from unicodedata import category, east_asian_width

from apps.core.meters import METERS, TOKENS_CACHED, TOKENS_IN, TOKENS_OUT
from apps.reports.document import KINDS, Document, Line

MINUS = "\u2212"
NONE = "—"
UNPRICED = "unpriced"

# Wide enough for the largest amount (26 digits before the point, 12 after) times a rate.
_WIDE = Context(prec=80, rounding=ROUND_HALF_EVEN)
_UNIT_DIGITS = 4
EXACT_BELOW = 10**10

KIND_LABELS = {
    "usage": "Direct usage",
    "unattributed": "Usage of no team",
    "unpriced": "Unpriced usage",
    "late": "Late usage",
    "throughput": "Throughput used",
    "throughput_idle": "Throughput idle",
    "seats": "Seats",
    "grant": "Grants",
    "credit": "Credits",
    "shared": "Shared cost",
    "adjustment": "Adjustments",
    "credit_note": "Credit notes",
    "dispute": "Settled disputes",
    "true_up": "True-up to the provider's bill",
    "exchange": "Exchange differences",
    "tax": "Tax",
}

# The same of one line.
ONE = {
    **KIND_LABELS,
    "grant": "Grant",
    "credit": "Credit",
    "adjustment": "Adjustment",
    "credit_note": "Credit note",
    "dispute": "Settled dispute",
    "exchange": "Exchange difference",
}

# What is on paper a sum of its own beside the tokens, by unit.
_OTHER_METERS = tuple(meter for meter in METERS if meter not in {*TOKENS_IN, *TOKENS_CACHED, *TOKENS_OUT})


@dataclass(frozen=True)
class Money:
    """What a statement's amounts are in: its currency, or USD while the month has no rate yet."""

    document: Document

    @cached_property
    def has_rate(self) -> bool:
        return self.document.currency == "USD" or self.document.rate is not None

    @property
    def unit(self) -> str:
        return self.document.currency if self.has_rate else "USD"

    @property
    def decimals(self) -> int:
        return self.document.decimals if self.has_rate else 2

    @property
    def is_usd(self) -> bool:
        return self.unit == "USD"

    @cached_property
    def per_usd(self) -> Decimal:
        rate = self.document.rate
        return Decimal(rate.per_usd) if rate and self.has_rate else Decimal(1)

    def of(self, line: Line) -> Decimal | None:
        """The line's amount, rounded to the unit's decimals; None where it has no price."""
        if self.has_rate:
            return None if line.amount is None else Decimal(line.amount)
        return None if line.cost_usd is None else self.rounded(Decimal(line.cost_usd))

    def sum_of(self, lines: Iterable[Line]) -> Decimal | None:
        """The sum of the lines' rounded amounts; None where none has a price."""
        amounts = [amount for line in lines if (amount := self.of(line)) is not None]
        return added(amounts) if amounts else None

    @cached_property
    def total(self) -> Decimal | None:
        return self.sum_of(self.document.lines)

    def converted(self, usd: str | None) -> Decimal | None:
        """An amount in USD at the month's rate, rounded; for figures that are no sums of lines."""
        return None if usd is None else self.rounded(_WIDE.multiply(Decimal(usd), self.per_usd))

    def rounded(self, amount: Decimal) -> Decimal:
        return amount.quantize(Decimal(1).scaleb(-self.decimals), context=_WIDE)

    def text(self, amount: Decimal | None) -> str:
        return UNPRICED if amount is None else grouped(self.rounded(amount))

    def each(self, usd: str | None) -> str:
        """What one of something cost: small amounts with four digits that count."""
        if usd is None:
            return NONE
        amount = _WIDE.multiply(Decimal(usd), self.per_usd)
        places = self.decimals if not amount else max(self.decimals, _UNIT_DIGITS - 1 - amount.adjusted())
        return grouped(amount.quantize(Decimal(1).scaleb(-min(places, 12)), context=_WIDE))


def added(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = _WIDE.add(total, amount)
    return total


def build_up(money: Money) -> list[tuple[str, Decimal]]:
    """The sum of each kind of line that the statement has, in their fixed order: they add up to the total."""
    lines = money.document.lines
    sums = ((kind, money.sum_of(line for line in lines if line.kind == kind)) for kind in KINDS)
    return [(kind, amount) for kind, amount in sums if amount is not None]


def grouped(amount: Decimal | int) -> str:
    """Every digit, in thousands, with a real minus."""
    return f"{amount:,f}".replace("-", MINUS) if isinstance(amount, Decimal) else f"{amount:,}".replace("-", MINUS)


def short(quantity: int) -> str:
    """A count, exact below ten billion: beyond that it would leave no room for names."""
    if abs(quantity) < EXACT_BELOW:
        return grouped(quantity)
    size, unit = (10**12, "T") if abs(quantity) >= 10**12 else (10**9, "B")
    return f"{grouped((Decimal(quantity) / size).quantize(Decimal('0.1'), context=_WIDE))}\u00a0{unit}"


def exact_usd(usd: str | None) -> str:
    """Every digit that counts, and at least cents."""
    if usd is None:
        return UNPRICED
    whole, _, decimals = usd.partition(".")
    return grouped(Decimal(f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"))


def exact_sum(amounts: Iterable[str]) -> str:
    return format(added(map(Decimal, amounts)), "f")


def micros(usd: str) -> str:
    """USD to six decimals."""
    return grouped(Decimal(usd).quantize(Decimal("0.000001"), context=_WIDE))


def cents(usd: str | None) -> str:
    """USD to the cent."""
    return NONE if usd is None else grouped(Decimal(usd).quantize(Decimal("0.01"), context=_WIDE))


def sign(number: str) -> str:
    """The same with a plus in front, where it is neither negative nor zero."""
    return f"+{number}" if not number.startswith(MINUS) and number.strip("0.,") else number


def per_cent(ratio: str | None) -> str:
    """A share of 0 to 1 as "30.00 %"."""
    return "" if ratio is None else per_cent_of(Decimal(ratio) * 100)


def per_cent_of(percent: Decimal) -> str:
    return f"{grouped(percent.quantize(Decimal('0.01'), context=_WIDE))}\u00a0%"


def tokens(line: Line) -> tuple[int, int, int]:
    """Tokens in, cached and out."""
    quantities = line.meters
    return (
        sum(quantities.get(meter, 0) for meter in TOKENS_IN),
        sum(quantities.get(meter, 0) for meter in TOKENS_CACHED),
        sum(quantities.get(meter, 0) for meter in TOKENS_OUT),
    )


def others(line: Line) -> list[str]:
    """What a line used that is not counted in tokens: "3 images"."""
    return [
        f"{short(line.meters[meter])} {meter_words(meter).lower()}" for meter in _OTHER_METERS if line.meters.get(meter)
    ]


def meter_words(meter: str) -> str:
    return meter.replace("_", " ").replace(" 5m ", " 5 min ").replace(" 1h ", " 1 h ").capitalize()


def month_words(month: str) -> str:
    return f"{date.fromisoformat(f'{month}-01'):%B %Y}"


def last_day(document: Document) -> date:
    first = document.first_day
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def period_words(document: Document) -> str:
    first, last = document.first_day, last_day(document)
    return f"{first.day} to {last.day} {first:%B %Y}, {document.timezone}"


def instant_words(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def team_words(document: Document) -> str:
    return document.team_name or document.team or "Without a team"


# --- names on paper ----------------------------------------------------------------------------------

# Line ends and tabs are spaces; what has no shape, or turns around what stands beside it, is shown to be there.
_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_SHAPELESS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")
# Where a long word may go on in the next line: after what separates, else after each dozen characters.
_LONG_WORD = re.compile(r"\S{20,}")
_PIECE_CHARACTERS = 12
_SEPARATORS = "-/_.:@"
_JOINERS = "\u200c\u200d"
_MAY_BREAK = "\u200b"


def printable(text: str) -> str:
    """Text as it can stand on paper: no control characters, nothing that turns around, long words that can break."""
    plain = _SHAPELESS.sub("\ufffd", _SPACES.sub(" ", text))
    return _LONG_WORD.sub(lambda word: _MAY_BREAK.join(_pieces(word[0])), plain)


def _pieces(word: str) -> Iterator[str]:
    start = 0
    for at in range(1, len(word)):
        before, after = word[at - 1], word[at]
        is_due = before in _SEPARATORS or at - start >= _PIECE_CHARACTERS
        # A mark stays with its letter, and what is joined stays joined.
        if is_due and not category(after).startswith("M") and before not in _JOINERS and after not in _JOINERS:
            yield word[start:at]
            start = at
    yield word[start:]


def shortened(text: str, columns: int) -> str:
    """The beginning of a text, in one line of so many columns; wide characters take two."""
    plain = _SHAPELESS.sub("\ufffd", _SPACES.sub(" ", text))
    room = columns
    for at, character in enumerate(plain):
        room -= 2 if east_asian_width(character) in "WF" else 1
        if room < 0:
            return f"{plain[: at - 1]}…"
    return plain


def kinds_among(lines: Sequence[Line], kinds: Sequence[str]) -> list[Line]:
    return [line for line in lines if line.kind in kinds]
