"""Plans to start from, named after what people build; every figure is a default to be replaced by one's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.planner.shapes import Plan


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    title: str
    description: str
    plan: Plan


TEMPLATES: Mapping[str, Template] = {}  # chat, rag, triage, support, research, coding, extraction
