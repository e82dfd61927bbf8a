from dataclasses import replace

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from structlog.contextvars import bind_contextvars

from apps.api.throttling import require_rate
from apps.core.errors import DomainError
from apps.core.retry import with_retries
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal, principal_for
from apps.organizations.services import LAST_USED_PRECISION, note_use

SCHEME = "bearer"
RECOGNISED_MAX = 10_000

_recognised: dict[str, Principal] = {}


def authenticate(request: HttpRequest) -> Principal:
    """Who calls. Raises `DomainError` (`key_missing`, `key_invalid`, `rate_limited`, ...)."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != SCHEME or not secret.strip():
        raise DomainError("key_missing", "Send the API key as `Authorization: Bearer aif_live_...`.")
    at = timezone.now()
    principal = with_retries(lambda: principal_for(secret.strip(), at=at))
    _say(principal)
    require_rate(principal.key_id)
    note_use(principal, at=at)
    return principal


def _say(principal: Principal) -> None:
    """Every further line of the request says whose it is."""
    bind_contextvars(organization_id=principal.organization.pk, key_id=principal.key_id)


def recognise(request: HttpRequest) -> Principal:
    """Who calls, as this process last knew them: only for statements that check key and organization themselves.

    Raises like `authenticate`.
    """
    header = request.headers.get("Authorization", "")
    found = _recognised.get(header)
    at = timezone.now()
    if found is None:
        found = replace(authenticate(request), last_used_at=at)
        if len(_recognised) >= RECOGNISED_MAX:
            _recognised.clear()
    else:
        _say(found)
        require_rate(found.key_id)
        if found.last_used_at is None or at - found.last_used_at >= LAST_USED_PRECISION:
            note_use(found, at=at)
            found = replace(found, last_used_at=at)
    _recognised[header] = found
    return found.apart()


def remember(request: HttpRequest, principal: Principal) -> None:
    """Keep what an answered request has learned of its organization for the next ones."""
    _recognised[request.headers.get("Authorization", "")] = principal


def forget(request: HttpRequest) -> None:
    """Look the caller up again next time."""
    _recognised.pop(request.headers.get("Authorization", ""), None)


def require_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.scopes:
        raise DomainError(
            "scope_missing",
            f"This needs the scope '{scope}'; the key '{principal.key_name}' has"
            f" {', '.join(sorted(principal.scopes))}.",
        )


class ApiKeyAuthentication(BaseAuthentication):
    """REST framework's side of `authenticate`: `request.auth` is the principal."""

    def authenticate(self, request: Request) -> tuple[None, Principal]:
        return None, authenticate(request._request)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'
