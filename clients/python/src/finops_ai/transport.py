"""Requests to the service, and which of its answers mean that it is away."""

import json
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from finops_ai.errors import ApiError, Unavailable

RETRY_AFTER_MAX_SECONDS = 300.0
_FIRST_PAUSE_SECONDS = 0.05
# What a proxy on the way may mean as well. Other errors without a code of the service's are not the service's answers.
_ALSO_OF_PROXIES = (408, 413, 425, 429)


class Transport:
    """The connections of one process to one service; safe between threads."""

    def __init__(self, base_url: str, api_key: str, timeout: float) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {base_url!r}: give one such as https://finops.example.")
        api_key = api_key.strip()
        if not (api_key.isascii() and api_key.isprintable() and api_key):
            raise ValueError("api_key is empty or holds characters that no key has: give it as it was shown.")
        self.timeout = timeout
        self._base_url = base_url.rstrip("/") + "/api/v1/"
        self._headers = {"Authorization": f"Bearer {api_key}", "User-Agent": "finops-ai-python"}
        self.connect()

    def connect(self) -> None:
        """Begin with connections of one's own: those of a parent process are not ours to use or to close."""
        # Waiting for a free connection would look like a service that is away, so their number has no limit.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._http = httpx.Client(base_url=self._base_url, headers=self._headers, limits=limits)

    def close(self) -> None:
        self._http.close()

    def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """An answer within `timeout` seconds, asked for with the same body until it comes.

        Raises `Unavailable` and `ApiError`.
        """
        deadline = time.monotonic() + self.timeout
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                left = max(deadline - time.monotonic(), 0.001)
                return self.send("POST", path, json.dumps(body, allow_nan=False).encode(), timeout=left)
            except (Unavailable, ApiError) as error:
                if isinstance(error, ApiError) and not error.is_temporary:
                    raise
                wait = max(error.retry_after or 0.0, pause * random.uniform(0.5, 1))  # noqa: S311  (spreads retries)
                if time.monotonic() + wait >= deadline:
                    raise
            time.sleep(wait)
            pause *= 2

    def send(
        self, method: str, path: str, content: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """One request. Raises `Unavailable` and `ApiError`."""
        try:
            response = self._http.request(
                method,
                path,
                content=content,
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=timeout,
            )
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise ApiError(0, "request_invalid", f"{method} {path[:200]} cannot be sent: {error}") from error
        except httpx.RequestError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        return _answer(response)


def _answer(response: httpx.Response) -> dict[str, Any]:
    body = _object(response)
    if response.is_success and body is not None:
        return body
    status = response.status_code
    said = body or {}
    retry_after = _retry_after(response.headers.get("Retry-After"))
    detail = str(said.get("detail") or f"{response.request.url.host} answered {status}.")
    if not (response.is_client_error and ("code" in said or status in _ALSO_OF_PROXIES)):
        raise Unavailable(detail, retry_after)
    param = said.get("param")
    raise ApiError(
        status, str(said.get("code", f"http_{status}")), detail, None if param is None else str(param), retry_after
    )


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; None where there are none to be read."""
    if text is None:
        return None
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)
