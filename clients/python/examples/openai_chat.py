"""Chat Completions with the official OpenAI SDK: one call, a stream, and a loop under a lease.

FINOPS_URL, FINOPS_KEY and OPENAI_API_KEY come from the environment.
"""

import os
from collections.abc import Iterator

from openai import OpenAI

from finops_ai import Client, Denied

MODEL = "gpt-5-mini"


def ask(client: Client, openai: OpenAI, question: str) -> str:
    with client.call(
        provider="openai", model=MODEL, workflow="support-answers", input_tokens=len(question), max_output_tokens=300
    ) as call:
        answer = openai.chat.completions.create(
            model=call.model,  # a cheaper one where a budget says so
            messages=[{"role": "user", "content": question}],
            max_completion_tokens=300,
        )
        call.record_answer(answer)
        return answer.choices[0].message.content or ""


def stream(client: Client, openai: OpenAI, question: str) -> Iterator[str]:
    """The text as it comes. Closing the iterator early records what was emitted until then."""
    with client.call(
        provider="openai", model=MODEL, workflow="support-answers", input_tokens=len(question), max_output_tokens=300
    ) as call:
        chunks = openai.chat.completions.create(
            model=call.model,
            messages=[{"role": "user", "content": question}],
            max_completion_tokens=300,
            stream=True,
            stream_options={"include_usage": True},  # else the stream never says what it used
        )
        for chunk in call.stream(chunks):
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text


def classify(client: Client, openai: OpenAI, texts: list[str]) -> list[str]:
    """Many small calls that do not wait for a decision each: 5 cents are held at once, and again when they are used."""
    labels = []
    with client.lease(
        "0.05", provider="openai", model=MODEL, workflow="triage", task_type="classification", auto_renew=True
    ) as lease:
        for text in texts:
            with lease.call(estimate_usd="0.0004") as call:
                answer = openai.chat.completions.create(
                    model=call.model, messages=[{"role": "user", "content": f"One word for: {text}"}]
                )
                call.record_answer(answer)
                labels.append(answer.choices[0].message.content or "")
    return labels


def main() -> None:
    openai = OpenAI()
    with Client(os.environ["FINOPS_URL"], os.environ["FINOPS_KEY"], dimensions={"team": "support"}) as client:
        try:
            print(ask(client, openai, "What is a token?"))
            print(*stream(client, openai, "And a cached one?"), sep="")
            print(classify(client, openai, ["refund, please", "it crashed"]))
        except Denied as denied:
            for reason in denied.reasons:
                print(f"Refused ({reason.code}): {reason.detail}")


if __name__ == "__main__":
    main()
