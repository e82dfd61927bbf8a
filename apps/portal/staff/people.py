from smtplib import SMTPException
from typing import Any

import structlog
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.selectors import FACTOR_LABELS, people
from apps.core.errors import NotFound
from apps.organizations import staff
from apps.organizations.permissions import ROLE_LABELS
from apps.organizations.selectors import memberships_of
from apps.portal.pages_prices import FormError
from apps.portal.pages_staff import Factor, PersonDetail, StaffSession
from apps.portal.staff.site import Shown, is_id, operator_of, typed
from apps.portal.templatetags.numbers import instant

SHOWN = 100

log = structlog.get_logger(__name__)


class PersonAdmin(Shown):
    title = "People"
    list_display = ("email", "name", "is_active", "is_operator", "second_factor", "joined")
    list_filter = ("is_active", "is_operator")
    search_fields = ("email", "name")
    search_help_text = "By address or name."
    ordering = ("email",)
    detail_template = "admin/person.html"
    acts = ("deactivate", "reactivate", "remove-factor", "end-session")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return people()

    @admin.display(boolean=True, ordering="has_second_factor")
    def second_factor(self, person: Any) -> bool:
        return bool(person.has_second_factor)

    @admin.display(ordering="date_joined")
    def joined(self, person: User) -> str:
        return instant(person.date_joined, "UTC")

    def do(self, request: HttpRequest, found: User, act: str) -> HttpResponse:
        operator, reason = operator_of(request), typed(request, "reason")
        if act == "end-session":
            ended = staff.end_session(person=found, session_id=_number(request), operator=operator)
            said = f"The session from {ended.ip} is ended."
        elif act == "remove-factor":
            kind = staff.remove_second_factor(
                person=found, factor_id=_number(request), reason=reason, operator=operator
            )
            said = _tell(request, found, kind)
        elif act == "deactivate":
            staff.deactivate_person(person=found, reason=reason, operator=operator)
            said = f"{found.email} cannot sign in any more, and is signed out everywhere."
        else:
            staff.reactivate_person(person=found, reason=reason, operator=operator)
            said = f"{found.email} can sign in again."
        messages.info(request, said)
        return HttpResponseRedirect(self.url_of(found))

    def page_of(self, request: HttpRequest, found: User, act: str, error: FormError | None) -> PersonDetail:
        removing = (typed(request, "id", 20), error) if act == "remove-factor" else ("", None)
        sessions = UserSession.objects.filter(user=found).order_by("-last_seen_at")[:SHOWN]
        return PersonDetail(
            id=found.pk,
            email=found.email,
            name=found.name,
            is_active=found.is_active,
            is_operator=found.is_operator,
            joined_at=found.date_joined,
            signed_in_at=found.last_login,
            memberships=tuple(
                (
                    one.organization.slug,
                    reverse("admin:organizations_organization_change", args=[one.organization_id]),
                    ROLE_LABELS[one.role],
                    one.joined_at,
                )
                for one in memberships_of(found)
            ),
            addresses=tuple(
                (one.email, one.verified, one.primary)
                for one in EmailAddress.objects.filter(user=found).order_by("-primary", "email")[:SHOWN]
            ),
            factors=tuple(
                _factor(one, typed(request, "reason"), removing[1] if removing[0] == str(one.pk) else None)
                for one in Authenticator.objects.filter(user=found).order_by("pk")[:SHOWN]
            ),
            sessions=tuple(
                StaffSession(one.pk, one.ip, one.user_agent, one.created_at, one.last_seen_at) for one in sessions
            ),
            is_yours_to_change=not found.is_operator,
            reason="" if removing[1] else typed(request, "reason"),
            error=None if removing[1] else error,
        )


def _factor(one: Authenticator, reason: str, error: FormError | None) -> Factor:
    return Factor(
        id=one.pk,
        kind=FACTOR_LABELS[one.type],
        name=str(one.data.get("name", "")) if one.type == Authenticator.Type.WEBAUTHN else "",
        created_at=one.created_at,
        last_used_at=one.last_used_at,
        is_removable=one.type != Authenticator.Type.RECOVERY_CODES,
        reason=reason if error else "",
        error=error,
    )


def _number(request: HttpRequest) -> int:
    """The id that a form names. Raises `NotFound`."""
    text = typed(request, "id", 20)
    if not is_id(text):
        raise NotFound("row")
    return int(text)


def _tell(request: HttpRequest, person: User, kind: str) -> str:
    """Mail the person; what to say of it."""
    try:
        get_adapter(request).send_notification_mail(
            "mfa/email/removed_by_staff", person, {"kind": kind}, email=person.email
        )
    except (OSError, SMTPException):
        log.warning("removed second factor not mailed", user_id=person.pk, exc_info=True)
        return f"{kind} is removed. The mail server did not take the mail that says so: tell {person.email}."
    return f"{kind} is removed, and {person.email} is told by mail."
