from typing import Any, cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.api.authentication import require_scope
from apps.organizations.selectors import Principal


class HasScope(BasePermission):
    """The key has the scope that the view declares for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        # HEAD is answered by get.
        scope = view.scopes.get("GET" if request.method == "HEAD" else request.method)
        if scope is not None:
            require_scope(cast("Principal", request.auth), scope)
        return True
