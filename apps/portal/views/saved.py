"""Views of the explorer that people save, and what becomes of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect, QueryDict

from apps.core.errors import DomainError, NotFound
from apps.organizations.permissions import Permission
from apps.portal.access import Visit, organization_page
from apps.portal.audit_words import who
from apps.portal.explorer import Asked, read_asked
from apps.portal.filters import label_of, names_of_keys
from apps.portal.pages import Crumb
from apps.portal.pages_spend import ViewRow, ViewsPage
from apps.portal.ranges import query_string
from apps.reports import views
from apps.reports.models import View

NAME_TYPED_MAX = 300


@organization_page(section="spend", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND, within_team=True)
def saved_views(visit: Visit) -> HttpResponse:
    """The list, and with `save` a form for the address that it holds."""
    if visit.request.method != "POST":
        return _render(visit, visit.request.GET.get("save", ""))
    given = visit.request.POST
    asked = _asked(visit, given.get("query", ""))
    try:
        views.save_view(
            org=visit.org,
            actor=visit.user,
            name=given.get("name", ""),
            query=_query(asked),
            is_shared="shared" in given,
        )
    except DomainError as error:
        return _render(visit, given.get("query", ""), error=error)
    return HttpResponseRedirect(visit.url("spend", asked.parameters))


@organization_page(
    section="spend", permission=Permission.VIEW_SPEND, writes=Permission.VIEW_SPEND, is_act=True, within_team=True
)
def saved_view_act(visit: Visit, view_id: int, act: str) -> HttpResponse:
    whose: dict[str, Any] = {
        "org": visit.org, "view_id": view_id, "actor": visit.user, "may_manage": visit.may(Permission.MANAGE_MEMBERS),
    }  # fmt: skip
    if act in ("rename", "take"):
        name = visit.request.POST.get("name", "")
        try:
            views.change_view(**whose, name=name) if act == "rename" else views.take_view(**whose)
        except NotFound:
            raise
        except DomainError as error:
            return _render(visit, "", renamed=(view_id, name[:NAME_TYPED_MAX], error.detail))
    elif act in ("share", "unshare"):
        views.share_view(**whose, is_shared=act == "share")
    elif act == "delete":
        views.delete_view(**whose)
    else:
        raise NotFound("act")
    return HttpResponseRedirect(visit.url("views"))


def _asked(visit: Visit, query: str) -> Asked:
    """What an address asks, as the explorer reads it: nothing else is saved."""
    return read_asked(visit, QueryDict(query))


def _query(asked: Asked) -> str:
    return query_string(asked.parameters).removeprefix("?")


def _render(
    visit: Visit, query: str, *, error: DomainError | None = None, renamed: tuple[int, str, str] | None = None
) -> HttpResponse:
    asked = _asked(visit, query)
    given = visit.request.POST if error else QueryDict()
    found = views.list_views(visit.org, visit.user, visit.teams)
    page = ViewsPage(
        rows=_rows(visit, found, renamed),
        query=_query(asked) if query else "",
        shown=_words(asked),
        name=given.get("name", "")[:NAME_TYPED_MAX],
        is_shared="shared" in given,
        error=error.detail if error else "",
        explorer_url=visit.url("spend"),
    )
    crumbs = (Crumb("Explorer", visit.url("spend")), Crumb("Views"))
    return visit.render("portal/views.html", frame=visit.frame("Views", *crumbs), views=page, error=error or renamed)


def _rows(visit: Visit, found: Sequence[View], renamed: tuple[int, str, str] | None) -> tuple[ViewRow, ...]:
    key_names = names_of_keys(visit.org, ["api_key"], visit.teams) if any(view.made_by_key for view in found) else {}
    gone = views.left_by(visit.org, found)
    return tuple(_row(visit, view, renamed, key_names, gone) for view in found)


def _row(
    visit: Visit,
    view: View,
    renamed: tuple[int, str, str] | None,
    key_names: Mapping[str, str],
    gone: Collection[int],
) -> ViewRow:
    is_own = view.maker_id == visit.user.pk
    may_change = is_own or visit.may(Permission.MANAGE_MEMBERS)
    name, error = (renamed[1], renamed[2]) if renamed and renamed[0] == view.pk else (view.name, "")
    return ViewRow(
        name=name,
        url=f"{visit.url('spend')}?{view.query}",
        maker=None if is_own else who(view.made_by, key_names),
        has_left=view.maker_id in gone,
        is_shared=view.is_shared,
        may_hide=not view.made_by_key,
        act_url=f"{visit.url('views')}/{view.pk}" if may_change else None,
        error=error,
    )


def _words(asked: Asked) -> str:
    """What an address shows, in a sentence's words."""
    groups = " and ".join(label_of(name).lower() for name in asked.groups)
    kept = [f"{label_of(name).lower()} {value or 'none'}" for name, value in asked.filters.only.items()]
    kept += [
        f"{label_of(name).lower()} not {value or 'none'}"
        for name, values in asked.filters.but.items()
        for value in values
    ]
    moves = asked.span.preset is not None
    when = f"{asked.span.label}, moving on with time" if moves else asked.span.label
    return f"Spend by {groups}, {when}{'; ' if kept else ''}{', '.join(kept)}"
