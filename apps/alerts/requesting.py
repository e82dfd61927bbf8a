"""Our way out as the library `requests` knows one, for libraries that speak HTTP through it."""

import io
from typing import Any

import requests

from apps.alerts.transport import Answer, NoAnswer, NotSent, Outbound


def exchange(outbound: Outbound, request: requests.PreparedRequest, seconds: float) -> Answer:
    """Raises `NotSent` and `NoAnswer`."""
    body = request.body or b""
    return outbound.request(
        request.method or "GET",
        request.url or "",
        {name: str(value) for name, value in request.headers.items()},
        body if isinstance(body, bytes) else str(body).encode(),
        seconds=seconds,
    )


def response_to(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
    response.raw = io.BytesIO(answer.body)
    response.url, response.request = request.url or "", request
    return response


class OutwardAdapter(requests.adapters.BaseAdapter):
    """Sends each request of a session outward, all of it within `seconds`; who is refused raises `ConnectionError`."""

    def __init__(self, outbound: Outbound, seconds: float) -> None:
        super().__init__()
        self._outbound, self._seconds = outbound, seconds

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        try:
            return response_to(request, exchange(self._outbound, request, self._seconds))
        except (NotSent, NoAnswer) as error:
            raise requests.ConnectionError(str(error)) from None

    def close(self) -> None:
        """Nothing is kept open."""


def outward_session(outbound: Outbound, seconds: float) -> requests.Session:
    """A session that keeps off proxies of the environment, and follows a redirect only as it follows a first URL."""
    session = requests.Session()
    session.trust_env = False
    for prefix in ("https://", "http://"):
        session.mount(prefix, OutwardAdapter(outbound, seconds))
    return session
