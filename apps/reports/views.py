"""Views of the explorer that people save: a name for an address, for oneself or for the organization.

Whoever changes one is a person or a key of the organization. A key is nobody's: it sees and changes what is shared.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.accounts.models import User
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations.models import Membership, Organization
from apps.organizations.selectors import Principal
from apps.reports.models import NAME_LENGTH_MAX, View
from apps.reports.view_queries import check_length

VIEWS_MAX = 100
# Of other people, on one page.
SHARED_SHOWN = 200

Actor = User | Principal


def list_views(org: Organization, person: User, teams: Collection[str] | None = None) -> Sequence[View]:
    """A person's own views, then what others share, by name.

    `teams` are those of a team lead, who gets of others only what is filtered by one of them.
    """
    with tenant(org):
        found = View.objects.for_org(org).select_related("maker").order_by("name", "pk")
        shared = found.filter(is_shared=True).exclude(maker=person)
        if teams is not None:
            shared = shared.filter(_filtered_by("team", teams))
        return [*found.filter(maker=person), *shared[:SHARED_SHOWN]]


def find_shared(org: Organization, *, within: Mapping[str, str], after: tuple[str, int], limit: int) -> Sequence[View]:
    """Shared views that are filtered by each of `within`, by name and id, those after a name and an id."""
    name, number = after
    with tenant(org):
        found = _shared(org, within).filter(Q(name__gt=name) | Q(name=name, pk__gt=number))
        return list(found.order_by("name", "pk")[:limit])


def shared_view(org: Organization, view_id: int, *, within: Mapping[str, str]) -> View:
    """Raises `NotFound`, too where it is not filtered by each of `within`."""
    with tenant(org):
        found = _shared(org, within).filter(pk=view_id).first()
    if found is None:
        raise NotFound("view")
    return found


def _shared(org: Organization, within: Mapping[str, str]) -> QuerySet[View]:
    filtered = [_filtered_by(name, [value]) for name, value in within.items()]
    return View.objects.for_org(org).select_related("maker").filter(*filtered, is_shared=True)


def _filtered_by(name: str, values: Collection[str]) -> Q:
    """Queries that show one of these values alone. They are kept in one spelling, so that text finds them."""
    said = "|".join(re.escape(urlencode({name: value})) for value in values)
    return Q(query__regex=rf"(^|&)({said})(&|$)")


def save_view(*, org: Organization, actor: Actor, name: str, query: str, is_shared: bool) -> View:
    """Raises `DomainError` (`view_name_invalid`, `view_name_taken`, `view_query_invalid`, `too_many_views`)."""
    name, at = _name(name), timezone.now()
    check_length(query)
    with tenant(org):
        # First, so that two that are saved at once queue here and are looked at one after the other.
        _record(org, actor, "saved", name, {"query": query, "shared": is_shared})
        own = View.objects.for_org(org).filter(maker=_person(actor))
        _check_room(own, actor)
        _check_free(own, name)
        return View.objects.for_org(org).create(
            organization=org,
            maker=_person(actor),
            made_by_key="" if _person(actor) else str(actor),
            name=name,
            query=query,
            is_shared=is_shared,
            created_at=at,
            changed_at=at,
        )


def change_view(
    *,
    org: Organization,
    view_id: int,
    actor: Actor,
    may_manage: bool,
    name: str | None = None,
    query: str | None = None,
) -> View:
    """Another name, another query. `may_manage`: of others' shared views too.

    Raises `NotFound`, or `DomainError` as for a new one.
    """
    given = {"name": None if name is None else _name(name), "query": query}
    changes: dict[str, str] = {field: value for field, value in given.items() if value is not None}
    check_length(changes.get("query", ""))
    with tenant(org):
        view = _changeable(org, view_id, actor, may_manage)
        act = "changed" if "query" in changes else "renamed"
        _record(org, actor, act, changes.get("name", view.name), {"view": view_id, **changes})
        if "name" in changes:
            _check_free(View.objects.for_org(org).filter(maker=view.maker).exclude(pk=view.pk), changes["name"])
        for field, value in changes.items():
            setattr(view, field, value)
        view.changed_at = timezone.now()
        view.save(update_fields=[*changes, "changed_at"])
    return view


def share_view(*, org: Organization, view_id: int, actor: Actor, may_manage: bool, is_shared: bool) -> View:
    """Show it to the organization, or to its maker alone. Raises `NotFound`, `DomainError` (`view_of_a_key`)."""
    with tenant(org):
        view = _changeable(org, view_id, actor, may_manage)
        if view.maker is None and not is_shared:
            raise DomainError("view_of_a_key", f"A key made the view '{view.name}': it is shared, or deleted.")
        _record(org, actor, "shared" if is_shared else "unshared", view.name, {"view": view.pk})
        view.is_shared, view.changed_at = is_shared, timezone.now()
        view.save(update_fields=["is_shared", "changed_at"])
    return view


def take_view(*, org: Organization, view_id: int, actor: User, may_manage: bool) -> View:
    """Make a shared view one's own, whose maker is no member any more.

    Raises `NotFound` for any other, or `DomainError` (`view_name_taken`, `too_many_views`).
    """
    with tenant(org):
        view = _changeable(org, view_id, actor, may_manage)
        if view.maker is None or view.maker_id not in left_by(org, [view]):
            raise NotFound("view")
        _record(org, actor, "taken", view.name, {"view": view.pk, "made_by": view.maker.email})
        own = View.objects.for_org(org).filter(maker=actor)
        _check_room(own, actor)
        _check_free(own, view.name)
        view.maker, view.changed_at = actor, timezone.now()
        view.save(update_fields=["maker", "changed_at"])
    return view


def left_by(org: Organization, views: Iterable[View]) -> set[int]:
    """People who made these views and are no members any more."""
    makers = {view.maker_id for view in views if view.maker_id is not None}
    members = Membership.objects.filter(organization=org, user__in=makers).values_list("user_id", flat=True)
    return makers - set(members)


def delete_view(*, org: Organization, view_id: int, actor: Actor, may_manage: bool) -> None:
    """Raises `NotFound`."""
    with tenant(org):
        view = _changeable(org, view_id, actor, may_manage)
        _record(org, actor, "deleted", view.name, {"view": view.pk, "query": view.query})
        view.delete()


def _changeable(org: Organization, view_id: int, actor: Actor, may_manage: bool) -> View:
    whose = Q(maker__isnull=False, maker=_person(actor))
    if may_manage:
        whose |= Q(is_shared=True)
    # The row alone: its maker is joined and may be missing, which cannot be locked.
    found = View.objects.for_org(org).select_related("maker").select_for_update(of=("self",))
    view = found.filter(whose, pk=view_id).first()
    if view is None:
        raise NotFound("view")
    return view


def _person(actor: Actor) -> User | None:
    return actor if isinstance(actor, User) else None


def _name(text: str) -> str:
    name = text.strip()
    if not is_name(name, NAME_LENGTH_MAX):
        raise DomainError(
            "view_name_invalid",
            f"A name has 1 to {NAME_LENGTH_MAX} characters, no control ones; this one has {len(name)}.",
            param="name",
        )
    return name


def _check_room(own: QuerySet[View], actor: Actor) -> None:
    if own.count() >= VIEWS_MAX:
        whose = "You have" if _person(actor) else "Keys have made"
        raise DomainError("too_many_views", f"{whose} {VIEWS_MAX} views already: delete one first.", param="name")


def _check_free(views: QuerySet[View], name: str) -> None:
    if views.filter(name=name).exists():
        raise DomainError("view_name_taken", f"There is a view '{name}' already: choose another name.", param="name")


def _record(org: Organization, actor: Actor, act: str, name: str, data: dict[str, object]) -> None:
    audit.record(org=org, actor=actor, action=f"views.{act}", subject=name, data=data)
