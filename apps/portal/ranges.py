"""The one range control: presets and days in the organization's zone, kept in the URL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.http import QueryDict

from apps.core.periods import HOUR, Calendar, local_start, month_before
from apps.portal.pages import Range, Tab
from apps.reports.view_queries import COMPARE, DAYS_MAX, PREVIOUS, RANGE_DEFAULT, RANGES, read_day

PRESETS = dict(zip(RANGES, ("24 h", "7 d", "30 d", "This month", "Last month"), strict=True))
# What belongs to a page as it is, and not to the same page over another range.
_PARAMETERS = ("range", "from", "to", "cursor", "add", "how", "value")

# What a URL says after its path; a name may stand several times.
Parameters = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Span:
    """What a page covers: half-open instants and the local days they touch.

    `previous` is the period before, by the same clock, and of that as much as has passed of this one.
    """

    start: datetime
    end: datetime
    first_day: date
    last_day: date
    label: str
    preset: str | None
    zone: ZoneInfo
    calendar: Calendar
    previous_start: datetime
    previous_end: datetime

    @property
    def parameters(self) -> dict[str, str]:
        """The range as a URL says it; the default says nothing."""
        if self.preset is None:
            return {"from": self.first_day.isoformat(), "to": self.last_day.isoformat()}
        return {} if self.preset == RANGE_DEFAULT else {"range": self.preset}

    @property
    def previous_label(self) -> str:
        if self.preset == "last-month":
            return f"{month_before(self.first_day):%B}"
        if self.preset == "24h":
            return "the 24 hours before"
        # A moment before its end: at midnight that is the day before.
        first = self.previous_start.astimezone(self.zone).date()
        last = (self.previous_end - timedelta(microseconds=1)).astimezone(self.zone).date()
        return days_label(first, last)

    @property
    def granularity(self) -> str:
        """How finely a chart of the range cuts it."""
        length = self.end - self.start
        if length <= timedelta(days=2):
            return "hour"
        return "day" if length <= timedelta(days=92) else "week" if length <= timedelta(days=400) else "month"


def read_span(query: QueryDict, calendar: Calendar, at: datetime) -> Span:
    """The span that a query asks for; what cannot be read is the default, this month so far."""
    zone = calendar.zone_at(at)
    first, last = read_day(query.get("from", "")), read_day(query.get("to", ""))
    if first and last and first <= last and (last - first).days < DAYS_MAX:
        return _days(first, last, calendar, zone, at)
    preset = query.get("range", RANGE_DEFAULT)
    return _preset(preset if preset in PRESETS else RANGE_DEFAULT, calendar, zone, at)


def _days(first: date, last: date, calendar: Calendar, zone: ZoneInfo, at: datetime) -> Span:
    start, end = day_start(calendar, first), day_start(calendar, last + timedelta(days=1))
    before = day_start(calendar, first - timedelta(days=(last - first).days + 1))
    previous_end = min(before + (at - start), start) if start < at < end else start
    return Span(start, end, first, last, days_label(first, last), None, zone, calendar, before, previous_end)


def day_start(calendar: Calendar, day: date) -> datetime:
    """In the zone that was in force on that day."""
    return local_start(calendar.zone_at(datetime.combine(day, time(12), UTC)), day)


def _preset(preset: str, calendar: Calendar, zone: ZoneInfo, at: datetime) -> Span:
    today = at.astimezone(zone).date()
    if preset == "24h":
        start = calendar.hour(at - timedelta(hours=23))
        first, before = start.astimezone(zone).date(), start - timedelta(hours=24)
        previous_end = before + (at - start)
        return Span(start, at, first, today, "the last 24 hours", preset, zone, calendar, before, previous_end)
    if preset in ("7d", "30d"):
        days = timedelta(days=int(preset.removesuffix("d")))
        first = today - days + timedelta(days=1)
        start, before = day_start(calendar, first), day_start(calendar, first - days)
        previous_end = min(before + (at - start), start)
        return Span(start, at, first, today, days_label(first, today), preset, zone, calendar, before, previous_end)
    this_month = calendar.month_of(at)
    month = this_month if preset == "month" else month_before(this_month)
    start, before = calendar.month_start(month), calendar.month_start(month_before(month))
    if preset == "last-month":
        end, last = calendar.month_start(this_month), this_month - timedelta(days=1)
        return Span(start, end, month, last, f"{month:%B %Y}", preset, zone, calendar, before, start)
    # A month that begins at this instant still has a range to ask for.
    end = max(at, start + HOUR)
    label, previous_end = days_label(month, today), min(before + (end - start), start)
    return Span(start, end, month, today, label, preset, zone, calendar, before, previous_end)


def days_label(first: date, last: date) -> str:
    if first == last:
        return f"{first.day} {first:%b %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {last.day} {last:%b %Y}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%b}{year} to {last.day} {last:%b %Y}"


def query_string(parameters: Parameters) -> str:
    query = QueryDict(mutable=True)
    for name, value in parameters.items():
        query.setlist(name, [value] if isinstance(value, str) else list(value))
    text = query.urlencode()
    return f"?{text}" if text else "?"


def pairs_of(parameters: Parameters) -> tuple[tuple[str, str], ...]:
    """As the hidden fields of a form."""
    return tuple(
        (name, one) for name, value in parameters.items() for one in ([value] if isinstance(value, str) else value)
    )


def range_control(
    span: Span, path: str, query: QueryDict, as_of: datetime, at: datetime, *, compares: bool = False
) -> Range:
    """The control for a page at `path`; every other parameter of the query stays."""
    others: dict[str, Sequence[str]] = {
        name: [str(value) for value in values] for name, values in query.lists() if name not in _PARAMETERS
    }

    def url(parameters: Parameters) -> str:
        return path + query_string({**others, **parameters})

    length = (span.last_day - span.first_day).days + 1
    earlier = span.first_day - timedelta(days=length), span.first_day - timedelta(days=1)
    later = span.last_day + timedelta(days=1), span.last_day + timedelta(days=length)
    return Range(
        label=span.label,
        first_day=span.first_day,
        last_day=span.last_day,
        timezone=span.zone.key,
        as_of=as_of,
        presets=tuple(
            Tab(label, url({} if name == RANGE_DEFAULT else {"range": name}), name == span.preset)
            for name, label in PRESETS.items()
        ),
        hidden=pairs_of(others),
        previous_url=url({"from": earlier[0].isoformat(), "to": earlier[1].isoformat()}),
        next_url=(
            url({"from": later[0].isoformat(), "to": later[1].isoformat()})
            if later[0] <= at.astimezone(span.zone).date()
            else None
        ),
        compare=_compare(span, path, others) if compares else None,
    )


def _compare(span: Span, path: str, others: Parameters) -> Tab:
    """Turns the comparison with the period before on or, where it is, off."""
    active = others.get(COMPARE) == [PREVIOUS]
    left = {name: values for name, values in others.items() if name != COMPARE}
    parameters = {**left, **({} if active else {COMPARE: PREVIOUS}), **span.parameters}
    return Tab(
        f"{'Compared' if active else 'Compare'} with {span.previous_label}", path + query_string(parameters), active
    )
