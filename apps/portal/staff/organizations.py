from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from apps.accounts.selectors import with_second_factor
from apps.alerts.models import Channel
from apps.alerts.selectors import count_failing, list_channels
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations import impersonation
from apps.organizations.models import ApiKey, Membership, Organization
from apps.organizations.permissions import ROLE_LABELS
from apps.organizations.selectors import calendar, find_members, list_keys, organizations_with_members
from apps.organizations.staff import REASON_LENGTH_MAX, reinstate_organization, suspend_organization
from apps.portal.looking import start_looking
from apps.portal.pages_prices import FormError
from apps.portal.pages_staff import Health, Limit, LookForm, OrganizationDetail, StaffKey, StaffMember
from apps.portal.staff.site import Shown, is_id, operator_of, typed
from apps.portal.templatetags.numbers import instant
from apps.usage.selectors import BACKLOG_COUNTED, backlog, last_event_at, open_reratings

MEMBERS_SHOWN, KEYS_SHOWN = 100, 100
FAILING_WITHIN = timedelta(days=1)

State = Organization.State


class ReasonForm(ActionForm):
    reason = forms.CharField(required=False, max_length=REASON_LENGTH_MAX, label="Reason")


class OrganizationAdmin(Shown):
    title = "Organizations"
    list_display = ("slug", "name", "state", "members", "created")
    list_filter = ("state",)
    search_fields = ("slug", "name")
    search_help_text = "By slug or name."
    ordering = ("slug",)
    actions = ("suspend", "reinstate")
    action_form = ReasonForm
    detail_template = "admin/organization.html"
    acts = ("suspend", "reinstate", "look")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        return organizations_with_members()

    @admin.display(ordering="members")
    def members(self, org: Any) -> int:
        return int(org.members)

    @admin.display(ordering="created_at")
    def created(self, org: Organization) -> str:
        return instant(org.created_at, "UTC")

    @admin.action(description="Suspend: keys are refused, pages change nothing")
    def suspend(self, request: HttpRequest, chosen: QuerySet[Organization]) -> None:
        self._each(request, chosen, suspend_organization, "suspended")

    @admin.action(description="Reinstate")
    def reinstate(self, request: HttpRequest, chosen: QuerySet[Organization]) -> None:
        self._each(request, chosen, reinstate_organization, "reinstated")

    def _each(self, request: HttpRequest, chosen: QuerySet[Organization], service: Any, done: str) -> None:
        for org in chosen.order_by("slug"):
            try:
                service(org=org, reason=typed(request, "reason"), operator=operator_of(request))
                messages.info(request, f"{org.slug} is {done}.")
            except DomainError as error:
                messages.error(request, f"{org.slug}: {error.detail}")

    def do(self, request: HttpRequest, found: Organization, act: str) -> HttpResponse:
        if act == "look":
            return _look(request, found)
        service = suspend_organization if act == "suspend" else reinstate_organization
        org = service(org=found, reason=typed(request, "reason"), operator=operator_of(request))
        messages.info(request, f"{org.slug} is {org.state}.")
        return HttpResponseRedirect(self.url_of(found))

    def page_of(
        self, request: HttpRequest, found: Organization, act: str, error: FormError | None
    ) -> OrganizationDetail:
        search = str(request.GET.get("members", ""))[:100].strip()
        members, count = find_members(found, search=search, limit=MEMBERS_SHOWN)
        now = timezone.now()
        with tenant(found):
            keys, zone, health = list_keys(found), calendar(found).zone_at(now).key, _health(found)
        return OrganizationDetail(
            id=found.pk,
            url=self.url_of(found),
            name=found.name,
            slug=found.slug,
            state=found.state,
            created_at=found.created_at,
            closes_at=found.closes_at,
            zone=zone,
            requires_second_factor=found.requires_second_factor,
            limits=(Limit("Events are kept", found.retention_months, settings.RETENTION_MONTHS, "months"),),
            health=health,
            search=search,
            members=_members(members, self.url_of(found)),
            members_count=count,
            keys=tuple(_key(key) for key in keys[:KEYS_SHOWN]),
            keys_count=len(keys),
            may_suspend=found.state == State.ACTIVE,
            may_reinstate=found.state == State.SUSPENDED,
            state_reason="" if act == "look" else typed(request, "reason"),
            look=_look_form(request, act),
            act=act,
            error=error,
        )


def _look(request: HttpRequest, org: Organization) -> HttpResponse:
    minutes = typed(request, "minutes", 3)
    begun = impersonation.begin(
        org=org,
        email=typed(request, "email", 300),
        reason=typed(request, "reason"),
        minutes=int(minutes) if is_id(minutes) else 0,
        operator=operator_of(request),
    )
    start_looking(request, begun)
    return HttpResponseRedirect(reverse("portal:overview", args=[org.slug]))


def _look_form(request: HttpRequest, act: str) -> LookForm:
    minutes = typed(request, "minutes", 3)
    return LookForm(
        email=typed(request, "email", 300) or str(request.GET.get("as", ""))[:300],
        reason=typed(request, "reason") if act == "look" else "",
        minutes=int(minutes) if is_id(minutes) else impersonation.MINUTES[0],
        choices=impersonation.MINUTES,
    )


def _health(org: Organization) -> Health:
    queue = backlog(org)
    return Health(
        last_event_at=last_event_at(org),
        waiting=queue.waiting,
        waiting_max=BACKLOG_COUNTED,
        rolled_at=queue.rolled_at,
        reratings=tuple((one.state, one.created_at, one.reason) for one in open_reratings(org)),
        failing=count_failing(org, since=timezone.now() - FAILING_WITHIN),
        channels_disabled=list_channels(org).exclude(state=Channel.State.ACTIVE).count(),
    )


def _members(rows: list[Membership], here: str) -> tuple[StaffMember, ...]:
    protected = with_second_factor(row.user_id for row in rows)
    return tuple(
        StaffMember(
            email=row.user.email,
            url=reverse("admin:accounts_user_change", args=[row.user_id]),
            role=ROLE_LABELS[row.role],
            has_second_factor=row.user_id in protected,
            is_active=row.user.is_active,
            is_operator=row.user.is_operator,
            joined_at=row.joined_at,
            look_url=""
            if row.user.is_operator or not row.user.is_active
            else f"{here}?{urlencode({'as': row.user.email})}#look",
        )
        for row in rows
    )


def _key(key: ApiKey) -> StaffKey:
    is_expired = key.expires_at is not None and key.expires_at <= timezone.now()
    return StaffKey(
        name=key.name,
        hint=key.hint,
        scopes=tuple(key.scopes),
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        ended="revoked" if key.revoked_at else "expired" if is_expired else "",
    )
