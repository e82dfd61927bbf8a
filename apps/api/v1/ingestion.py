"""POST /api/v1/events: a plain view, since it is the hot one."""

from collections.abc import Iterator

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from apps.alerts.tasks import hint_tell
from apps.api.authentication import authenticate, require_scope
from apps.api.errors import Problem, problem_of
from apps.api.v1.events import EventsView
from apps.ingest.body import inflate
from apps.ingest.record import read_batch
from apps.ingest.services import BatchResult, EventResult, accept_batch, window_for
from apps.organizations.permissions import Scope
from apps.usage import tasks

CHUNK_BYTES = 64 * 1024
_list_events = EventsView.as_view()


@csrf_exempt
def events(request: HttpRequest) -> HttpResponse:
    """POST stores events; GET finds them."""
    if request.method != "POST":
        return _list_events(request)
    try:
        return _ingest(request)
    except Exception as error:  # whatever it is, the caller is told in the API's own form
        return problem_of(error).response(request)


def _ingest(request: HttpRequest) -> HttpResponse:
    principal = authenticate(request)
    require_scope(principal, Scope.INGEST)
    if "Transfer-Encoding" in request.headers and "Content-Length" not in request.headers:
        raise Problem(411, "length_required", "Send a Content-Length: a body in chunks of unknown length is not read.")
    received_at = timezone.now()
    body = inflate(_chunks(request), request.headers.get("Content-Encoding"))
    batch = read_batch(body, request.headers.get("Content-Type"), window_for(principal, received_at))
    result = accept_batch(principal=principal, items=batch.items, received_at=received_at)
    if result.accepted:
        tasks.hint_roll_up(principal.organization.pk)
    if result.crossed:
        hint_tell(principal.organization.pk)
    return HttpResponse(_json(result, batch.warnings), status=202, content_type="application/json")


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    while chunk := request.read(CHUNK_BYTES):
        yield chunk


def _json(result: BatchResult, warnings: list[str]) -> bytes:
    return msgspec.json.encode(
        {
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "conflicts": result.conflicts,
            "rejected": result.rejected,
            "unpriced": result.unpriced,
            "results": [_result(one) for one in result.results],
            **({"warnings": warnings} if warnings else {}),
        }
    )


def _result(one: EventResult) -> dict[str, object]:
    fields = {"code": one.code, "param": one.param, "detail": one.detail}
    return {
        "index": one.index,
        "event_id": one.event_id,
        "status": one.status,
        **{name: value for name, value in fields.items() if value is not None},
    }
