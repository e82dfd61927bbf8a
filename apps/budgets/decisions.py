"""The answer before a call: allow, downgrade or deny, and money held for what is allowed.

`decide` finds what the call falls under and what it may cost (in memory), and asks Postgres in one statement to hold
that everywhere or to say where it does not fit. A deny holds nothing and is an answer like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone

from apps.budgets import sql
from apps.budgets.estimates import INPUT, OUTPUT, Planned, estimate
from apps.budgets.history import usual_cost
from apps.budgets.models import Reservation
from apps.budgets.rules import TAG, Downgrade, lowered
from apps.budgets.watch import Watch, load_watch
from apps.budgets.wording import worded
from apps.core.errors import DomainError, NotFound
from apps.core.money import rate_from_usd_per_million
from apps.core.retry import with_retries
from apps.core.tenancy import HasPk, ask, org_id_of, tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import PINS, Principal, recheck
from apps.organizations.services import note_budgeted
from apps.pricing.catalog import canonical_provider
from apps.pricing.cost import Price
from apps.pricing.rating import RateBook
from apps.pricing.selectors import recent_catalog
from apps.teams.attribution import (
    Attribution,
    Names,
    attribute,
    first_match,
    given_by,
    lacks_a_name,
)
from apps.teams.attribution import call_of as call_for_rules
from apps.usage.facts import load_facts

LEASE_GRACE_SECONDS = 30
# Each round answers something that the one before could not know: facts, the period, a cheaper model, freed holds.
ROUNDS_MAX = 10
FREED_AT_ONCE = 500
KEPT_OF_LEASE = (
    "provider", "model", "team", "project", "workflow", "user", "task_type", "environment", "tags", "service_tier",
    "run_id", "parent_run_id", "steps",
)  # fmt: skip
ESTIMATE_NEEDED = {
    "code": "estimate_needed",
    "budget_id": None,
    "detail": "Send estimate_usd, or input_tokens and max_output_tokens: this step has no history to estimate it by.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks leave for. `quantities` follow METERS; `steps`: those of a lease for a run."""

    request_id: str
    provider: str
    model: str
    kind: str = "call"
    team: str | None = None
    project: str | None = None
    workflow: str | None = None
    user: str | None = None
    task_type: str | None = None
    environment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    service_tier: str | None = None
    run_id: str | None = None
    parent_run_id: str | None = None
    step: int | None = None
    attempt: int = 1
    tool_call_hash: str | None = None
    steps: int | None = None
    lease_id: str | None = None
    estimate_usd: Decimal | None = None
    quantities: tuple[int, ...] | None = None
    ttl_seconds: int = 600
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class Decision:
    """`reasons` say why not, or why another model; amounts in `budgets` and `run` are decimal strings.

    `crossed`: people are to be told of it.
    """

    decision: str
    reservation_id: str | None
    expires_at: datetime | None
    held_usd: str | None
    provider: str
    model: str
    reasons: Sequence[Mapping[str, Any]]
    budgets: Sequence[Mapping[str, Any]]
    run: Mapping[str, Any] | None = None
    crossed: bool = False


@dataclass(frozen=True, slots=True)
class _Question:
    """What Postgres is asked: the call as the rules see it, its estimate, and the budgets that it falls under."""

    parameters: tuple[str]
    planned: Planned
    book: RateBook
    downgrades: Mapping[int, Downgrade]


