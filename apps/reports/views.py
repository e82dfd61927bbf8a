"""Views of the explorer that people save: a name for an address, for oneself or for the organization."""

from collections.abc import Collection, Sequence
from urllib.parse import parse_qs

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.accounts.models import User
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Organization
from apps.reports.models import NAME_LENGTH_MAX, QUERY_LENGTH_MAX, View

VIEWS_MAX = 100
# Of other people, on one page.
SHARED_SHOWN = 200


def list_views(org: Organization, person: User, teams: Collection[str] | None = None) -> Sequence[View]:
    """A person's own views, then what others share, by name.

    `teams` are those of a team lead, who gets of others only what is filtered by one of them.
    """
    with tenant(org):
        found = View.objects.for_org(org).select_related("maker").order_by("name", "pk")
        own = list(found.filter(maker=person))
        others = list(found.filter(is_shared=True).exclude(maker=person)[:SHARED_SHOWN])
    if teams is not None:
        others = [view for view in others if _team_of(view) in teams]
    return [*own, *others]


def _team_of(view: View) -> str | None:
    asked = parse_qs(view.query, keep_blank_values=True).get("team")
    return asked[-1] if asked else None


def save_view(*, org: Organization, person: User, name: str, query: str, is_shared: bool) -> View:
    """Raises `DomainError` (`view_name_invalid`, `view_name_taken`, `view_query_invalid`, `too_many_views`)."""
    name, at = _name(name), timezone.now()
    if len(query) > QUERY_LENGTH_MAX:
        raise DomainError(
            "view_query_invalid",
            f"The address is {len(query)} characters long, {QUERY_LENGTH_MAX} at most: take some filters away.",
            param="query",
        )
    with tenant(org):
        # First, so that two that are saved at once queue here and are looked at one after the other.
        _record(org, person, "saved", name, {"query": query, "shared": is_shared})
        own = View.objects.for_org(org).filter(maker=person)
        if own.count() >= VIEWS_MAX:
            raise DomainError("too_many_views", f"You have {VIEWS_MAX} views already: delete one first.", param="name")
        _check_free(own, name)
        return View.objects.for_org(org).create(
            organization=org,
            maker=person,
            name=name,
            query=query,
            is_shared=is_shared,
            created_at=at,
            changed_at=at,
        )


def rename_view(*, org: Organization, view_id: int, person: User, may_manage: bool, name: str) -> View:
    """`may_manage`: others' shared views too. Raises `NotFound`, or `DomainError` as for a new one."""
    name = _name(name)
    with tenant(org):
        _record(org, person, "renamed", name, {"view": view_id})
        view = _changeable(org, view_id, person, may_manage)
        _check_free(View.objects.for_org(org).filter(maker=view.maker).exclude(pk=view.pk), name)
        view.name, view.changed_at = name, timezone.now()
        view.save(update_fields=["name", "changed_at"])
    return view


def share_view(*, org: Organization, view_id: int, person: User, may_manage: bool, is_shared: bool) -> View:
    """Show it to the organization, or to its maker alone. Raises `NotFound`."""
    with tenant(org):
        view = _changeable(org, view_id, person, may_manage)
        _record(org, person, "shared" if is_shared else "unshared", view.name, {"view": view.pk})
        view.is_shared, view.changed_at = is_shared, timezone.now()
        view.save(update_fields=["is_shared", "changed_at"])
    return view


def delete_view(*, org: Organization, view_id: int, person: User, may_manage: bool) -> None:
    """Raises `NotFound`."""
    with tenant(org):
        view = _changeable(org, view_id, person, may_manage)
        _record(org, person, "deleted", view.name, {"view": view.pk, "query": view.query})
        view.delete()


def _changeable(org: Organization, view_id: int, person: User, may_manage: bool) -> View:
    whose = Q(maker=person) | Q(is_shared=True) if may_manage else Q(maker=person)
    found = View.objects.for_org(org).select_for_update().filter(whose, pk=view_id).first()
    if found is None:
        raise NotFound("view")
    return found


def _name(text: str) -> str:
    name = text.strip()
    if not is_name(name, NAME_LENGTH_MAX):
        raise DomainError(
            "view_name_invalid",
            f"A name has 1 to {NAME_LENGTH_MAX} characters, no control ones; this one has {len(name)}.",
            param="name",
        )
    return name


def _check_free(views: QuerySet[View], name: str) -> None:
    if views.filter(name=name).exists():
        raise DomainError("view_name_taken", f"There is a view '{name}' already: choose another name.", param="name")


def _record(org: Organization, person: User, act: str, name: str, data: dict[str, object]) -> None:
    audit.record(org=org, actor=person, action=f"views.{act}", subject=name, data=data)
