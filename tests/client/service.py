"""The service as its contract describes it, on a real socket, with faults at will."""

import gzip
import json
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

Body = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    at: float
    port: int


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of, or after, being answered."""

    status: int = 0
    body: bytes = b'{"code": "store_unavailable", "detail": "The store is away."}'
    headers: tuple[tuple[str, str], ...] = ()
    reset: bool = False
    commit: bool = False
    wait: threading.Event | None = None


AWAY = Fault(503)
AWAY_FOR_LONG = Fault(503, headers=(("Retry-After", "60"),))
RESET = Fault(reset=True)
LOST_ANSWER = Fault(reset=True, commit=True)


@dataclass
class Service:
    """What it was asked, what it has stored, and what it is to say next."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    events: dict[str, Body] = field(default_factory=dict)
    duplicates: int = 0
    released: set[str] = field(default_factory=set)
    returned: dict[str, str] = field(default_factory=dict)
    allowances: dict[tuple[str, str], Body] = field(default_factory=dict)
    answers: dict[str, Body] = field(default_factory=dict)
    decision: Body = field(default_factory=dict)
    lease: Body = field(default_factory=dict)
    rejects: Callable[[Body], Body | None] = lambda _event: None
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Fault] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def to(self, path: str) -> list[Request]:
        """What was asked at this path, or below it."""
        return [request for request in self.requests if request.path == path or request.path.startswith(path + "/")]

    def fault(self, path: str) -> Fault | None:
        name = path.split("/")[0]
        with self.lock:
            return self.faults[name].popleft() if self.faults[name] else self.always.get(name)

    def answer(self, request: Request) -> tuple[int, Body]:
        with self.lock:
            match [request.method, *request.path.split("/")]:
                case ["POST", "events"]:
                    return 202, self._store(request.body)
                case ["POST", "decisions"]:
                    return 200, self._once(request.body, self._decided)
                case ["POST", "reservations", held, "release"]:
                    self.released.add(held)
                    return 200, {"status": "released"}
                case ["POST", "leases"]:
                    return 200, self._once(request.body, self._leased)
                case ["POST", "leases", _, "renew"]:
                    return 200, self._once(request.body, self._leased)
                case ["POST", "leases", held, "return"]:
                    self.returned[held] = request.body["unused_usd"]
                    return 200, {"status": "held"}
                case ["POST", "unavailable-allowances"]:
                    self.allowances[request.body["from"], request.body["to"]] = request.body
                    return 200, {"status": "noted"}
                case ["PUT", "runs", _]:
                    return 200, {"status": request.body["status"]}
        return 404, {"code": "not_found", "detail": f"{request.path} is not here."}

    def _once(self, body: Body, made: Callable[[Body], Body]) -> Body:
        key = body["request_id"]
        if key not in self.answers:
            answer = made(body)
            if answer.get("decision") == "deny":
                return answer
            self.answers[key] = answer
        return self.answers[key]

    def _decided(self, body: Body) -> Body:
        return {
            "decision": "allow", "reservation_id": uuid4().hex, "expires_at": "2026-01-01T00:00:00Z",
            "held_usd": body.get("estimate_usd", "0.5"), "provider": body["provider"], "model": body["model"],
            "reasons": [], "budgets": [], **self.decision,
        }  # fmt: skip

    def _leased(self, body: Body) -> Body:
        return {
            "decision": "allow", "lease_id": uuid4().hex, "amount_usd": body["amount_usd"],
            "ttl_seconds": body["ttl_seconds"], "expires_at": "2026-01-01T00:00:00Z", "run": None, "reasons": [],
            "budgets": [], **self.lease,
        }  # fmt: skip

    def _store(self, events: list[Body]) -> Body:
        results = []
        for index, event in enumerate(events):
            if (refused := self.rejects(event)) is not None:
                results.append({"index": index, "event_id": event["event_id"], "status": "rejected", **refused})
            elif event["event_id"] in self.events:
                assert self.events[event["event_id"]] == event
                self.duplicates += 1
                results.append({"index": index, "event_id": event["event_id"], "status": "duplicate"})
            else:
                self.events[event["event_id"]] = event
        return {"accepted": len(events) - len(results), "results": results}

    def cost_of(self, field_name: str) -> Decimal:
        return sum((Decimal(event[field_name]) for event in self.events.values()), Decimal(0))


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    class Handler(_Handler):
        state = service

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(
            self.command,
            self.path.removeprefix("/api/v1/"),
            _read(content, self.headers),
            dict(self.headers.items()),
            time.monotonic(),
            self.client_address[1],
        )
        fault = self.state.fault(request.path)
        self.state.requests.append(request)
        if fault is None:
            self._say(*self.state.answer(request))
            return
        if fault.wait is not None:
            fault.wait.wait(30)
        if fault.commit:
            self.state.answer(request)
        if fault.reset:
            # Closing with a linger of 0 seconds sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self._send(fault.status, fault.body, fault.headers)

    do_PUT = do_POST

    def _say(self, status: int, body: Body) -> None:
        self._send(status, json.dumps(body).encode(), ())

    def _send(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            return  # the client went away, or we cut it off

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            return

    def log_message(self, format: str, *args: Any) -> None:
        return


def _read(content: bytes, headers: Any) -> Any:
    if headers.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    if headers.get("Content-Type") == "application/x-ndjson":
        return [json.loads(line) for line in content.splitlines()]
    return json.loads(content or b"null")
