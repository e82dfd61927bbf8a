"""What the command palette reads: one frozen value per answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """`beside` says it in other words, where there are any."""

    name: str
    url: str
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    title: str
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """Kinds of which there are things; `text` is what was looked for."""

    text: str
    kinds: tuple[Kind, ...]
