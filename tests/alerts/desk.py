"""An organization whose clock the test turns, and whose crossings it writes."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from apps.alerts import services
from apps.alerts.channels import create_channel
from apps.alerts.models import Channel, Delivery
from apps.alerts.services import Clock
from apps.budgets.models import Crossing
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from tests.api.tenants import make_org
from tests.database import as_worker

FACTS = {
    "budget": "Search, monthly",
    "budget_id": 7,
    "scope": {"team": "search"},
    "period_start": "2026-11-01T00:00:00+00:00",
    "period_end": "2026-12-01T00:00:00+00:00",
    "limit_usd": "100.000000000000",
    "spent_usd": "80.123456000000",
    "held_usd": "1.500000000000",
    "threshold": 80,
    "mode": "block",
}


@dataclass
class Desk:
    """An organization whose clock the test turns."""

    org: Organization = field(default_factory=make_org)
    now: datetime = field(default_factory=timezone.now)

    def channel(self, kind: str, target: str, **fields: Any) -> Channel:
        fields = {"name": f"{kind} {uuid4().hex}", **fields}
        made = create_channel(org=self.org, actor=None, kind=kind, target=target, **fields)
        self.now = max(self.now, made.active_since)
        return made

    def cross(
        self, kind: str = "threshold", severity: str = "warning", team: str | None = None, **facts: Any
    ) -> Crossing:
        with tenant(self.org):
            return Crossing.objects.for_org(self.org).create(
                organization_id=self.org.pk,
                crossing_id=uuid4(),
                kind=kind,
                subject=uuid4().hex,
                severity=severity,
                team=team,
                budget_id=7,
                crossed_at=self.now,
                facts={**FACTS, **facts},
            )

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, jitter=lambda: 0)

    def work(self) -> int:
        """What a worker does at a tick."""
        with as_worker():
            return services.work(self.org.pk, clock=self.clock)

    def later(self, **duration: float) -> int:
        self.now += timedelta(**duration)
        return self.work()

    def deliveries(self) -> list[Delivery]:
        with tenant(self.org):
            return list(Delivery.objects.for_org(self.org).order_by("created_at", "delivery_id"))

    def delivery(self) -> Delivery:
        (found,) = self.deliveries()
        return found

    def reread(self, channel: Channel) -> Channel:
        with tenant(self.org):
            return Channel.objects.for_org(self.org).get(pk=channel.pk)
