"""Decisions, reservations, leases and runs: plain views, since agents wait for them before every call."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from apps.alerts.tasks import hint_tell
from apps.api.authentication import authenticate, forget, recognise, remember, require_scope
from apps.api.errors import Problem, problem_of
from apps.api.v1.runs import RunView, checked_run_id
from apps.budgets import decisions, leases, runs, services
from apps.budgets.decisions import Decision
from apps.budgets.models import Reservation, RunTally
from apps.core.errors import DomainError
from apps.core.metrics import DECISIONS
from apps.core.money import usd_text
from apps.core.retry import with_retries
from apps.core.tenancy import impatient
from apps.ingest.asking import (
    DecisionRequest,
    ExtendRequest,
    LeaseRequest,
    ReleaseRequest,
    RenewalRequest,
    ReturnRequest,
    RunRequest,
    UngovernedRequest,
    asked_of_decision,
    asked_of_lease,
    fingerprint,
    read,
    usd,
)
from apps.ingest.settling import settle as settle_event
from apps.organizations.permissions import Scope
from apps.organizations.selectors import Principal
from apps.usage import tasks

BODY_BYTES_MAX = 64 * 1024

View = Callable[..., HttpResponse]
Answer = Mapping[str, Any]


def plain_view(scope: Scope, method: str = "POST", *, hot: bool = False) -> Callable[[Callable[..., Answer]], View]:
    """A view that takes one JSON object from a key and answers one; every error is in the API's own form.

    `hot` ones know the key from memory, since what they ask checks it, and answer within a second or say that they
    cannot.
    """

    def decorate(answer: Callable[..., Answer]) -> View:
        @csrf_exempt
        @wraps(answer)
        def view(request: HttpRequest, **named: Any) -> HttpResponse:
            try:
                if request.method != method:
                    detail = f"{request.method} is not for {request.path}: use {method}."
                    raise Problem(405, "method_not_allowed", detail, headers={"Allow": method})
                with impatient() if hot else nullcontext():
                    principal = recognise(request) if hot else authenticate(request)
                    require_scope(principal, scope)
                    said = answer(principal, request, **named)
                    if hot:
                        remember(request, principal)
            except Exception as error:  # whatever it is, the caller is told in the API's own form
                if hot:
                    forget(request)
                return problem_of(error).response(request)
            return HttpResponse(msgspec.json.encode(said), content_type="application/json")

        return view

    return decorate


@plain_view(Scope.DECIDE, hot=True)
def decide(principal: Principal, request: HttpRequest) -> Answer:
    asked = asked_of_decision(read(_body(request), DecisionRequest))
    return decision_json(_told(principal, decisions.decide(principal, asked)))


def _told(principal: Principal, decision: Decision) -> Decision:
    """The decision, counted; people are told of what it crossed without waiting for the next tick."""
    DECISIONS.add(decision.decision)
    if decision.crossed:
        hint_tell(principal.organization.pk)
    return decision


@plain_view(Scope.DECIDE)
def settle(principal: Principal, request: HttpRequest, reservation_id: UUID) -> Answer:
    settled = settle_event(principal=principal, reservation_id=reservation_id, body=_body(request), at=timezone.now())
    if settled.is_new:
        tasks.hint_roll_up(principal.organization.pk)
    if settled.crossed:
        hint_tell(principal.organization.pk)
    return {**settled_json(settled.reservation), "event": settled.event}


@plain_view(Scope.DECIDE)
def release(principal: Principal, request: HttpRequest, reservation_id: UUID) -> Answer:
    read(_body(request), ReleaseRequest)
    return settled_json(with_retries(lambda: decisions.release(principal, reservation_id)))


@plain_view(Scope.DECIDE)
def extend(principal: Principal, request: HttpRequest, reservation_id: UUID) -> Answer:
    ttl_seconds = read(_body(request), ExtendRequest).ttl_seconds
    row = with_retries(lambda: decisions.extend(principal, reservation_id, ttl_seconds))
    return {**settled_json(row), "expires_at": row.expires_at}


@plain_view(Scope.DECIDE, hot=True)
def take_lease(principal: Principal, request: HttpRequest) -> Answer:
    asked = asked_of_lease(read(_body(request), LeaseRequest))
    return lease_json(_told(principal, leases.take(principal, asked)), asked.ttl_seconds)


@plain_view(Scope.DECIDE)
def renew_lease(principal: Principal, request: HttpRequest, lease_id: UUID) -> Answer:
    asked = read(_body(request), RenewalRequest)
    ttl_seconds = asked.ttl_seconds or 30
    decision = leases.renew(
        principal,
        lease_id,
        request_id=asked.request_id,
        amount_usd=usd(asked.amount_usd, "amount_usd"),
        ttl_seconds=ttl_seconds,
        fingerprint=fingerprint(asked),
    )
    return lease_json(_told(principal, decision), ttl_seconds)


@plain_view(Scope.DECIDE)
def return_lease(principal: Principal, request: HttpRequest, lease_id: UUID) -> Answer:
    asked = read(_body(request), ReturnRequest)
    unused_usd = usd(asked.unused_usd, "unused_usd")
    row = with_retries(
        lambda: leases.give_back(principal, lease_id, unused_usd=unused_usd, unused_steps=asked.unused_steps or 0)
    )
    return {**settled_json(row), "release_at": row.release_at}


@plain_view(Scope.DECIDE)
def report_ungoverned(principal: Principal, request: HttpRequest) -> Answer:
    asked = read(_body(request), UngovernedRequest)
    services.report_ungoverned(
        principal=principal,
        events=asked.events,
        amount_usd=usd(asked.amount_usd, "amount_usd"),
        start=asked.start,
        end=asked.end,
        reason=asked.reason or "",
    )
    hint_tell(principal.organization.pk)
    return {"status": "noted"}


@plain_view(Scope.INGEST, "PUT")
def put_run(principal: Principal, request: HttpRequest, run_id: str) -> Answer:
    asked = read(_body(request), RunRequest)
    row = with_retries(
        lambda: runs.put_run(
            org=principal.organization,
            run_id=checked_run_id(run_id),
            status=asked.status,
            outcome=asked.outcome,
            units=asked.units,
        )
    )
    return run_json(row, row)


_read_run = RunView.as_view()


@csrf_exempt
def run(request: HttpRequest, run_id: str) -> HttpResponse:
    """PUT says that a run is running or ended; GET reads it."""
    return put_run(request, run_id=run_id) if request.method == "PUT" else _read_run(request, run_id=run_id)


def run_json(run: RunTally, root: RunTally) -> Answer:
    return {
        "run_id": run.run_id,
        "parent_run_id": run.parent_run_id,
        "root_run_id": run.root_run_id,
        "depth": run.depth,
        "status": "running" if run.ended_at is None else "ended",
        "outcome": run.outcome,
        "units": run.units,
        "started_at": run.started_at,
        "last_at": run.last_at,
        "ended_at": run.ended_at,
        "children": run.children,
        "steps": root.steps,
        "spent_usd": usd_text(root.spent_usd),
        "held_usd": usd_text(root.held_usd),
        "overrun_usd": usd_text(root.overrun_usd),
        "reached": root.reached,
    }


def decision_json(decision: Decision) -> Answer:
    return {
        "decision": decision.decision,
        "reservation_id": decision.reservation_id,
        "expires_at": decision.expires_at,
        "held_usd": decision.held_usd,
        "provider": decision.provider,
        "model": decision.model,
        "reasons": decision.reasons,
        "budgets": decision.budgets,
    }


def lease_json(decision: Decision, ttl_seconds: int) -> Answer:
    return {
        "decision": decision.decision,
        "lease_id": decision.reservation_id,
        "amount_usd": decision.held_usd,
        "ttl_seconds": None if decision.reservation_id is None else ttl_seconds,
        "expires_at": decision.expires_at,
        "provider": decision.provider,
        "model": decision.model,
        "run": decision.run,
        "reasons": decision.reasons,
        "budgets": decision.budgets,
    }


def settled_json(row: Reservation) -> Answer:
    return {
        "reservation_id": row.reservation_id,
        "status": "settled_late" if row.state == "settled" and row.is_late else row.state,
        "held_usd": usd_text(row.granted_usd if row.state == "settled" else row.held_usd),
        "cost_usd": usd_text(row.cost_usd),
        "overrun_usd": usd_text(row.overrun_usd),
    }


def _body(request: HttpRequest) -> bytes:
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    if length > BODY_BYTES_MAX:
        raise DomainError("body_too_large", f"The body has {length} bytes: send at most {BODY_BYTES_MAX}.")
    body: bytes = request.read(BODY_BYTES_MAX + 1)
    return body
