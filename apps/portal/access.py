"""Who may see a page: the organization comes from the URL, the role from the membership.

An operator who looks as a member (`looking_of`) visits pages as that member, in that organization alone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import wraps
from typing import Any, cast
from urllib.parse import quote, urlsplit

from allauth.account.decorators import reauthentication_required
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods
from structlog.contextvars import bind_contextvars

from apps.accounts.models import User
from apps.accounts.selectors import with_second_factor
from apps.core.errors import DomainError, NotFound
from apps.core.periods import Calendar, local_start
from apps.core.tenancy import tenant
from apps.organizations.models import Membership, Organization
from apps.organizations.permissions import ROLE_PERMISSIONS, Permission, Role, role_may
from apps.organizations.selectors import (
    calendar,
    members_with_role,
    membership_of,
    memberships_by_provider,
    memberships_of,
    require_active,
)
from apps.portal.entrance import asked_lately, is_of_a_provider_alone, providers_of, shut_for
from apps.portal.filters import Filters, read_filters
from apps.portal.looking import looking_of
from apps.portal.pages import Crumb, Frame, NoPermission, OrgLink, OrgRef
from apps.portal.rail import LABELS, rail_of, tabs_of
from apps.portal.ranges import Parameters, Span, query_string, range_control, read_span
from apps.usage.parts_sql import Part

YEAR_MIN, YEAR_MAX = 1971, 2199


@dataclass(frozen=True, slots=True)
class Visit:
    """A person on a page of an organization."""

    request: HttpRequest
    user: User
    membership: Membership
    org: Organization
    calendar: Calendar
    at: datetime
    section: str

    def url(self, name: str, parameters: Parameters | None = None) -> str:
        path = reverse(f"portal:{name}", args=[self.org.slug])
        return path + query_string(parameters) if parameters else path

    def url_below(self, name: str, identity: str) -> str:
        """The page of one thing, below the page that lists them. An id may hold slashes and is one segment still."""
        return f"{self.url(name)}/{quote(identity, safe='')}"

    def url_of(self, name: str, *parts: str) -> str:
        """The page of one thing whose parts have no slash in them."""
        return reverse(f"portal:{name}", args=[self.org.slug, *parts])

    def may(self, permission: Permission) -> bool:
        return role_may(self.membership.role, permission)

    @property
    def team(self) -> str | None:
        """The team that everything on the page is cut to: the one of a lead that is asked for, else the first."""
        if self.membership.role != Role.LEAD:
            return None
        asked = str(self.request.GET.get("team", ""))
        return asked if asked in self.membership.teams else self.membership.teams[0]

    @property
    def teams(self) -> tuple[str, ...] | None:
        """The teams of a lead; None for whoever sees all."""
        return tuple(self.membership.teams) if self.membership.role == Role.LEAD else None

    @property
    def part(self) -> Part | None:
        """What a lead may see of a run that several teams have calls in; None for whoever sees all."""
        return None if self.teams is None else {"team": self.teams}

    def cut(self, filters: Mapping[str, str]) -> dict[str, str]:
        """The filters that a page may show rows of: for a lead, within the team, or another one that they lead."""
        if self.team is None or filters.get("team") in self.membership.teams:
            return dict(filters)
        return {**filters, "team": self.team}

    def filters(self, known: Iterable[str]) -> Filters:
        """What the query keeps and leaves out; for a lead, within the team."""
        asked = read_filters(self.request.GET, known)
        return Filters(self.cut(asked.only), asked.but)

    def is_within(self, within_team: bool) -> bool:
        """Whether a lead may see a page that cuts itself to a team, or does not, with the team that is asked for."""
        if self.membership.role != Role.LEAD:
            return True
        return within_team and self.request.GET.get("team", self.team) == self.team

    def day_start(self, text: str) -> datetime | None:
        """The first instant of a day as a form sends it (YYYY-MM-DD), in the organization's zone."""
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return None
        return local_start(self.calendar.zone_at(self.at), day) if YEAR_MIN <= day.year <= YEAR_MAX else None

    def span(self) -> Span:
        return read_span(self.request.GET, self.calendar, self.at)

    def month(self) -> Span:
        """This month so far: what pages show that are asked for no range."""
        return read_span(QueryDict(), self.calendar, self.at)

    @property
    def _name(self) -> str:
        """What the page is called in the table of addresses."""
        match = self.request.resolver_match
        return (match.url_name or "") if match else ""

    def frame(
        self,
        title: str,
        *crumbs: Crumb,
        span: Span | None = None,
        as_of: datetime | None = None,
        compares: bool = False,
    ) -> Frame:
        """`compares`: the page can be compared with the period before its range."""
        control = (
            range_control(span, self.request.path, self.request.GET, as_of or self.at, self.at, compares=compares)
            if span
            else None
        )
        permissions, is_lead = ROLE_PERMISSIONS[self.membership.role], self.membership.role == Role.LEAD
        return Frame(
            org=OrgRef(self.org.name, self.org.slug, self.calendar.zone_at(self.at).key),
            organizations=organization_links(memberships_shown(self.request), self.org),
            user=self.user,
            section=self.section,
            title=title,
            breadcrumbs=(Crumb(self.org.name, self.url("overview")), *crumbs) if crumbs else (),
            at=self.at,
            range=control,
            closes_at=self.org.closes_at,
            rail=rail_of(self.org.slug, self.section, permissions, is_lead),
            tabs=tabs_of(self.org.slug, self.section, self._name, permissions, is_lead),
        )

    def render(self, template: str, *, error: object = None, **context: Any) -> HttpResponse:
        """The page; a 400 with `error`, what was wrong with a form of it."""
        return render(self.request, template, context, status=400 if error else 200)


