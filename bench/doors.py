"""The two ways to the caps: the site's HTTP, and the statements that its views send."""

import http.client
import json
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec

BUSY = {502, 503, 504}


class RefusedError(Exception):
    """An answer that no agent expects."""


class Http:
    """A connection of its own, made anew when the process behind it is killed."""

    def __init__(self, url: str, secret: str) -> None:
        self.host = urlsplit(url).netloc
        self.headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self.connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return until_answered(lambda: self._once(path, json.dumps(body).encode()))

    def _once(self, path: str, body: bytes) -> dict[str, Any] | None:
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=30)
            self.connection.request("POST", f"/api/v1/{path}", body, self.headers)
            response = self.connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            return None
        if response.status in BUSY:
            return None
        if response.status >= 400:
            raise RefusedError(f"{path}: {response.status} {text.decode()[:500]}")
        answer: dict[str, Any] = json.loads(text)
        return answer


class Straight:
    """The same questions without a web server: what the views ask of Postgres, in this process."""

    def __init__(self, principal: Any) -> None:
        self.principal = principal

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        from django.db import OperationalError, connection

        from apps.core.errors import DomainError
        from apps.core.retry import StoreUnavailable

        answer, name = self._act(path.split("/"))

        def once() -> dict[str, Any] | None:
            try:
                said: dict[str, Any] = answer(name, json.dumps(body).encode())
            except (OperationalError, StoreUnavailable):
                return None
            except DomainError as error:
                if error.code != "facts_changing":
                    raise
                return None
            finally:
                connection.close()  # to the pool, as at the end of a request
            return said

        return until_answered(once)

    def _act(self, steps: list[str]) -> tuple[Callable[[Any, bytes], Any], Any]:
        if len(steps) == 1:
            return {"decisions": self._decide, "leases": self._take, "events": self._send}[steps[0]], None
        _, name, act = steps
        acts = {"settle": self._settle, "release": self._release, "extend": self._extend, "return": self._return}
        return acts[act], uuid.UUID(name)

    def _decide(self, _: None, body: bytes) -> Any:
        from apps.api.v1.decisions import decision_json
        from apps.budgets.decisions import decide
        from apps.ingest.asking import DecisionRequest, asked_of_decision, read

        return decision_json(decide(self.principal, asked_of_decision(read(body, DecisionRequest))))

    def _take(self, _: None, body: bytes) -> Any:
        from apps.api.v1.decisions import lease_json
        from apps.budgets.leases import take
        from apps.ingest.asking import LeaseRequest, asked_of_lease, read

        asked = asked_of_lease(read(body, LeaseRequest))
        return lease_json(take(self.principal, asked), asked.ttl_seconds)

    def _send(self, _: None, body: bytes) -> Any:
        from apps.ingest.record import read_batch
        from apps.ingest.services import accept_batch, window_for

        now = datetime.now(UTC)
        batch = read_batch(body, "application/json", window_for(self.principal, now))
        return msgspec.to_builtins(accept_batch(principal=self.principal, items=batch.items, received_at=now))

    def _settle(self, name: uuid.UUID, body: bytes) -> Any:
        from apps.api.v1.decisions import settled_json
        from apps.ingest.settling import settle

        now = datetime.now(UTC)
        return settled_json(settle(principal=self.principal, reservation_id=name, body=body, at=now).reservation)

    def _release(self, name: uuid.UUID, body: bytes) -> Any:
        from apps.budgets import sql
        from apps.core.tenancy import tenant

        with tenant(self.principal.organization):
            sql.free(self.principal.organization.pk, [name], "released")
        return {}

    def _extend(self, name: uuid.UUID, body: bytes) -> Any:
        from apps.budgets import sql
        from apps.core.tenancy import tenant

        with tenant(self.principal.organization):
            sql.extend(self.principal.organization.pk, name, json.loads(body)["ttl_seconds"])
        return {}

    def _return(self, name: uuid.UUID, body: bytes) -> Any:
        from apps.budgets.leases import give_back

        give_back(self.principal, name, unused_usd=Decimal(json.loads(body)["unused_usd"]), unused_steps=0)
        return {}


def until_answered(ask: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """`ask` answers None while nobody does: a worker was killed, or the store says that it is busy."""
    for attempt in range(600):
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(min(0.5, 0.01 * 2 ** min(attempt, 6)))
    raise RefusedError("Nobody answered for five minutes.")
