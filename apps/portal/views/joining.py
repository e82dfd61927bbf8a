"""How a person comes to an organization: by an invitation, or by making one; and its first event."""

from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from apps.accounts.adapters import INVITED
from apps.accounts.models import User
from apps.accounts.selectors import has_verified_address
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations import members, services
from apps.organizations.models import Invitation, Organization
from apps.organizations.permissions import ROLE_LABELS, ROLE_MEANS, Permission, Scope
from apps.organizations.selectors import list_keys
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_people import FirstEventPage, JoinPage, NewOrganization
from apps.portal.pages_prices import FormError
from apps.usage.selectors import last_event_at


@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """What is offered, to whoever has the link; joining takes the account whose address it was sent to."""
    user = request.user if isinstance(request.user, User) else None
    try:
        if request.method == "POST" and user:
            joined = members.accept_invitation(token=token, user=user)
            request.session.pop(INVITED, None)
            return HttpResponseRedirect(reverse("portal:overview", args=[joined.organization.slug]))
        org, found = members.invitation_of(token)
    except DomainError as wrong:
        return render(request, "portal/joining_refused.html", {"refusal": wrong.detail}, status=400)
    if user is None:
        # Who reads the mail owns the address: signing up with it needs no second mail.
        request.session[INVITED] = request.session["account_verified_email"] = found.email
    return render(request, "portal/joining.html", {"join": _join_page(org, found, user), "here": request.path})


def _join_page(org: Organization, found: Invitation, user: User | None) -> JoinPage:
    return JoinPage(
        organization=org.name,
        email=found.email,
        role=ROLE_LABELS[found.role],
        means=ROLE_MEANS[found.role],
        teams=tuple(found.teams),
        created_by=found.created_by,
        expires_at=found.expires_at,
        signed_in_as=user.email if user else "",
        for_another=user is not None and not has_verified_address(user, found.email),
        has_account=User.objects.filter(email=found.email).exists(),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def organization_new(request: HttpRequest) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)
    if not settings.SIGNUP_OPEN and not user.is_operator:
        return render(request, "portal/organization_closed.html", status=403)
    name = str(request.POST.get("name", ""))[:200].strip()
    zone = str(request.POST.get("zone", "UTC"))[:64].strip()
    error = None
    if request.method == "POST":
        try:
            return HttpResponseRedirect(
                reverse("portal:first_event", args=[services.found_organization(user=user, name=name, zone=zone).slug])
            )
        except DomainError as wrong:
            error = FormError.of(wrong)
    page = NewOrganization(name, zone, tuple(sorted(available_timezones())), error)
    return render(request, "portal/organization_new.html", {"new": page}, status=400 if error else 200)


@organization_page(section="overview", permission=Permission.VIEW_EVENTS)
def first_event(visit: Visit) -> HttpResponse:
    """The way from nothing to the first event, and where one is on it."""
    page = first_event_page(visit)
    frame = visit.frame("Send the first event", Crumb("First event"))
    return visit.render("portal/first_event.html", frame=frame, first=page)


@organization_page(section="overview", permission=Permission.VIEW_EVENTS)
def first_event_seen(visit: Visit) -> HttpResponse:
    """The part of the page that waits: asked for every two seconds until the event is there."""
    return visit.render("portal/_first_event_seen.html", first=first_event_page(visit))


def first_event_page(visit: Visit, secret: str = "") -> FirstEventPage:
    with tenant(visit.org):
        last = last_event_at(visit.org)
        has_key = any(key.revoked_at is None and Scope.INGEST in key.scopes for key in list_keys(visit.org))
    return FirstEventPage(
        has_key=has_key,
        may_make_key=visit.may(Permission.MANAGE_KEYS),
        key_url=visit.url("key_new"),
        secret=secret,
        api_url=settings.BASE_URL,
        at=visit.at,
        last_event_at=last,
        seen_url=visit.url("first_event_seen"),
        overview_url=visit.url("overview"),
    )