View = Callable[..., HttpResponseBase]


def organization_page(
    *,
    section: str,
    permission: Permission,
    writes: Permission | None = None,
    is_act: bool = False,
    is_sensitive: bool = False,
    within_team: bool = False,
    while_closing: bool = False,
) -> Callable[[View], View]:
    """A page of one organization; it takes forms from those who hold `writes`, and an act shows nothing itself.

    A sensitive form asks who has not signed in lately to do so again; who came by the organization's identity provider
    is asked by that. `within_team` says that the view cuts what it shows to `visit.team`: without it the page is closed
    to team leads. Of an organization that is being deleted, forms change nothing but `while_closing`. A stranger gets
    the 404 of an organization that does not exist.
    """
    methods = ["POST"] if is_act else ["GET", "HEAD", "POST"] if writes else ["GET", "HEAD"]

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, slug: str, *arguments: Any, **named: Any) -> HttpResponseBase:
            # No column holds a NUL, so nothing is named by one.
            if any("\0" in str(name) for name in named.values()):
                raise Http404
            visit = _visit(request, slug, section)
            # Whoever looks as a member came in through the staff's own door.
            if visit.user == request.user and (shut := shut_for(request, visit.user, visit.membership)) is not None:
                return render(request, "portal/shut.html", {"shut": shut, "here": request.path}, status=403)
            needed = writes if writes is not None and request.method == "POST" else permission
            if not visit.may(needed) or not visit.is_within(within_team):
                return no_permission(visit, needed)
            if is_sensitive and request.method == "POST" and _must_ask_provider(visit):
                here = visit.url(section) if is_act else request.path
                return render(request, "portal/sso_anew.html", {"org": visit.org, "next": here}, status=403)
            try:
                if request.method == "POST" and not while_closing:
                    require_active(visit.org)
                return view(visit, *arguments, **named)
            except NotFound:
                raise Http404 from None
            except DomainError as error:
                return refused(visit, error)

        guarded = checked
        if is_sensitive:
            guarded = reauthentication_required(checked, allow_get=True, enabled=_has_own_session)
        page: Any = require_http_methods(methods)(_signed_in(guarded))
        page.permission, page.within_team = permission, within_team  # read by the test of the matrix
        return cast("View", page)

    return decorate