def decide(principal: Principal, asked: Asked) -> Decision:
    """Decide once for a request id: an allow is repeated as it was for a day, a deny is looked at again.

    Raises `DomainError` (`pinned_dimension`, `request_id_conflict`, `facts_changing`) and `StoreUnavailable`; it never
    guesses.
    """
    at = timezone.now()
    asked = pinned(principal, asked)
    because: list[dict[str, Any]] = []
    may_free, crossed = True, False
    for _ in range(ROUNDS_MAX):
        org = principal.organization
        watch = load_watch(org)
        question = _question(principal, asked, watch, at, because, may_free)
        if isinstance(question, Decision):
            version = org.facts_version
            recheck(principal, at=timezone.now())
            if org.facts_version == version:
                return question
            continue
        said = msgspec.json.decode(_ask(org, question))
        verdict = said["verdict"]
        if verdict in ("granted", "replayed"):
            if not org.is_budgeted:
                note_budgeted(org)
            return replace(granted(said["answer"]), crossed=crossed)
        if verdict == "conflict":
            raise DomainError(
                "request_id_conflict",
                f"The request_id '{asked.request_id}' was used for another request within a day: use a new one.",
                param="request_id",
            )
        if verdict == "stale":
            recheck(principal, at=timezone.now())
        elif verdict == "clock":
            at = datetime.fromisoformat(said["now"])
        elif verdict == "downgrade":
            changed = _downgraded(asked, question, said["budgets"], watch, because)
            if isinstance(changed, Decision):
                return changed
            asked = changed
        else:
            crossed = crossed or said["crossed"]
            if not (said["due"] and may_free):
                refused = denied(asked, worded(said["reasons"], watch.budgets.name_of), shown(said["budgets"]))
                return replace(refused, crossed=crossed)
            # Looked at again without the holds whose time is over.
            may_free = False
            with_retries(partial(free_due, org))
    raise DomainError("facts_changing", "Budgets kept changing while this was decided: send the same request again.")


def _ask(org: Organization, question: _Question) -> str:
    said: str = with_retries(lambda: ask(org, "SELECT budgets_reserve(%s::jsonb)::text", question.parameters))
    return said


def _question(
    principal: Principal,
    asked: Asked,
    watch: Watch,
    at: datetime,
    because: Sequence[Mapping[str, Any]],
    may_free: bool,
) -> _Question | Decision:
    """The question to Postgres, or the deny that needs none."""
    org = principal.organization
    facts = load_facts(org)
    book = facts.book(recent_catalog())
    provider = canonical_provider(asked.provider)
    where = _where(principal, asked, provider, facts.names, at)
    planned = Planned(provider, asked.model, asked.service_tier or "", asked.quantities, asked.estimate_usd)
    call = call_of(principal, asked, where, provider)
    over = watch.budgets.over(call, watch.calendar, at)
    found = estimate(planned, book, org.unpriced_policy, at)
    hold = found.hold_usd
    if hold is None:
        hold = usual_cost(
            org, workflow=where.workflow, step=asked.step, task_type=asked.task_type, provider=provider,
            model=asked.model,
        )  # fmt: skip
        if hold is None:
            return denied(asked, [ESTIMATE_NEEDED], ())
    reasons = list(because)
    if not found.is_priced:
        reason = _unpriced(asked, provider)
        is_capped = any(one.mode == "block" for one, _ in over) or (watch.has_bounds and asked.run_id is not None)
        if is_capped and found.basis != "ceiling" and org.unpriced_policy != Organization.UnpricedPolicy.ALLOW:
            return denied(asked, [reason], ())
        reasons.append(reason)
    downgrades = {
        one.id: one.downgrade_to
        for one, _ in over
        if one.downgrade_to is not None and not within(one.downgrade_to, planned, book, at)
    }
    parameters = {
        "org": org.pk,
        "facts_version": org.facts_version,
        "key_id": principal.key_id,
        "request_id": asked.request_id,
        "fingerprint": asked.fingerprint.hex(),
        "kind": asked.kind,
        "lease_id": asked.lease_id,
        "ttl_seconds": asked.ttl_seconds,
        "grace_seconds": 0 if asked.kind == "call" else LEASE_GRACE_SECONDS,
        "hold_usd": hold,
        "is_free": found.is_free,
        "may_free": may_free,
        "watch": [key._asdict() for _, key in over],
        "downgrades": list(downgrades),
        "stops": {"team": where.team, "workflow": where.workflow, "key": str(principal.key_id), "run": asked.run_id},
        "run": _run(asked, where),
        "call": {name: value for name, value in call.items() if value is not None},
        "answer": {
            "decision": "downgrade" if because else "allow",
            "provider": asked.provider,
            "model": asked.model,
            "reasons": reasons,
            "basis": found.basis,
            **({"asked": _kept(asked)} if asked.kind == "lease" else {}),
        },
    }
    return _Question((sql.json_text(parameters),), planned, book, downgrades)


