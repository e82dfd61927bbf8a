"""What a session of an interactive tool says of its calls beside their order: which were tried again, which went to a
dearer model. Read off the trace, which says neither; `docs/demo.md` says so to the reader. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# From the cheapest to the dearest; a name that begins with none of these is on no rung.
LADDER = ("deepseek", "gpt-4o-mini", "o3-mini", "gpt-4o", "claude", "o1")


@dataclass(slots=True)
class Session:
    """The last call of a session so far."""

    step: int = -1
    attempt: int = 1
    has_failed: bool = False
    model: str = ""

    def place(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the next event says of its place: a call after a failed one is another attempt of its step."""
        model = event["model"]
        if self.has_failed:
            self.attempt += 1
        else:
            self.step, self.attempt = self.step + 1, 1
        said: dict[str, Any] = {"step": self.step}
        if self.attempt > 1:
            said["attempt"] = self.attempt
        before, now = _rung(self.model), _rung(model)
        if before is not None and now is not None and before < now:
            said["escalated_from"] = self.model
        self.has_failed, self.model = event["status"] == "error", model
        return said


def _rung(model: str) -> int | None:
    return next((rung for rung, beginning in enumerate(LADDER) if model.startswith(beginning)), None)
