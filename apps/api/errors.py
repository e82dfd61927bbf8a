"""Every error of the API: RFC 9457 problem+json with a stable `code` and the request's id."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from apps.api.throttling import seconds_left
from apps.core.errors import DomainError, NotFound
from apps.core.retry import StoreUnavailable
from apps.ingest.body import BodyError

log = structlog.get_logger(__name__)

# Codes of domain errors that are not a plain 400.
_STATUS = {
    "key_missing": 401,
    "key_invalid": 401,
    "key_revoked": 401,
    "key_expired": 401,
    "organization_suspended": 403,
    "organization_closing": 403,
    "owner_only": 403,
    "person_only": 403,
    "scope_missing": 403,
    "scope_beyond_own": 403,
    "pin_beyond_own": 403,
    "expiry_beyond_own": 403,
    "pinned_dimension": 403,
    "not_found": 404,
    "slug_taken": 409,
    "name_known": 409,
    "already_member": 409,
    "invitation_used": 409,
    "last_owner": 409,
    "owner_already": 409,
    "person_inactive": 409,
    "key_ended": 409,
    "no_move_ahead": 409,
    "rate_missing": 409,
    "too_many_rules": 422,
    "contract_ended": 409,
    "rerating_active": 409,
    "rerating_not_previewed": 409,
    "rerating_not_running": 409,
    "rerating_not_stopped": 409,
    "rerating_stale": 409,
    "budget_ended": 409,
    "raise_decided": 409,
    "raise_expired": 409,
    "request_id_conflict": 409,
    "event_conflict": 409,
    "reservation_settled": 409,
    "reservation_released": 409,
    "reservation_expired": 409,
    "reservation_returned": 409,
    "facts_changing": 503,
    "name_taken": 409,
    "channel_disabled": 409,
    "channel_without_secret": 409,
    "delivery_sent": 409,
    "delivery_under_way": 409,
    "too_many_channels": 422,
    "too_many_invitations": 422,
    "too_many_keys": 422,
    "view_name_taken": 409,
    "too_many_views": 422,
    "too_many_exports": 422,
    "export_not_ready": 409,
    "tests_waiting": 409,
    "too_many_tests": 409,
    "rate_limited": 429,
    "body_too_large": 413,
    "query_too_slow": 422,
    "events_deleted": 422,
    "too_many_lines": 422,
    "month_closed": 409,
    "recommendation_answered": 409,
    "trial_inconclusive": 422,
    "dispute_open": 409,
    "dispute_answered": 409,
    "dispute_window_over": 409,
    "month_not_final": 409,
    "mail_under_way": 409,
    "address_bounced": 409,
    "too_many_recipients": 409,
    "month_not_over": 409,
    "month_not_ready": 409,
    "too_many_rates": 422,
    "incident_ended": 409,
    "too_many_marks": 422,
    "bill_too_large": 413,
    "invoice_known": 409,
    "invoice_trued_up": 409,
    "nothing_to_true_up": 409,
    "too_many_invoices": 422,
    "too_many_mappings": 422,
    "plan_changed": 409,
    "plan_retired": 409,
    "plan_approved": 409,
    "plan_not_approved": 409,
    "plan_unpriced": 409,
    "plan_live_already": 409,
    "too_much_to_compare": 422,
    "too_many_plans": 422,
    "too_many_versions": 422,
    "runs_missing": 422,
}
RETRY_AFTER_SECONDS = 2
# A refusal may repeat the value that it refuses, of which this much says enough.
DETAIL_LENGTH_MAX = 500


class Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = _writable(detail)
        self.param = None if param is None else _writable(param)
        self.headers = headers or {}

    def body(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **({"param": self.param} if self.param else {}),
            "instance": request.path,
            "request_id": request.META.get("finops.request_id", ""),
        }

    def response(self, request: HttpRequest) -> JsonResponse:
        response = JsonResponse(self.body(request), status=self.status, content_type="application/problem+json")
        for name, value in self.headers.items():
            response[name] = value
        return response


def _writable(text: str) -> str:
    """Half of a surrogate pair, which a JSON name may hold, has no place in an answer's UTF-8."""
    return text.encode(errors="replace").decode()


def problem_of(error: Exception) -> Problem:
    """The answer to any error; one that nobody expected is logged and says nothing of itself."""
    match error:
        case Problem():
            return error
        case DomainError():
            status = _STATUS.get(error.code, 400)
            return Problem(status, error.code, error.detail, param=error.param, headers=_headers(status))
        case BodyError():
            return Problem(error.status, error.code, error.detail)
        case StoreUnavailable() | OperationalError() | InterfaceError():
            return Problem(
                503,
                "store_unavailable",
                "The store does not answer now. Send the same request again: an event counts once.",
                headers=_headers(503),
            )
        case RequestDataTooBig():
            limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
            return Problem(413, "body_too_large", f"The body is too large: send at most {limit} bytes.")
        case TooManyFieldsSent():
            limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            return Problem(400, "parameter_invalid", f"The address has more than {limit} parameters.")
        case UnreadablePostError():
            return Problem(400, "body_unreadable", "The body broke off. Send the same request again.")
        case Http404():
            return problem_of(NotFound("resource"))
        case exceptions.APIException():
            return _from_framework(error)
    log.exception("unexpected error", exc_info=error)
    return Problem(500, "internal_error", "Something failed on our side; it was logged under this request_id.")


def problem_from_exception(error: Exception, context: dict[str, Any]) -> Response:
    """REST framework's exception handler."""
    problem = problem_of(error)
    return Response(
        problem.body(context["request"]._request),
        status=problem.status,
        headers=dict(problem.headers),
        content_type="application/problem+json",
    )


def _headers(status: int) -> dict[str, str]:
    match status:
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="api"'}
        case 429:
            return {"Retry-After": str(seconds_left())}
        case 503:
            return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


def _from_framework(error: exceptions.APIException) -> Problem:
    if isinstance(error, exceptions.ValidationError):
        param, detail = _first_fault(error.detail)
        named = None if param is None else param[:DETAIL_LENGTH_MAX]
        return Problem(400, "invalid", detail[:DETAIL_LENGTH_MAX], param=named)
    code = {
        405: "method_not_allowed",
        406: "not_acceptable",
        415: "unsupported_media_type",
        400: "not_json",
    }.get(error.status_code, "error")
    headers = {name: str(value) for name, value in getattr(error, "headers", {}).items()}
    return Problem(error.status_code, code, str(error.detail), headers=headers)


def _first_fault(detail: Any, path: str = "") -> tuple[str | None, str]:
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        joined = f"{path}.{name}" if path else str(name)
        return _first_fault(inner, path if name == "non_field_errors" else joined)
    if isinstance(detail, list):
        return _first_fault(detail[0], path)
    return path or None, str(detail)


def not_found(request: HttpRequest) -> JsonResponse:
    return Problem(404, "not_found", f"There is no {request.path}. The API is described at /api/v1/docs.").response(
        request
    )
