"""Plans to start from, named after what people build; every figure is a default to be replaced by one's own.

Tokens and loops are those of the worked examples of docs/planner.md; they, retries, gaps and escalations are spread as
wide as they are uncertain before anything was measured. No template knows how many runs there will be: 10,000 stand
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.planner.shapes import ZERO, ModelChoice, Plan, Range, Step

SONNET = ModelChoice("anthropic", "claude-sonnet-5-5")
HAIKU = ModelChoice("anthropic", "claude-haiku-4-5")
MINI = ModelChoice("openai", "gpt-5.4-mini")

RUNS = Range(5_000, 10_000, 25_000)
GROWTH = Range(1.0, 1.05, 1.2)
SUCCESS = Range(0.80, 0.90, 0.96)
ASKED = Range(300, 500, 900)
ANSWERED = Range(160, 220, 330)
TOOL_RESULT = Range(500, 900, 2_000)
RETRIES = Range(0.01, 0.03, 0.10)
REUSE = Range(0.90, 0.98, 0.995)
SPREAD = Range(1.5, 2.5, 4.0)
ESCALATION = Range(0.08, 0.15, 0.35)
CARRIED_OVER = Range(1.0, 1.1, 1.5)


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    title: str
    description: str
    plan: Plan


def _plan(step: Step, other_cost_usd: Range = ZERO) -> Plan:
    return Plan((step,), RUNS, growth=GROWTH, success_rate=SUCCESS, other_cost_usd=other_cost_usd)


_CHAT = Template(
    "chat",
    "Chat",
    "One answer to one message, with what was said before it. No tools, no loop.",
    _plan(
        Step(
            name="answer",
            model=MINI,
            prefix_tokens=Range(500, 1_200, 2_500),
            input_tokens=Range(400, 1_200, 4_000),
            output_tokens=Range(160, 300, 600),
            calls_max=1,
            retry_rate=RETRIES,
            cache="5m",
        )
    ),
)
_RAG = Template(
    "rag",
    "Answers from documents",
    "One answer from some five passages that were looked up for it.",
    _plan(
        Step(
            name="answer",
            model=MINI,
            prefix_tokens=Range(800, 1_500, 3_000),
            input_tokens=ASKED,
            retrieved_tokens=Range(1_500, 2_500, 5_000),
            output_tokens=Range(160, 300, 500),
            calls_max=2,
            calls=Range(1.0, 1.1, 1.5),
            retry_rate=RETRIES,
            cache="5m",
            reuse_rate=REUSE,
        ),
        other_cost_usd=Range(0.0001, 0.0005, 0.002),
    ),
)
_TRIAGE = Template(
    "triage",
    "Triage",
    "A short loop on a small model that sorts and routes; what it is not sure of goes to a large one.",
    _plan(
        Step(
            name="triage",
            model=HAIKU,
            prefix_tokens=Range(1_500, 2_000, 4_000),
            input_tokens=Range(200, 400, 800),
            retrieved_tokens=Range(500, 1_500, 3_000),
            output_tokens=Range(80, 150, 250),
            tool_result_tokens=Range(200, 500, 1_200),
            calls=Range(2, 4, 6),
            dispersion=SPREAD,
            calls_max=12,
            retry_rate=RETRIES,
            routing="cascade",
            escalates_to=SONNET,
            escalation_rate=ESCALATION,
            escalation_multiple=CARRIED_OVER,
        )
    ),
)
_SUPPORT = Template(
    "support",
    "Support agent",
    "Looks things up and acts with tools until a question is answered.",
    _plan(
        Step(
            name="support",
            model=SONNET,
            prefix_tokens=Range(1_500, 3_000, 8_000),
            input_tokens=ASKED,
            retrieved_tokens=Range(1_000, 2_500, 4_000),
            output_tokens=ANSWERED,
            tool_result_tokens=TOOL_RESULT,
            calls=Range(4, 6, 9),
            dispersion=SPREAD,
            calls_max=15,
            retry_rate=RETRIES,
            cache="5m",
            reuse_rate=REUSE,
        )
    ),
)
_RESEARCH = Template(
    "research",
    "Research agent",
    "Searches, reads and writes up; its tool results are long and each search costs something.",
    _plan(
        Step(
            name="research",
            model=SONNET,
            prefix_tokens=Range(2_000, 3_500, 8_000),
            input_tokens=ASKED,
            output_tokens=Range(160, 250, 500),
            reasoning_tokens=Range(0, 200, 1_000),
            tool_result_tokens=Range(600, 1_200, 4_000),
            calls=Range(6, 10, 18),
            dispersion=SPREAD,
            calls_max=40,
            retry_rate=RETRIES,
            cache="5m",
            reuse_rate=REUSE,
        ),
        other_cost_usd=Range(0.005, 0.03, 0.10),
    ),
)
_CODING = Template(
    "coding",
    "Coding agent",
    "A long loop of reading, editing and testing, with all of it in the context.",
    _plan(
        Step(
            name="coding",
            model=SONNET,
            prefix_tokens=Range(4_000, 8_000, 20_000),
            input_tokens=Range(300, 1_000, 3_000),
            output_tokens=Range(160, 300, 700),
            reasoning_tokens=Range(0, 200, 1_000),
            tool_result_tokens=Range(500, 1_200, 3_000),
            calls=Range(8, 20, 45),
            dispersion=Range(2.0, 6.0, 20.0),
            calls_max=100,
            retry_rate=RETRIES,
            cache="5m",
            reuse_rate=REUSE,
        )
    ),
)
_EXTRACTION = Template(
    "extraction",
    "Extraction in batches",
    "Fields out of documents, one call each; most of them may wait for the batch price.",
    _plan(
        Step(
            name="extract",
            model=MINI,
            prefix_tokens=Range(500, 1_000, 2_000),
            input_tokens=Range(1_000, 3_000, 10_000),
            output_tokens=Range(150, 400, 1_000),
            calls_max=1,
            retry_rate=RETRIES,
            batch_share=Range(0.5, 0.8, 0.95),
        )
    ),
)

TEMPLATES: Mapping[str, Template] = {
    template.name: template for template in (_CHAT, _RAG, _TRIAGE, _SUPPORT, _RESEARCH, _CODING, _EXTRACTION)
}
