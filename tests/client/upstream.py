"""OpenAI's and Anthropic's APIs on a local socket: fixed answers and streams in their real shapes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["A ", "token ", "is ", "a ", "piece."]
OPENAI_USAGE = {
    "prompt_tokens": 16, "completion_tokens": 5, "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
}  # fmt: skip
ANTHROPIC_USAGE = {
    "input_tokens": 16, "output_tokens": 5, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 0,
}  # fmt: skip


def openai_answer(asked: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(WORDS)}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": f"{asked['model']}-2026",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": OPENAI_USAGE,
    }  # fmt: skip


def openai_stream(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    assert asked["stream_options"] == {"include_usage": True}
    head = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": f"{asked['model']}-2026",
        "usage": None,
    }
    for word in WORDS:
        yield {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": OPENAI_USAGE}


def anthropic_answer(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": f"{asked['model']}-2026",
        "content": [{"type": "text", "text": "".join(WORDS)}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }  # fmt: skip


def anthropic_stream(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = {**anthropic_answer(asked), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": {**message, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in WORDS:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
    yield {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_openai = self.path.endswith("/chat/completions")
        if not asked.get("stream"):
            self._send("application/json", json.dumps((openai_answer if is_openai else anthropic_answer)(asked)))
            return
        lines = []
        for event in (openai_stream if is_openai else anthropic_stream)(asked):
            name = "" if is_openai else f"event: {event['type']}\n"
            lines.append(f"{name}data: {json.dumps(event)}\n\n")
        self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n" if is_openai else ""]))

    def _send(self, content_type: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def serving() -> Iterator[str]:
    """The address of the upstream."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
