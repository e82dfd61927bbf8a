"""The examples and the README do what they show, with the official SDKs against a local upstream."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from finops_ai import Client
from openai import OpenAI

from tests.client import upstream
from tests.client.service import Service

PACKAGE = Path(__file__).parents[2] / "clients/python"
TEXT = "".join(upstream.WORDS)


@pytest.fixture
def address() -> Iterator[str]:
    with upstream.serving() as running:
        yield running


@pytest.fixture
def environment(service: Service, address: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(PACKAGE / "src"),
        "FINOPS_URL": service.url,
        "FINOPS_KEY": "aif_live_key",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{address}/v1",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": address,
    }


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PACKAGE / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def used(service: Service) -> list[tuple[str, Any]]:
    return [(event["model_served"], event["provider_usage"]) for event in service.events.values()]


def test_the_openai_example(service: Service, environment: dict[str, str]) -> None:
    out = run(environment, str(PACKAGE / "examples/openai_chat.py"))
    assert out.splitlines() == [TEXT, TEXT, str([TEXT, TEXT])]
    assert used(service) == [("gpt-5-mini-2026", upstream.OPENAI_USAGE)] * 4
    assert [event["stop_reason"] for event in service.events.values()] == ["stop"] * 4
    assert len(service.to("decisions")) == 2
    assert [event["workflow"] for event in service.events.values()] == ["support-answers"] * 2 + ["triage"] * 2
    assert list(service.returned.values()) == ["0.0492"]


def test_the_anthropic_example(service: Service, environment: dict[str, str]) -> None:
    out = run(environment, str(PACKAGE / "examples/anthropic_messages.py"))
    assert out.splitlines() == [TEXT] * 3
    assert used(service) == [("claude-sonnet-4-6-2026", upstream.ANTHROPIC_USAGE)] * 3
    assert {event["team"] for event in service.events.values()} == {"search"}
    assert [event["stop_reason"] for event in service.events.values()] == ["end_turn"] * 3


def test_openai_s_stream_that_is_left_records_what_came(service: Service, client: Client, address: str) -> None:
    stream = example("openai_chat").stream(client, OpenAI(api_key="none", base_url=f"{address}/v1"), "What?")
    assert next(stream) == WORDS[0]
    assert next(stream) == WORDS[1]
    stream.close()
    assert client.flush(10)
    (event,) = service.events.values()
    assert (event["status"], event["usage"]) == ("cancelled", {"input_tokens": 5, "output_tokens": 2})
    assert event["model_served"] == "gpt-5-mini-2026"


def test_anthropic_s_stream_that_is_left_records_what_came(service: Service, client: Client, address: str) -> None:
    sdk = Anthropic(api_key="none", base_url=address)
    assistant = example("anthropic_messages").Assistant(client, sdk, AsyncAnthropic(api_key="none", base_url=address))
    stream = assistant.stream("What?")
    for event in stream:
        if getattr(getattr(event, "delta", None), "text", "") == WORDS[2]:
            break
    stream.close()
    assert client.flush(10)
    (recorded,) = service.events.values()
    assert (recorded["status"], recorded["provider_usage"]) == (
        "cancelled", upstream.ANTHROPIC_USAGE | {"output_tokens": 3},
    )  # fmt: skip


WORDS = upstream.WORDS
BLOCKS = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)


def test_the_readme_runs_from_top_to_bottom(service: Service, environment: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "readme.py"
    program.write_text("\n".join(BLOCKS))
    environment["SPOOL_DIR"] = str(tmp_path / "spool")
    run(environment, str(program))
    assert len(BLOCKS) >= 6
    assert len(service.events) >= len(BLOCKS) - 2
    assert all(event.get("provider_usage") or event.get("usage") for event in service.events.values())
