"""A statement as journal entries for a general ledger. Pure.

Each kind of line is one entry of two rows: the team's cost centre is debited with AI expense, and the central AI
clearing account is credited. What is negative swaps sides, so no amount is. Debits equal credits to the last decimal.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from apps.core.errors import DomainError
from apps.reports.cells import cell
from apps.reports.document import Document
from apps.reports.papers.figures import KIND_LABELS, Money, build_up, last_day, month_words, team_words
from apps.reports.papers.rows import csv_bytes

EXPENSE = "AI expense"
CLEARING = "Central AI clearing"


class Posting(msgspec.Struct, frozen=True):
    """One side of an entry: either `debit` or `credit` is set, in `currency`, with its decimals."""

    entry: str
    date: str
    statement: str
    status: str
    account: str
    cost_centre: str
    team: str
    kind: str
    description: str
    debit: str
    credit: str
    currency: str
    sha256: str


COLUMNS = Posting.__struct_fields__


def postings(document: Document) -> list[Posting]:
    """Two a kind of line that has an amount. Raises `DomainError` (`rate_missing`) while the month has no rate."""
    money = Money(document)
    if not money.has_rate:
        raise DomainError(
            "rate_missing",
            f"Journal entries are in {document.currency}, and {month_words(document.month)} has no rate from USD to it"
            " yet: enter the month's rate first.",
        )
    return [posting for kind, amount in build_up(money) if amount for posting in _entry(money, kind, amount)]


def _entry(money: Money, kind: str, amount: Decimal) -> Iterator[Posting]:
    document = money.document
    size = format(money.rounded(abs(amount)), "f")
    for account, is_debit in ((EXPENSE, amount > 0), (CLEARING, amount < 0)):
        yield Posting(
            entry=f"{document.label}/{kind}",
            date=last_day(document).isoformat(),
            statement=document.label,
            status=document.status,
            account=account,
            cost_centre=(document.cost_centre or "") if account == EXPENSE else "",
            team=document.team or "",
            kind=kind,
            description=f"{KIND_LABELS[kind]}, {team_words(document)}, {month_words(document.month)}",
            debit=size if is_debit else "",
            credit="" if is_debit else size,
            currency=document.currency,
            sha256=document.sha256,
        )


def journal_csv(document: Document) -> bytes:
    """UTF-8 with CRLF, a header. Raises like `postings`."""
    rows = (map(cell, msgspec.structs.astuple(posting)) for posting in postings(document))
    return csv_bytes([COLUMNS, *rows])
