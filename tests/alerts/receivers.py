"""Machines that messages go to: a web server and a mail server on this machine, which do as they are told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from bench.site import free_port


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers with the next of `answers` (status, headers, body), or 204; None drops the connection instead."""

    port: int
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes] | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def will_answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def will_drop(self) -> None:
        self.answers.append(None)


@contextmanager
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = found.answers.pop(0) if found.answers else (204, {}, b"")
            if answer is None:
                self.close_connection = True
                return
            status, headers, said = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Post:
    """A mail server. `refuses`: a reply such as "451 later", to the mail or by address; `drops`: it takes the mail and
    hangs up unasked. `envelopes` are the addresses that each mail was taken for.
    """

    host: str
    port: int
    inbox: list[EmailMessage] = field(default_factory=list)
    refuses: str = ""
    drops: bool = False
    refuses_addresses: dict[str, str] = field(default_factory=dict)
    envelopes: list[list[str]] = field(default_factory=list)

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if reply := self.refuses_addresses.get(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        if self.refuses:
            return self.refuses
        self.inbox.append(message_from_bytes(envelope.content, policy=policy.default))
        self.envelopes.append(list(envelope.rcpt_tos))
        if self.drops:
            server.transport.abort()
        return "250 kept"


@contextmanager
def post() -> Iterator[Post]:
    found = Post("127.0.0.1", free_port())
    server = Controller(found, hostname=found.host, port=found.port)
    server.start()
    try:
        yield found
    finally:
        server.stop()
