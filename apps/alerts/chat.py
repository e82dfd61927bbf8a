"""Rooms of chat services, through the plugins of apprise.

A plugin knows a service's addresses and the shape of its messages; it never reaches the network by itself. The plugins
of `SERVICES` are handed a stand-in for the module `requests` whose every request goes through `Outbound`: whatever
host a URL names is checked and pinned like a webhook's, redirects are not followed and certificates are verified. No
other plugin is ever made of a tenant's URL, so there is none that writes files or speaks another protocol.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import apprise
import requests
from apprise.plugins import url_to_dict

from apps.alerts import requesting
from apps.alerts.addresses import URL_LENGTH_MAX
from apps.alerts.transport import TIMEOUT_SECONDS, Answer, NoAnswer, NotSent, Outbound
from apps.core.errors import DomainError

# Scheme of apprise -> what people call the service.
SERVICES = {
    "slack": "Slack",
    "workflow": "Microsoft Teams",
    "workflows": "Microsoft Teams",
    "discord": "Discord",
    "gchat": "Google Chat",
    "mmost": "Mattermost",
    "mmosts": "Mattermost",
    "tgram": "Telegram",
    "webex": "Webex",
    "wxteams": "Webex",
    "zulip": "Zulip",
    "rocket": "Rocket.Chat",
    "rockets": "Rocket.Chat",
}
# Services on hosts of their own: the host is checked when the channel is made, too.
_OWN_HOSTS = {"workflow": "https", "workflows": "https", "mmost": "http", "mmosts": "https", "rocket": "http",
              "rockets": "https"}  # fmt: skip
# What a URL may say: which room, and who knocks. Nothing else of it reaches a plugin, since among the rest there are
# `template`, which reads a file of this machine or a URL past the checked way, and what weakens TLS, waits or adorns.
_SAID_BY_URL = frozenset({
    "schema", "secure", "host", "port", "user", "password", "fullpath", "targets", "token", "mode",
    "access_token", "token_a", "token_b", "token_c", "workflow_path",  # Slack, Webex
    "workflow", "signature", "power_automate", "routing_id", "version",  # Microsoft Teams
    "webhook_id", "webhook_token", "thread",  # Discord
    "workspace", "webhook_key", "thread_key",  # Google Chat
    "bot_token", "topic", "detect_owner",  # Telegram
    "botname", "organization",  # Zulip
    "webhook",  # Rocket.Chat
})  # fmt: skip
_REQUESTS_MAX = 5

# apprise logs URLs with their tokens.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


@dataclass(slots=True)
class _Exchange:
    """What one message did on the network."""

    outbound: Outbound
    deadline: float
    answers: list[Answer] = field(default_factory=list)
    error: Exception | None = None
    requests: int = 0


_exchange: ContextVar[_Exchange] = ContextVar("chat_exchange")


class _Adapter(requests.adapters.BaseAdapter):
    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        exchange = _exchange.get()
        exchange.requests += 1
        try:
            if exchange.requests > _REQUESTS_MAX:
                raise NotSent(f"more than {_REQUESTS_MAX} requests for one message")
            answer = requesting.exchange(exchange.outbound, request, exchange.deadline - time.monotonic())
        except (NotSent, NoAnswer) as error:
            exchange.error = error
            raise requests.ConnectionError(str(error)) from None
        exchange.answers.append(answer)
        return requesting.response_to(request, answer)

    def close(self) -> None:
        """Nothing is kept open."""


def _request(method: str, url: str, **options: Any) -> requests.Response:
    kept = {name: value for name, value in options.items() if name in ("data", "json", "params", "headers", "auth")}
    with requests.Session() as session:
        session.trust_env = False
        for prefix in ("https://", "http://"):
            session.mount(prefix, _Adapter())
        return session.request(method, url, allow_redirects=False, **kept)


def _stand_in() -> SimpleNamespace:
    """What the plugins use of the module `requests`."""
    verbs = {verb: _bound(verb) for verb in ("get", "post", "put", "patch", "delete")}
    names = ("codes", "RequestException", "ConnectionError", "Timeout", "HTTPError", "exceptions")
    return SimpleNamespace(request=_request, **verbs, **{name: getattr(requests, name) for name in names})


def _bound(verb: str) -> Any:
    def call(url: str, data: Any = None, **options: Any) -> requests.Response:
        return _request(verb.upper(), url, data=data, **options)

    return call


@dataclass(frozen=True, slots=True)
class Room:
    """A room of a chat service, as a plugin of apprise knows it; `host` where the service is not one company's."""

    plugin: Any
    service: str
    host: str = ""

    def send(
        self, outbound: Outbound, *, title: str, text: str, seconds: float = TIMEOUT_SECONDS
    ) -> tuple[bool, Answer]:
        """Say it, by as many requests as the service needs, all of them within `seconds`: whether it took it, and its
        last answer.

        Raises `NotSent`, and `NoAnswer` where it may have been heard.
        """
        with _exchanging(outbound, seconds) as exchange:
            done = self.plugin.notify(body=text, title=title, notify_type=apprise.NotifyType.INFO, body_format="text")
        if exchange.error is not None:
            raise exchange.error
        if not exchange.answers:
            raise NotSent(f"{self.service} was not asked: the URL of the channel lacks something.")
        return bool(done), exchange.answers[-1]


