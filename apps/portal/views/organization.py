"""The organization itself: its clock, what it asks of its members, leaving it, deleting it."""

from collections.abc import Iterator
from datetime import date
from zoneinfo import available_timezones

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect

from apps.accounts.selectors import with_second_factor
from apps.core.errors import DomainError
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.organizations import members, services
from apps.organizations.closing import close_organization, restore_organization
from apps.organizations.models import Membership, Zone
from apps.organizations.permissions import Permission
from apps.organizations.selectors import list_keys, list_zones
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_people import OrganizationSettings
from apps.portal.pages_prices import FormError

# What only those do who sign in again for it.
_sensitive_act = organization_page(
    section="organization",
    permission=Permission.VIEW_MEMBERS,
    writes=Permission.MANAGE_ORGANIZATION,
    is_act=True,
    is_sensitive=True,
)


@organization_page(section="organization", permission=Permission.VIEW_MEMBERS, within_team=True)
def organization(visit: Visit) -> HttpResponse:
    return _answer(visit)


def _answer(visit: Visit, error: FormError | None = None) -> HttpResponse:
    with tenant(visit.org):
        zones = list_zones(visit.org)
        keys = sum(key.revoked_at is None for key in list_keys(visit.org))
    people = list(Membership.objects.filter(organization=visit.org).values_list("user_id", flat=True))
    protected = with_second_factor(people)
    page = OrganizationSettings(
        name=visit.org.name,
        slug=visit.org.slug,
        zone=visit.calendar.zone_at(visit.at).key,
        coming=tuple(_coming(visit, zones)),
        zones=tuple(sorted(available_timezones())) if visit.may(Permission.MANAGE_ORGANIZATION) else (),
        next_month=next_month(visit.calendar.month_of(visit.at)),
        requires_second_factor=visit.org.requires_second_factor,
        without_second_factor=len(people) - len(protected),
        you_have_one=visit.user.pk in protected,
        closes_at=visit.org.closes_at,
        members=len(people),
        keys=keys,
        may_manage=visit.may(Permission.MANAGE_ORGANIZATION),
        error=error,
    )
    frame = visit.frame("Organization", Crumb("Organization"))
    return visit.render("portal/organization.html", frame=frame, organization=page, error=error)


def _coming(visit: Visit, zones: list[Zone]) -> Iterator[tuple[str, date]]:
    for row in zones:
        month = row.effective_month
        if month is not None and visit.calendar.month_start(month) > visit.at:
            yield row.name, month


def _back(visit: Visit) -> HttpResponse:
    return HttpResponseRedirect(visit.url("organization"))


@_sensitive_act
def second_factor(visit: Visit) -> HttpResponse:
    """Whether members need a second factor to see pages of the organization."""
    is_required = visit.request.POST.get("required") == "yes"
    if is_required and not with_second_factor([visit.user.pk]):
        detail = "Set up a second factor of your own first: this would close the organization to you."
        return _answer(visit, FormError("required", detail))
    services.change_settings(org=visit.org, actor=visit.user, requires_second_factor=is_required)
    messages.info(
        visit.request, "Members need a second factor now." if is_required else "A password alone is enough now."
    )
    return _back(visit)


@organization_page(
    section="organization", permission=Permission.VIEW_MEMBERS, writes=Permission.MANAGE_ORGANIZATION, is_act=True
)
def zone(visit: Visit) -> HttpResponse:
    """From a coming month on, days and months are cut in another zone."""
    name, month = (str(visit.request.POST.get(field, ""))[:64].strip() for field in ("zone", "month"))
    try:
        effective = _month(month)
        services.change_zone(org=visit.org, zone=name, effective_month=effective, actor=visit.user)
    except DomainError as wrong:
        return _answer(visit, FormError("zone", wrong.detail))
    messages.info(visit.request, f"From {effective:%B %Y} on, months and days begin as they do in {name}.")
    return _back(visit)


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise DomainError("month_invalid", f"'{text}' is no month: write one like 2027-01.", param="month") from None


@organization_page(
    section="organization", permission=Permission.VIEW_MEMBERS, is_act=True, within_team=True, while_closing=True
)
def leave(visit: Visit) -> HttpResponse:
    try:
        members.leave(org=visit.org, user=visit.user)
    except DomainError as wrong:
        return _answer(visit, FormError("leave", wrong.detail))
    messages.info(visit.request, f"You left {visit.org.name}.")
    return HttpResponseRedirect("/")


@_sensitive_act
def close(visit: Visit) -> HttpResponse:
    try:
        close_organization(org=visit.org, slug=str(visit.request.POST.get("slug", ""))[:100], actor=visit.user)
    except DomainError as wrong:
        return _answer(visit, FormError.of(wrong))
    return _back(visit)


@organization_page(
    section="organization",
    permission=Permission.VIEW_MEMBERS,
    writes=Permission.MANAGE_ORGANIZATION,
    is_act=True,
    while_closing=True,
)
def restore(visit: Visit) -> HttpResponse:
    if visit.org.closes_at is not None:
        restore_organization(org=visit.org, actor=visit.user)
        messages.info(visit.request, "It is restored: keys work again.")
    return _back(visit)