def _where(principal: Principal, asked: Asked, provider: str, names: Names, at: datetime) -> Attribution:
    """Where the event of this call would be attributed."""
    where = attribute(asked.team, asked.project, asked.workflow, names, at)
    if not names.rules or not lacks_a_name(where):
        return where
    call = call_for_rules(
        workflow=asked.workflow,
        user=asked.user,
        api_key=principal.key_id,
        environment=asked.environment,
        provider=provider,
        model=asked.model,
        task_type=asked.task_type,
        tags=asked.tags,
    )
    return given_by(first_match(names.rules, call), where, names, at)


def _kept(asked: Asked) -> dict[str, Any]:
    """What a renewal of a lease asks for again."""
    kept = {name: getattr(asked, name) for name in KEPT_OF_LEASE}
    return {**kept, "tags": dict(asked.tags)}


def _run(asked: Asked, where: Attribution) -> dict[str, Any] | None:
    if asked.run_id is None:
        return None
    return {
        "run_id": asked.run_id,
        "parent_run_id": asked.parent_run_id,
        "workflow": where.workflow,
        "workflow_id": where.workflow_id,
        "team": where.team if where.team_id else None,
        "step": asked.step,
        "attempt": asked.attempt,
        "tool": asked.tool_call_hash,
        "steps": asked.steps,
    }


def call_of(principal: Principal, asked: Asked, where: Attribution, provider: str) -> dict[str, str | None]:
    """A planned call as scopes name it, in the words of `booking.call_of`."""
    return {
        "team": where.team if where.team_id else None,
        "project": where.project if where.project_id else None,
        "workflow": where.workflow if where.workflow_id else None,
        "user": asked.user,
        "api_key": str(principal.key_id),
        "task_type": asked.task_type,
        "provider": lowered(provider),
        "model": lowered(asked.model),
        "environment": asked.environment,
        **{TAG + name: value for name, value in asked.tags.items()},
    }


def pinned(principal: Principal, asked: Asked) -> Asked:
    """The call with the key's own team, project and environment. Raises `DomainError` (`pinned_dimension`)."""
    pins = {name: pin for name in PINS if (pin := getattr(principal, name)) is not None}
    if not pins:
        return asked
    aliases = load_facts(principal.organization).names.aliases
    for name, pin in pins.items():
        claimed = getattr(asked, name)
        if claimed is not None and aliases.get((name, claimed), claimed) != aliases.get((name, pin), pin):
            raise DomainError(
                "pinned_dimension",
                f"This key belongs to {name} '{pin}' and cannot decide for '{claimed}'.",
                param=name,
            )
    return replace(asked, **pins)


# --- downgrades ------------------------------------------------------------------------------------------


def within(most: Downgrade, planned: Planned, book: RateBook, at: datetime) -> bool:
    """Whether a budget that allows cheaper models only allows this one: the named model, or none of its rates for
    input and output is above the named model's or the named prices.
    """
    if most.model and (planned.provider, planned.model.lower()) == (most.provider, most.model.lower()):
        return True
    limits = _rates(book.price(most.provider, most.model, "", "", at)) if most.model else _named_rates(most)
    rates = _rates(book.price(planned.provider, planned.model, planned.service_tier, "", at))
    return all(
        rate is not None and limit is not None and rate <= limit for rate, limit in zip(rates, limits, strict=True)
    )


def _rates(price: Price | None) -> tuple[int | None, int | None]:
    """Input and output, micro-USD per million tokens: the highest of any length of prompt."""
    if price is None:
        return None, None
    dearest = [[card.rates[index] for card in price.cards] for index in (INPUT, OUTPUT)]
    found = [None if None in rates else max(rate for rate in rates if rate is not None) for rates in dearest]
    return found[0], found[1]


def _named_rates(most: Downgrade) -> tuple[int | None, int | None]:
    assert most.input_usd is not None
    assert most.output_usd is not None
    return rate_from_usd_per_million(most.input_usd), rate_from_usd_per_million(most.output_usd)


