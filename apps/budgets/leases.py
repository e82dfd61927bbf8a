"""Leases: a slice of budgets that one client uses call by call without asking, for exact dimensions.

A lease is a reservation. Events that carry its id use it up; what no event has used stays held until 30 s after its
expiry. The client's deadline lies before ours (it counts from before it asked), so it never grants on what is over.
"""

from decimal import Decimal
from uuid import UUID

from apps.budgets import sql
from apps.budgets.decisions import Asked, Decision, decide, reservation_of
from apps.budgets.models import Reservation
from apps.core.tenancy import tenant
from apps.organizations.selectors import Principal


def take(principal: Principal, asked: Asked) -> Decision:
    """Like `decide`, for the amount in `asked.estimate_usd` and `asked.steps` steps of its run."""
    return decide(principal, asked)


def renew(
    principal: Principal, lease_id: UUID, *, request_id: str, amount_usd: Decimal, ttl_seconds: int, fingerprint: bytes
) -> Decision:
    """A fresh amount and a new expiry for a lease that is not over, or a deny that leaves it as it is.

    Raises `NotFound` and what `decide` raises.
    """
    lease = reservation_of(principal, lease_id, "lease")
    kept = lease.answer["asked"]
    asked = Asked(
        **{**kept, "tags": dict(kept["tags"])},
        request_id=request_id,
        kind="renewal",
        lease_id=str(lease_id),
        estimate_usd=amount_usd,
        ttl_seconds=ttl_seconds,
        fingerprint=fingerprint,
    )
    return decide(principal, asked)


def give_back(principal: Principal, lease_id: UUID, *, unused_usd: Decimal, unused_steps: int) -> Reservation:
    """What no call has used is free at once; the rest is held for events on their way. Twice changes nothing.

    Raises `NotFound`.
    """
    reservation_of(principal, lease_id, "lease")
    org = principal.organization
    with tenant(org):
        sql.return_lease(org.pk, lease_id, unused_usd, unused_steps)
    return reservation_of(principal, lease_id, "lease")
