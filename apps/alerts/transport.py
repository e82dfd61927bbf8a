"""HTTP to addresses that tenants chose: resolved once, checked, pinned, bounded in time and size, never redirected.

The name is resolved here and every answer is checked; the connection goes to a checked address and nowhere else, while
the name stays in the Host header and in the TLS handshake. No proxy of the environment is used, no cookie is kept, and
no answer is unpacked. Whatever is in doubt is refused.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import Any

import httpcore
from django.conf import settings

from apps.alerts.addresses import Address, Network, Target, address_of, is_allowed, read_url
from apps.core.errors import DomainError

TIMEOUT_SECONDS = 15
# Of looking a name up while a person waits for the answer.
LOOK_UP_SECONDS = 2
# Of one process at the same time: those that nobody waits for any more count until the resolver gives up.
LOOK_UPS_MAX = 32
ANSWER_BYTES_MAX = 64 * 1024
ADDRESSES_MAX = 32

_look_ups = threading.BoundedSemaphore(LOOK_UPS_MAX)

Resolve = Callable[[str, int], Sequence[str]]


class NotSent(Exception):
    """The request did not leave: nobody received anything."""


class NoAnswer(Exception):
    """The request left, at least in part, and no answer came: it may have been received."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def system_resolve(host: str, port: int) -> Sequence[str]:
    """Every address of the name, as the machine's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


@dataclass(frozen=True, slots=True)
class Outbound:
    """The way out. `networks` are private networks that the installation allows."""

    networks: tuple[Network, ...] = field(default_factory=lambda: settings.ALERTS_ALLOWED_NETWORKS)
    resolve: Resolve = system_resolve

    def check(self, url: str) -> Target:
        """Where the URL leads. Raises `DomainError` (`url_invalid`, `url_refused`)."""
        target = read_url(url)
        self.addresses(target, LOOK_UP_SECONDS)
        return target

    def addresses(self, target: Target, seconds: float) -> list[Address]:
        """The target's addresses, all of which are allowed, found within `seconds`.

        Raises `DomainError` (`url_refused`).
        """
        literal = address_of(target.host)
        found = [literal] if literal is not None else self._resolved(target, seconds)
        if not found or not all(is_allowed(address, target, self.networks) for address in found):
            raise DomainError(
                "url_refused",
                f"'{target.host}' may not be reached: it must be a public host, by https on port 443.",
                param="target",
            )
        return found

    def _resolved(self, target: Target, seconds: float) -> list[Address]:
        try:
            texts = _within(seconds, lambda: self.resolve(target.host, target.port))
            return [ip_address(text) for text in texts[:ADDRESSES_MAX]]
        except (OSError, UnicodeError, ValueError):
            raise DomainError(
                "url_refused", f"'{target.host}' may not be reached: its address cannot be found.", param="target"
            ) from None

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, seconds: float = TIMEOUT_SECONDS
    ) -> Answer:
        """Look the host up, send, and read at most `ANSWER_BYTES_MAX` of the answer, all of it within `seconds`.

        Raises `NotSent` where nothing can have been received, and `NoAnswer` where it may have been.
        """
        deadline = time.monotonic() + seconds
        try:
            target = read_url(url)
            addresses = self.addresses(target, seconds)
        except DomainError as refused:
            raise NotSent(refused.detail) from None
        network = _Pinned(addresses[0], self.networks, target, deadline)
        with httpcore.ConnectionPool(network_backend=network, retries=0) as pool:
            return self._exchange(pool, network, method, target, headers, body)

    def _exchange(
        self,
        pool: httpcore.ConnectionPool,
        network: "_Pinned",
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer:
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        sent = [("Host", target.authority), *_without(headers, "host", "accept-encoding", "content-length")]
        if body:
            sent.append(("Content-Length", str(len(body))))
        try:
            with pool.stream(method, url, headers=sent, content=body or None) as response:
                pieces, size = [], 0
                for piece in response.iter_stream():
                    pieces.append(piece)
                    size += len(piece)
                    if size >= ANSWER_BYTES_MAX:
                        break
                read = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                return Answer(response.status, read, b"".join(pieces)[:ANSWER_BYTES_MAX])
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.UnsupportedProtocol) as error:
            raise NotSent(_said(error, "no connection")) from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            if network.is_open:
                raise NoAnswer(_said(error, "no answer")) from None
            raise NotSent(_said(error, "no connection")) from None


def _within(seconds: float, look_up: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What is looked up, or `TimeoutError`: the system's resolver takes no deadline, and whoever runs a name's servers
    decides how long they take. The thread that is left behind ends when the resolver gives up.
    """
    answers: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(look_up())
        except Exception as error:  # raised again for whoever waits
            answers.put(error)
        finally:
            _look_ups.release()

    deadline = time.monotonic() + seconds
    if not _look_ups.acquire(timeout=max(0, seconds)):
        raise TimeoutError
    threading.Thread(target=run, name="look-up", daemon=True).start()
    try:
        found = answers.get(timeout=max(0, deadline - time.monotonic()))
    except Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _without(headers: Mapping[str, str], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in names]


def _said(error: Exception, otherwise: str) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}: {otherwise}"


class _Pinned(httpcore.NetworkBackend):
    """Connects to one address, whatever it is asked for, and to nothing after the deadline."""

    def __init__(self, address: Address, networks: Sequence[Network], target: Target, deadline: float) -> None:
        self._address, self._networks, self._target, self._deadline = address, networks, target, deadline
        self.is_open = False

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = httpcore.SyncBackend().connect_tcp(
            str(self._address), port, timeout=_left(self._deadline, httpcore.ConnectTimeout)
        )
        peer = ip_address(stream.get_extra_info("server_addr")[0])
        if peer != self._address or not is_allowed(peer, self._target, self._networks):
            stream.close()
            raise httpcore.ConnectError(f"connected to {peer} instead of {self._address}")
        if self._target.scheme == "http":
            self.is_open = True
        return _Bounded(stream, self._deadline, self)


class _Bounded(httpcore.NetworkStream):
    """A stream on which everything together ends at the deadline: a peer that drips bytes gains no time."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float, network: _Pinned) -> None:
        self._stream, self._deadline, self._network = stream, deadline, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        secured = self._stream.start_tls(ssl_context, server_hostname, left)
        self._network.is_open = True
        return _Bounded(secured, self._deadline, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, late: type[Exception]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the time for the whole exchange is over")
    return left
