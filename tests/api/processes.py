"""Another process of the site: requests go in on stdin, answers come out on stdout, a line of JSON each."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """The test's side of a running process."""

    process: "subprocess.Popen[str]"

    def post(self, path: str, secret: str, body: Any) -> Answer:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"path": path, "secret": secret, "body": body}) + "\n")
        self.process.stdin.flush()
        return Answer(**json.loads(self.process.stdout.readline()))


@contextmanager
def another_process(**environment: str) -> Iterator[Site]:
    """A process with the test's environment, but for what is given."""
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "finops.settings", **environment}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.api.processes"],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Site(process)
        finally:
            process.kill()


def answer_requests() -> None:
    from django.test import Client

    from finops import wsgi  # noqa: F401  (starts as the site does)

    client = Client(raise_request_exception=False)
    for line in sys.stdin:
        asked = json.loads(line)
        response = client.post(
            f"/api/v1/{asked['path']}",
            json.dumps(asked["body"]),
            content_type="application/json",
            headers={"Authorization": f"Bearer {asked['secret']}"},
        )
        print(json.dumps({"status": response.status_code, "body": response.json()}), flush=True)  # noqa: T201


if __name__ == "__main__":
    answer_requests()