def _signed_in(view: View) -> View:
    """A form that is sent by somebody signed out leads, once they signed in, to the page it stood on: its own address
    may answer to forms alone."""
    entered = login_required(view)

    @wraps(view)
    def checked(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        if request.method == "POST" and not request.user.is_authenticated and (page := _sent_from(request)):
            return redirect_to_login(page)
        return entered(request, *arguments, **named)

    return checked


def _sent_from(request: HttpRequest) -> str:
    """The page of ours on which a form stood, "" where its browser does not say."""
    page = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return ""
    address = urlsplit(page)
    return address.path + (f"?{address.query}" if address.query else "")


def _has_own_session(request: HttpRequest) -> bool:
    assert isinstance(request.user, User)
    return not is_of_a_provider_alone(request, request.user)


def _must_ask_provider(visit: Visit) -> bool:
    """A session of a provider has nothing else that could be asked for again, and it lasts for days."""
    return not _has_own_session(visit.request) and not asked_lately(visit.request, visit.org)


def _visit(request: HttpRequest, slug: str, section: str) -> Visit:
    """Raises `Http404` to whoever does not belong to an organization of this slug."""
    person = request.user
    assert isinstance(person, User)
    bind_contextvars(user_id=person.pk)
    user, membership = _visitor(request, person, slug)
    if membership is None:
        raise Http404
    org = membership.organization
    bind_contextvars(organization_id=org.pk)
    with tenant(org):
        org.clock = calendar(org)
    return Visit(request, user, membership, org, org.clock, timezone.now(), section)


def _visitor(request: HttpRequest, person: User, slug: str) -> tuple[User, Membership | None]:
    """Who visits the organization: the person, or the member whom they look as."""
    looking = looking_of(request)
    if looking is None:
        return person, membership_of(person, slug)
    is_there = looking.membership.organization.slug == slug
    return looking.member, looking.membership if is_there else None


def no_permission(visit: Visit, permission: Permission) -> HttpResponse:
    owners = tuple(user.email for user in members_with_role(visit.org, Role.OWNER))
    title = _title(visit)
    refusal = NoPermission(title, permission, visit.membership.role, owners)
    context = {"frame": visit.frame(title), "no_permission": refusal}
    return render(visit.request, "portal/no_permission.html", context, status=403)


def refused(visit: Visit, error: DomainError) -> HttpResponse:
    """A page that a rule said no to."""
    context = {"frame": visit.frame(_title(visit)), "refusal": error.detail}
    return render(visit.request, "portal/refused.html", context, status=400)


def _title(visit: Visit) -> str:
    """What the rail calls the section."""
    return LABELS.get(visit.section, visit.section.capitalize())


def operator_page(view: View) -> View:
    """A page of the installation; for anybody but an operator it does not exist."""

    @require_http_methods(["GET", "HEAD", "POST"])
    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        user = request.user
        assert isinstance(user, User)
        bind_contextvars(user_id=user.pk)
        if not user.is_operator or is_of_a_provider_alone(request, user):
            raise Http404
        return view(request, user, *arguments, **named)

    return checked


def staff_page(view: View) -> View:
    """A page of the back office: for operators with a second factor who signed in lately."""

    @operator_page
    @wraps(view)
    def checked(request: HttpRequest, user: User, *arguments: Any, **named: Any) -> HttpResponseBase:
        # No column holds a NUL, so nothing is found by one.
        if any("\0" in value for values in request.GET.lists() for value in (values[0], *values[1])):
            raise Http404
        if not with_second_factor([user.pk]):
            return render(request, "portal/staff_second_factor.html", status=403)
        return fresh(request, *arguments, **named)

    fresh: View = reauthentication_required(view)
    return checked


def memberships_shown(request: HttpRequest) -> list[Membership]:
    """The organizations that a visitor may go to: of who looks as a member, the one; of who came by an identity
    provider alone, its own.
    """
    person, looking = request.user, looking_of(request)
    assert isinstance(person, User)
    if looking is not None:
        return [looking.membership]
    if not is_of_a_provider_alone(request, person):
        return memberships_of(person)
    return memberships_by_provider(person, providers_of(request, person))


def organization_links(memberships: Iterable[Membership], active: Organization | None = None) -> tuple[OrgLink, ...]:
    return tuple(
        OrgLink(
            name=membership.organization.name,
            slug=membership.organization.slug,
            url=reverse("portal:overview", args=[membership.organization.slug]),
            active=active is not None and membership.organization_id == active.pk,
        )
        for membership in memberships
    )
