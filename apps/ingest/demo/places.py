"""The invented company behind a replay: who in it owns which call.

The traces are anonymous. Everything here is made up, and drawn by hash, so the same call belongs to the
same workflow and person every time. `docs/demo.md` says so to the reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Team:
    slug: str
    name: str
    cost_centre: str
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Project:
    slug: str
    name: str
    team: str


@dataclass(frozen=True, slots=True)
class Workflow:
    slug: str
    name: str
    project: str
    task_type: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where one call is booked, as its event says it; None is not said."""

    team: str | None
    project: str | None
    workflow: str | None
    task_type: str


TEAMS = (
    Team("platform", "Platform", "CC-4100", ("ana", "boris", "chidi", "dalia")),
    Team("search", "Search", "CC-4200", ("emre", "fatou", "goran")),
    Team("support", "Support", "CC-4300", ("hana", "ines", "jonas")),
    Team("growth", "Growth", "CC-4400", ("kofi", "lena", "marco")),
    Team("research", "Research", "CC-4500", ("nadia", "omar", "priya", "quentin")),
)

PROJECTS = (
    Project("developer-tools", "Developer tools", "platform"),
    Project("infrastructure", "Infrastructure", "platform"),
    Project("answers", "Answers", "search"),
    Project("relevance", "Relevance", "search"),
    Project("help-desk", "Help desk", "support"),
    Project("experiments", "Experiments", "growth"),
    Project("evaluations", "Evaluations", "research"),
    Project("corpus", "Corpus", "research"),
)

WORKFLOWS = (
    Workflow("code-review-agent", "Code review agent", "developer-tools", "coding"),
    Workflow("test-fixer", "Test fixer", "developer-tools", "coding"),
    Workflow("autocomplete", "Autocomplete", "developer-tools", "code_completion"),
    Workflow("incident-investigator", "Incident investigator", "infrastructure", "investigation"),
    Workflow("rag-answers", "RAG answers", "answers", "question_answering"),
    Workflow("deep-answers", "Deep answers", "answers", "reasoning"),
    Workflow("ranking-lab", "Ranking lab", "relevance", "coding"),
    Workflow("triage", "Triage", "help-desk", "classification"),
    Workflow("reply-drafts", "Reply drafts", "help-desk", "drafting"),
    Workflow("support-agent", "Support agent", "help-desk", "question_answering"),
    Workflow("ticket-tagging", "Ticket tagging", "help-desk", "classification"),
    Workflow("landing-page-agent", "Landing page agent", "experiments", "coding"),
    Workflow("campaign-writer", "Campaign writer", "experiments", "drafting"),
    Workflow("experiment-runner", "Experiment runner", "evaluations", "coding"),
    Workflow("reasoning-evals", "Reasoning evals", "evaluations", "reasoning"),
    Workflow("batch-extraction", "Batch extraction", "corpus", "extraction"),
)

# A slug appears as often as its share of the trace's conversations or clients.
CODING_AGENTS = (
    *("code-review-agent",) * 6,
    *("test-fixer",) * 4,
    *("ranking-lab",) * 3,
    *("landing-page-agent",) * 3,
    *("experiment-runner",) * 3,
    "incident-investigator",
)
CHAT_SERVICES = (*("reply-drafts",) * 5, *("rag-answers",) * 4, "campaign-writer")
REASONING_SERVICES = ("deep-answers", "triage", "reasoning-evals", "batch-extraction")
MODEL_CLIENTS = ("rag-answers", "triage", "batch-extraction", "campaign-writer", "deep-answers")
AUTOCOMPLETE = ("autocomplete",)

# Parts per thousand. The first leave out team, project and workflow; the second name a team nobody created.
UNATTRIBUTED_PER_MILLE = 40
UNKNOWN_TEAM_PER_MILLE = 15
UNKNOWN_TEAM = "skunkworks"
UNKNOWN_WORKFLOW = "prototype"

_PROJECTS = {project.slug: project for project in PROJECTS}
_PEOPLE = {team.slug: team.people for team in TEAMS}
_EVERYBODY = tuple(person for team in TEAMS for person in team.people)
_PLACES = {
    workflow.slug: Place(_PROJECTS[workflow.project].team, workflow.project, workflow.slug, workflow.task_type)
    for workflow in WORKFLOWS
}


DRAWS = 2**64


def draw(*key: str) -> int:
    """A number from 0 up to DRAWS that depends on nothing but the key."""
    return int.from_bytes(blake2b("\x1f".join(key).encode(), digest_size=8).digest(), "big")


def pick(options: Sequence[T], *key: str) -> T:
    return options[draw(*key) % len(options)]


def place(slugs: Sequence[str], *, owner: str, call: str) -> Place:
    """The owner (a conversation, a client) decides the workflow; the call, whether it says so."""
    home = _PLACES[pick(slugs, "workflow", owner)]
    roll = draw("attribution", call) % 1000
    if roll < UNATTRIBUTED_PER_MILLE:
        return Place(None, None, None, home.task_type)
    if roll < UNATTRIBUTED_PER_MILLE + UNKNOWN_TEAM_PER_MILLE:
        return Place(UNKNOWN_TEAM, None, UNKNOWN_WORKFLOW, home.task_type)
    return home


def person(team: str | None, owner: str) -> str:
    return pick(_PEOPLE.get(team or "", _EVERYBODY), "person", owner)


def environment(owner: str) -> str:
    return "staging" if draw("environment", owner) % 100 < 12 else "prod"


def customer_tier(client: str) -> str:
    return pick(("free", "pro", "pro", "enterprise"), "tier", client)