@contextmanager
def _exchanging(outbound: Outbound, seconds: float) -> Iterator[_Exchange]:
    exchange = _Exchange(outbound, time.monotonic() + seconds)
    token = _exchange.set(exchange)
    try:
        yield exchange
    finally:
        _exchange.reset(token)


def room_of(url: str, outbound: Outbound | None = None) -> Room:
    """The room that a URL names: an apprise URL, or the webhook URL as the service shows it.

    With `outbound` its host is looked up here, so that whoever types it is told; sending does so in any case.

    Raises `DomainError` (`url_invalid`, `url_refused`, `chat_unknown`).
    """
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise DomainError(
            "url_invalid",
            f"This URL cannot be used: it must be at most {URL_LENGTH_MAX} plain ASCII characters without blanks.",
            param="target",
        )
    parts = _parsed(url)
    schema = str(parts.get("schema", ""))
    if schema not in SERVICES:
        known = ", ".join(dict.fromkeys(SERVICES.values()))
        raise DomainError(
            "chat_unknown", f"This is no URL of a chat service that is known here: {known}.", param="target"
        )
    host = str(parts.get("host")) if schema in _OWN_HOSTS else ""
    if host and outbound is not None:
        port = f":{parts['port']}" if parts.get("port") else ""
        outbound.check(f"{_OWN_HOSTS[schema]}://{host}{port}/")
    return Room(_plugin(schema, parts), SERVICES[schema], host)


def _parsed(url: str) -> Mapping[str, Any]:
    schema = url.partition("://")[0].lower()
    # Nothing else of apprise gets to read it: https is the native URL of one of the services, or nothing.
    if schema not in SERVICES and schema != "https":
        return {}
    try:
        return url_to_dict(url) or {}  # type: ignore[no-untyped-call]  # apprise types half of itself
    except Exception:  # a parser of a plugin tripped over what a tenant typed
        return {}


def _plugin(schema: str, parts: Mapping[str, Any]) -> Any:
    asset = apprise.AppriseAsset(
        app_id="FinOps for AI",
        app_desc="FinOps for AI",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        http_redirects=False,
        secure_logging=True,
    )
    kept = {name: value for name, value in parts.items() if name in _SAID_BY_URL}
    try:
        plugin = apprise.Apprise.instantiate(kept, asset=asset, suppress_exceptions=True)
    except Exception:  # the same
        plugin = None
    if plugin is None:
        raise DomainError(
            "url_invalid",
            f"This is no complete URL of {SERVICES[schema]}: copy it again as the service shows it.",
            param="target",
        )
    # Our schedule waits, not the plugin.
    plugin.throttle = lambda *_, **__: None  # type: ignore[method-assign]  # of this one only
    module = sys.modules[type(plugin).__module__]
    if not isinstance(module.requests, SimpleNamespace):
        module.requests = _stand_in()  # type: ignore[attr-defined]
    return plugin