def _downgraded(
    asked: Asked, question: _Question, budgets: Sequence[Mapping[str, Any]], watch: Watch, because: list[dict[str, Any]]
) -> Asked | Decision:
    """The call with the model that a used-up budget sends it to, or the deny where it names none."""
    for shown_budget in budgets:
        most = question.downgrades[shown_budget["budget_id"]]
        name = watch.budgets.name_of(shown_budget["budget_id"])
        reason = {"code": "downgraded", **shown_budget}
        if most.model:
            reason["detail"] = f"Budget '{name}' is used up and sends calls to {most.provider}/{most.model}."
            because.append(reason)
            return replace(asked, provider=most.provider, model=most.model)
        reason["code"] = "model_too_expensive"
        reason["detail"] = (
            f"Budget '{name}' is used up and allows models up to {most.input_usd} USD per million input and"
            f" {most.output_usd} USD per million output tokens: ask with such a model."
        )
        return denied(asked, [reason], shown(budgets))
    raise AssertionError("a downgrade without a budget")


def _unpriced(asked: Asked, provider: str) -> dict[str, Any]:
    return {
        "code": "unpriced_model",
        "budget_id": None,
        "detail": f"No price is known for {provider}/{asked.model}: map its name, add a contract with its price, or"
        " change what the organization does with unpriced models.",
    }


# --- answers ---------------------------------------------------------------------------------------------


def granted(answer: Mapping[str, Any]) -> Decision:
    """A decision as it was kept with its reservation."""
    return Decision(
        decision=answer["decision"],
        reservation_id=answer["reservation_id"],
        expires_at=datetime.fromisoformat(answer["expires_at"]),
        held_usd=answer["held_usd"],
        provider=answer["provider"],
        model=answer["model"],
        reasons=answer["reasons"],
        budgets=shown(answer["budgets"]),
        run=answer.get("run"),
    )


def denied(asked: Asked, reasons: Sequence[Mapping[str, Any]], budgets: Sequence[Mapping[str, Any]]) -> Decision:
    return Decision("deny", None, None, None, asked.provider, asked.model, reasons, budgets)


def shown(budgets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Budgets as the API shows them."""
    return [
        {"id": one["budget_id"], **{name: value for name, value in one.items() if name != "budget_id"}}
        for one in budgets
    ]


# --- afterwards ------------------------------------------------------------------------------------------


def free_due(org: HasPk | int) -> int:
    """Let go of holds whose time is over; how many were."""
    freed = 0
    while True:
        with tenant(org):
            count = sql.free_due(org_id_of(org), FREED_AT_ONCE)
        freed += count
        if count < FREED_AT_ONCE:
            return freed


def reservation_of(principal: Principal, reservation_id: UUID, kind: str = "call") -> Reservation:
    """A reservation of the organization, as it is now; a pinned key sees its own. Raises `NotFound`."""
    org = principal.organization
    with tenant(org):
        row = Reservation.objects.for_org(org).filter(reservation_id=reservation_id, kind=kind).first()
    if row is None or (is_pinned(principal) and row.key_id != principal.key_id):
        raise NotFound("reservation" if kind == "call" else "lease")
    return row


def release(principal: Principal, reservation_id: UUID) -> Reservation:
    """Give back what is held for a call that was not made. Raises `NotFound`, `DomainError` (`reservation_<state>`)."""
    org = principal.organization
    row = reservation_of(principal, reservation_id)
    if row.state == "held":
        with tenant(org):
            sql.free(org.pk, [reservation_id], "released")
        row = reservation_of(principal, reservation_id)
    if row.state != "released":
        raise closed(row)
    return row


def extend(principal: Principal, reservation_id: UUID, ttl_seconds: int) -> Reservation:
    """Hold for `ttl_seconds` from now. Raises `NotFound`, `DomainError` (`reservation_<state>`)."""
    org = principal.organization
    row = reservation_of(principal, reservation_id)
    with tenant(org):
        expires_at = sql.extend(org.pk, reservation_id, ttl_seconds)
    if expires_at is None:
        row = reservation_of(principal, reservation_id)
        raise closed(row)
    row.expires_at = expires_at
    return row


def closed(row: Reservation) -> DomainError:
    # A hold whose time is over is as good as expired, whether or not it was let go of yet.
    state = "expired" if row.state == "held" else row.state
    return DomainError(
        f"reservation_{state}", f"The reservation {row.reservation_id} is {state}: ask for a new decision."
    )


def is_pinned(principal: Principal) -> bool:
    return any(getattr(principal, name) is not None for name in PINS)
