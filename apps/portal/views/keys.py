"""API keys: what each may do, issuing, rotating, revoking. A secret is shown once, by the answer that made it."""

from datetime import timedelta

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect

from apps.core.errors import DomainError, NotFound
from apps.core.tenancy import tenant
from apps.organizations import services
from apps.organizations.models import ApiKey
from apps.organizations.permissions import SCOPE_MEANS, Permission, Scope
from apps.organizations.selectors import PINS, key_by_id, list_keys
from apps.organizations.services import IssuedKey
from apps.portal.access import Visit, organization_page
from apps.portal.pages import Crumb
from apps.portal.pages_people import KeyForm, KeyRow, KeysPage, NewKeyPage, PinField, RotateForm, ScopeChoice
from apps.portal.pages_prices import FormError
from apps.portal.views.joining import first_event_page
from apps.teams.selectors import list_projects, list_teams

ENDED_SHOWN = 50
SUGGESTED = 500
EXPIRES_SOON = timedelta(days=7)
OVERLAPS = {"0": "at once", "3600": "in an hour", "86400": "in a day", "604800": "in a week"}
DEFAULT_SCOPES = (Scope.INGEST,)


@organization_page(section="keys", permission=Permission.VIEW_KEYS)
def keys(visit: Visit) -> HttpResponse:
    with tenant(visit.org):
        rows = [_row(visit, key) for key in list_keys(visit.org)]
    ended = [row for row in rows if row.state != "active"]
    page = KeysPage(
        active=tuple(row for row in rows if row.state == "active"),
        ended=tuple(ended[:ENDED_SHOWN]),
        ended_shown=min(len(ended), ENDED_SHOWN),
        ended_count=len(ended),
        may_manage=visit.may(Permission.MANAGE_KEYS),
    )
    return visit.render("portal/keys.html", frame=visit.frame("API keys", Crumb("API keys")), keys=page)


def _row(visit: Visit, key: ApiKey) -> KeyRow:
    has_expired = key.expires_at is not None and key.expires_at <= visit.at
    state = "revoked" if key.revoked_at else "expired" if has_expired else "active"
    below = visit.url_below("keys", str(key.pk))
    return KeyRow(
        name=key.name,
        hint=key.hint,
        scopes=tuple(key.scopes),
        pins=tuple((pin, value) for pin in PINS if (value := getattr(key, pin)) is not None),
        created_at=key.created_at,
        created_by=key.created_by,
        expires_at=key.expires_at,
        expires_soon=key.expires_at is not None and key.expires_at - visit.at < EXPIRES_SOON,
        last_used_at=key.last_used_at,
        state=state,
        ended_at=key.revoked_at or (key.expires_at if has_expired else None),
        rotate_url=f"{below}/rotate",
        revoke_url=f"{below}/revoke",
        spend_url=visit.url("spend", {"api_key": str(key.pk)}),
    )


_form_page = organization_page(
    section="keys", permission=Permission.MANAGE_KEYS, writes=Permission.MANAGE_KEYS, is_sensitive=True
)


@_form_page
def key_new(visit: Visit) -> HttpResponse:
    given: dict[str, str] = {}
    scopes, error = [str(scope) for scope in DEFAULT_SCOPES], None
    if visit.request.method == "POST":
        post = visit.request.POST
        given = {name: str(post.get(name, ""))[:300].strip() for name in ("name", "expires", *PINS)}
        scopes = [str(scope)[:20] for scope in post.getlist("scopes")[: len(Scope)]]
        try:
            return _shown(visit, _issue(visit, given, scopes))
        except DomainError as wrong:
            error = FormError.of(wrong)
    crumbs = (Crumb("API keys", visit.url("keys")), Crumb("New"))
    form = _form(visit, given, scopes, error)
    return visit.render("portal/key_new.html", frame=visit.frame("New API key", *crumbs), form=form, error=error)


def _issue(visit: Visit, given: dict[str, str], scopes: list[str]) -> IssuedKey:
    expires = given["expires"]
    expires_at = visit.day_start(expires) if expires else None
    if expires and expires_at is None:
        raise DomainError("expiry_invalid", f"'{expires}' is no date: write one like 2027-01-31.", param="expires_at")
    return services.issue_key(
        org=visit.org,
        name=given["name"],
        scopes=scopes,
        actor=visit.user,
        expires_at=expires_at,
        **{pin: given[pin] or None for pin in PINS},
    )


def _form(visit: Visit, given: dict[str, str], scopes: list[str], error: FormError | None) -> KeyForm:
    with tenant(visit.org):
        known = {
            "team": tuple(team.slug for team in list_teams(visit.org)[:SUGGESTED]),
            "project": tuple(project.slug for project, _ in list_projects(visit.org, visit.at)[:SUGGESTED]),
        }
    return KeyForm(
        name=given.get("name", ""),
        scopes=tuple(ScopeChoice(scope, SCOPE_MEANS[scope], scope in scopes) for scope in Scope),
        pins=tuple(PinField(pin, pin.capitalize(), given.get(pin, ""), known.get(pin, ())) for pin in PINS),
        expires=given.get("expires", ""),
        error=error,
    )


@_form_page
def key_rotate(visit: Visit, key_id: int) -> HttpResponse:
    """A new key in the place of this one, which works on for a while."""
    key = _active_key(visit, key_id)
    if visit.request.method == "POST":
        overlap = str(visit.request.POST.get("overlap", ""))
        if overlap not in OVERLAPS:
            raise DomainError("overlap_unknown", "Choose from the list when the old key stops working.")
        issued, old = services.rotate_key(
            org=visit.org, key_id=key_id, overlap=timedelta(seconds=int(overlap)), actor=visit.user
        )
        return _shown(visit, issued, old)
    crumbs = (Crumb("API keys", visit.url("keys")), Crumb(key.name))
    form = RotateForm(key.name, key.hint, tuple(OVERLAPS.items()), key.last_used_at)
    return visit.render("portal/key_rotate.html", frame=visit.frame(f"Rotate {key.name}", *crumbs), form=form)


@organization_page(
    section="keys", permission=Permission.MANAGE_KEYS, writes=Permission.MANAGE_KEYS, is_act=True, is_sensitive=True
)
def key_revoke(visit: Visit, key_id: int) -> HttpResponse:
    key = services.revoke_key(org=visit.org, key_id=key_id, actor=visit.user)
    messages.info(visit.request, f"{key.name} ({key.hint}) is refused from its next request on.")
    return HttpResponseRedirect(visit.url("keys"))


def _active_key(visit: Visit, key_id: int) -> ApiKey:
    with tenant(visit.org):
        key = key_by_id(visit.org, key_id)
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= visit.at):
        raise NotFound("API key")
    return key


def _shown(visit: Visit, issued: IssuedKey, old: ApiKey | None = None) -> HttpResponse:
    first = first_event_page(visit, issued.secret)
    page = NewKeyPage(
        name=issued.key.name,
        secret=issued.secret,
        scopes=tuple(issued.key.scopes),
        old_hint=old.hint if old else "",
        old_until=old.expires_at if old and not old.revoked_at else None,
        back_url=visit.url("keys"),
        first=first if first.last_event_at is None and Scope.INGEST in issued.key.scopes else None,
    )
    crumbs = (Crumb("API keys", visit.url("keys")), Crumb(issued.key.name))
    return visit.render("portal/key_shown.html", frame=visit.frame("Copy the key", *crumbs), key=page)
