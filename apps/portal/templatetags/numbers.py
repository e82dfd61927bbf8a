"""Template filters: the short form of a number, with the exact one a hover or a focus away."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.portal import audit_words, formats

register = template.Library()

register.filter("share", formats.share)
register.filter("per_cent", formats.per_cent)
register.filter("amount", formats.amount)
register.filter("count", formats.count)
register.filter("digits", formats.digits)
register.filter("exact_money", formats.exact_money)
register.filter("day", formats.day)
register.filter("actor", audit_words.within)


@register.filter
def money(usd: Decimal | None) -> SafeString:
    """USD, short, with every digit on hover; None reads `unpriced`."""
    if usd is None:
        return format_html('<span class="unpriced" title="{}">{}</span>', formats.exact_money(None), formats.UNPRICED)
    return _with_exact(formats.money(usd), formats.exact_money(usd))


@register.filter
def tokens(quantity: int | None) -> SafeString:
    """A count, short, with the exact one on hover; None reads as an em dash."""
    return _with_exact(formats.tokens(quantity), formats.count(quantity))


@register.filter
def age(then: datetime, at: datetime) -> SafeString:
    """How long before `at`, as a `<time>` with the UTC instant for machines and on hover."""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        then.isoformat(),
        formats.instant(then, "UTC"),
        formats.age(then, at),
    )


@register.filter
def instant(then: datetime, zone: str) -> SafeString:
    """The absolute time in `zone`, as a `<time>`."""
    return format_html('<time datetime="{}">{}</time>', then.isoformat(), formats.instant(then, zone))


@register.filter
def clock(then: datetime, zone: str) -> SafeString:
    """The absolute time in `zone` without year and zone, with both on hover."""
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        then.isoformat(),
        formats.instant(then, zone),
        formats.clock(then, zone),
    )


@register.filter
def minute(then: datetime, zone: str) -> SafeString:
    """The absolute time in `zone` to the minute, without the year; all of it on hover: `24 Nov, 14:05`."""
    local = then.astimezone(ZoneInfo(zone))
    shown = f"{local.day} {local:%b, %H:%M}"
    return format_html('<time datetime="{}" title="{}">{}</time>', then.isoformat(), formats.instant(then, zone), shown)


@register.filter
def local_day(then: datetime, zone: str) -> str:
    """The day in `zone`, without the year: `24 Nov`."""
    local = then.astimezone(ZoneInfo(zone))
    return f"{local.day} {local:%b}"


@register.filter
def bar(ratio: Decimal | None) -> str:
    """A ratio of 0 to 1 as the width of an SVG bar, `12.3%`."""
    bounded = min(max(ratio or Decimal(0), Decimal(0)), Decimal(1))
    return f"{bounded * 100:.1f}%"


def _with_exact(short: str, exact: str) -> SafeString:
    if short == exact.removesuffix(f"{formats.THIN}USD"):
        return format_html('<span class="n">{}</span>', short)
    return format_html('<span class="n" data-exact="{}">{}</span>', exact, short)
