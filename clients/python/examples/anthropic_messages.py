"""Messages with the official Anthropic SDK: the decorator, a stream, and an asynchronous stream.

FINOPS_URL, FINOPS_KEY and ANTHROPIC_API_KEY come from the environment.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, RawMessageStreamEvent

from finops_ai import Call, Client

MODEL = "claude-sonnet-4-6"


class Assistant:
    """What a service would build once, at its start."""

    def __init__(self, client: Client, anthropic: Anthropic, anthropic_async: AsyncAnthropic) -> None:
        governed: dict[str, Any] = {
            "provider": "anthropic",
            "model": MODEL,
            "workflow": "rag-answers",
            "input_tokens": len,  # a function is called with the arguments: here, a bound on the question's tokens
            "max_output_tokens": 500,
        }

        @client.governed(**governed)
        def ask(question: str, *, call: Call) -> Message:
            return anthropic.messages.create(
                model=call.model, max_tokens=500, messages=[{"role": "user", "content": question}]
            )

        @client.governed(**governed)
        def stream(question: str, *, call: Call) -> Iterator[RawMessageStreamEvent]:
            yield from anthropic.messages.create(
                model=call.model, max_tokens=500, messages=[{"role": "user", "content": question}], stream=True
            )

        @client.governed(**governed)
        async def stream_async(question: str, *, call: Call) -> AsyncIterator[RawMessageStreamEvent]:
            events = await anthropic_async.messages.create(
                model=call.model, max_tokens=500, messages=[{"role": "user", "content": question}], stream=True
            )
            async for event in events:
                yield event

        self.ask: Any = ask
        self.stream: Any = stream
        self.stream_async: Any = stream_async


def text_of(event: RawMessageStreamEvent) -> str:
    return event.delta.text if event.type == "content_block_delta" and event.delta.type == "text_delta" else ""


async def read(assistant: Assistant, question: str) -> str:
    return "".join([text_of(event) async for event in assistant.stream_async(question)])


def main() -> None:
    with Client(os.environ["FINOPS_URL"], os.environ["FINOPS_KEY"], dimensions={"team": "search"}) as client:
        assistant = Assistant(client, Anthropic(), AsyncAnthropic())
        print(assistant.ask("What is a token?").content[0].text)
        print("".join(map(text_of, assistant.stream("And a cached one?"))))
        print(asyncio.run(read(assistant, "And a reasoning one?")))


if __name__ == "__main__":
    main()
