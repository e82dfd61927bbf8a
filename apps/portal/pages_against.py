"""What the templates of plan against actual, and of month against month, read."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from apps.portal.bridge import Bridge
from apps.portal.formats import Change
from apps.portal.pages import Tab


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line of the difference; `shown_usd` are cents that add up over all rows, the amount itself below a dollar.
    `before` and `after` say what is behind it, "" nothing.

    `parts` are (what, USD), and `url` opens the runs or the spend behind the line.
    """

    label: str
    says: str
    before: str
    after: str
    usd: Decimal
    shown_usd: Decimal
    is_large: bool
    url: str
    opens: str
    parts: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class ApartRow:
    """A model without a price on one side; a cost is None where it is not known."""

    model: str
    workflow: str
    before_calls: int
    after_calls: int
    before_usd: Decimal | None
    after_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, called `before_label` and `after_label`, and the lines between them.

    `apart` are those with the most calls; `apart_more` are left out, of so many calls on both sides.
    """

    before_label: str
    after_label: str
    before_usd: Decimal
    after_usd: Decimal
    difference: Decimal
    change: Change | None
    flexed_usd: Decimal
    controllable_usd: Decimal
    rows: tuple[LineRow, ...]
    apart: tuple[ApartRow, ...]
    apart_more: int
    apart_more_calls: int
    chart: Bridge


@dataclass(frozen=True, slots=True)
class AgainstPage:
    """`comparison` is None where there is nothing to compare: `title` and `says` then say why.

    `notes` say what the figures do not cover; `whole` is what the whole month was to cost.
    """

    months: tuple[Tab, ...]
    month_label: str
    so_far: bool
    as_of: datetime
    basis: str
    comparison: Comparison | None
    title: str
    says: str
    actual_usd: Decimal | None
    actual_url: str
    whole_usd: Decimal | None
    notes: tuple[str, ...]
    act_url: str = ""
    act_label: str = ""


@dataclass(frozen=True, slots=True)
class AgainstPart:
    """Of a workflow's page: this month against its plan, else against the month before."""

    heading: str
    page: AgainstPage
    url: str
