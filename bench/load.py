"""Clients of the decision road: connections kept alive, or threads on Postgres, in processes of their own.

Latencies are seconds. A closed loop asks again as soon as it is answered; an open loop asks at a fixed rate whatever
the answers do, and counts a latency from the instant at which the request was due.
"""

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

PROCESSES_MAX = 2
ALLOWED = b'"decision":"allow"'


@dataclass(frozen=True, slots=True)
class Timed:
    """What one process measured, between two instants of the monotonic clock."""

    began: float
    ended: float
    latencies: list[float]


@dataclass(frozen=True, slots=True)
class Measured:
    per_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to ask. `users`: decisions are spread over so many."""

    address: str
    path: str
    secret: str
    users: int


class Client(asyncio.Protocol):
    """One connection that has at most one request on its way."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator or len(body) < _length_of(bytes(head)):
            return
        if not head.startswith(b"HTTP/1.1 200") or ALLOWED not in body:
            self.fail(RuntimeError(f"{bytes(head[:80])!r} {bytes(body[:400])!r}"))
        elif self.answered is not None:
            self.answered.set_result(None)
        self.received = bytearray()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(error or ConnectionResetError("The server closed the connection."))

    def fail(self, error: Exception) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(error)

    async def ask(self, request: bytes) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self.answered


def _length_of(head: bytes) -> int:
    name = b"\r\ncontent-length:"
    at = head.lower().index(name) + len(name)
    return int(head[at:].split(b"\r\n", 1)[0])


def over_http(target: Target, clients: int, seconds: float, rate: float | None = None) -> Measured:
    """A closed loop, or with `rate` (per second) an open one."""
    return _in_processes(_http, target, clients, seconds, rate)


def over_sql(address: str, template: str, users: int, clients: int, seconds: float) -> Measured:
    """The statement of a decision; in it `REQUEST` and `USER` stand for its own id and one of the users."""
    return _in_processes(_sql, address, template, users, clients, seconds)


def _in_processes(work: Callable[..., None], *given: Any) -> Measured:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    numbers = range(PROCESSES_MAX)
    start = context.Barrier(len(numbers))
    processes = [context.Process(target=work, args=(number, start, results, *given)) for number in numbers]
    for process in processes:
        process.start()
    timed: Sequence[Timed] = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    elapsed = max(one.ended for one in timed) - min(one.began for one in timed)
    latencies = sorted(latency for one in timed for latency in one.latencies)
    return Measured(len(latencies) / elapsed, latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100])


def _share(number: int, clients: int) -> int:
    return clients // PROCESSES_MAX + (number < clients % PROCESSES_MAX)


# --- HTTP ------------------------------------------------------------------------------------------------


def _http(
    number: int, start: Any, results: Any, target: Target, clients: int, seconds: float, rate: float | None
) -> None:
    results.put(asyncio.run(_ask(number, start, target, _share(number, clients), seconds, rate)))


async def _ask(number: int, start: Any, target: Target, clients: int, seconds: float, rate: float | None) -> Timed:
    host, _, port = target.address.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    connections = [(await loop.create_connection(Client, host, int(port)))[1] for _ in range(clients)]
    latencies: list[float] = []
    start.wait(timeout=300)
    began = time.monotonic()
    if rate is None:
        await asyncio.gather(*(_closed(one, target, began + seconds, latencies) for one in connections))
    else:
        await _open(connections, target, seconds, rate / PROCESSES_MAX, latencies)
    return Timed(began, time.monotonic(), latencies)


async def _closed(client: Client, target: Target, until: float, latencies: list[float]) -> None:
    while (before := time.monotonic()) < until:
        await client.ask(_request(target))
        latencies.append(time.monotonic() - before)


async def _open(clients: list[Client], target: Target, seconds: float, rate: float, latencies: list[float]) -> None:
    idle: asyncio.Queue[Client] = asyncio.Queue()
    for one in clients:
        idle.put_nowait(one)

    async def ask_once(due: float) -> None:
        client = await idle.get()
        await client.ask(_request(target))
        latencies.append(time.monotonic() - due)
        idle.put_nowait(client)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for count in range(int(seconds * rate)):
            due = began + count / rate
            await asyncio.sleep(due - time.monotonic())
            tasks.create_task(ask_once(due))


def _request(target: Target) -> bytes:
    body = json.dumps(asked(os.urandom(12).hex(), target.users)).encode()
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def asked(request_id: str, users: int) -> dict[str, str]:
    """A decision's body, for one of the users by its id."""
    return {
        "request_id": request_id,
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "team": "team-1",
        "user": user_of(request_id, users),
        "estimate_usd": "0.0045",
    }


def user_of(request_id: str, users: int) -> str:
    return f"user-{int(request_id, 16) % users:04}"


# --- SQL -------------------------------------------------------------------------------------------------


def _sql(
    number: int, start: Any, results: Any, address: str, template: str, users: int, clients: int, seconds: float
) -> None:
    import psycopg

    connections = [psycopg.connect(address, autocommit=True) for _ in range(_share(number, clients))]
    latencies: list[float] = []
    start.wait(timeout=300)
    began = time.monotonic()
    with ThreadPoolExecutor(max(1, len(connections))) as pool:
        for done in [pool.submit(_execute, one, template, users, began + seconds, latencies) for one in connections]:
            done.result()
    results.put(Timed(began, time.monotonic(), latencies))


def _execute(connection: Any, template: str, users: int, until: float, latencies: list[float]) -> None:
    with connection, connection.cursor() as cursor:
        while (before := time.monotonic()) < until:
            request_id = os.urandom(12).hex()
            cursor.execute(template.replace("REQUEST", request_id).replace("USER", user_of(request_id, users)))
            while cursor.description is None:
                cursor.nextset()
            if '"verdict": "granted"' not in cursor.fetchone()[0]:
                raise SystemExit("The bare statement was not granted.")
            latencies.append(time.monotonic() - before)
