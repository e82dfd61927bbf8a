"""Sixty-four agents in two processes, who work in rounds and rest between them."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from bench.agents import Agent, Door, Ledger, Scope
from bench.doors import Http, Straight

CLIENTS = 64
PROCESSES = 2


class Crew:
    """`url`: where they ask; None: straight on Postgres."""

    def __init__(self, name: str, url: str | None, secret: str, *, is_random: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for number in range(PROCESSES):
            mine, theirs = context.Pipe()
            road = "http" if url else "straight"
            given = (theirs, f"{name}-{road}-{number}-{os.urandom(3).hex()}", url, secret, is_random)
            self.pipes.append(mine)
            self.processes.append(context.Process(target=_work, args=given, daemon=True))

    def __enter__(self) -> Self:
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.close()
            process.join(timeout=60)
            process.kill()

    def work(self, acts: int, scopes: dict[int, Scope], caps: frozenset[int], *, is_last: bool) -> Ledger:
        """A round of so many acts each; what all of them wrote down in it."""
        for pipe in self.pipes:
            pipe.send((acts, scopes, caps, is_last))
        whole = Ledger()
        for pipe in self.pipes:
            whole.add(pipe.recv())
        return whole


def _work(pipe: Any, name: str, url: str | None, secret: str, is_random: bool) -> None:
    principal: Any = None if url else _principal(secret)
    agents = []
    for number in range(CLIENTS // PROCESSES):
        door: Door = Http(url, secret) if url else Straight(principal.apart())
        agents.append(Agent(f"{name}-{number}", door, is_random=is_random))
    with ThreadPoolExecutor(len(agents)) as pool:
        while True:
            try:
                acts, scopes, caps, is_last = pipe.recv()
            except EOFError:
                return
            whole = Ledger()
            for ledger in pool.map(partial(_one, acts, scopes, caps, is_last), agents):
                whole.add(ledger)
            pipe.send(whole)


def _one(acts: int, scopes: dict[int, Scope], caps: frozenset[int], is_last: bool, agent: Agent) -> Ledger:
    return agent.work(acts, scopes, caps, is_last=is_last)


def _principal(secret: str) -> Any:
    import django

    # Nobody kills Postgres here, and waiting for its disk would be most of the time.
    os.environ["PGOPTIONS"] = "-c synchronous_commit=off"

    django.setup()
    from apps.organizations.selectors import principal_for

    return principal_for(secret, at=datetime.now(UTC))
