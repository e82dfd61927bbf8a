"""What a rate is where a source publishes none: explicit rules, by provider, named on every cost line.

A rule set never changes once events were priced by it: an event keeps the number of its set, so that its
cost can be explained for as long as it is kept. A new reading of a provider's terms is a new set.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

CLAUDE = "claude"


@dataclass(frozen=True, slots=True)
class MissingRate:
    """A meter without a rate takes `percent` of the rate of another meter, where that one is published."""

    name: str
    meter: str
    from_meter: str
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Step:
    """A multiplier on rates: `percent` of each, of token meters alone where `tokens_only`."""

    name: str
    percent: Fraction
    tokens_only: bool = False


# What holds where a provider says nothing else: tokens cost what tokens of their direction cost.
GENERAL: tuple[MissingRate, ...] = (
    MissingRate("as-input", "cache_read_tokens", "input_tokens"),
    MissingRate("as-input", "cache_write_5m_tokens", "input_tokens"),
    MissingRate("as-short-write", "cache_write_1h_tokens", "cache_write_5m_tokens"),
    MissingRate("as-input", "cache_write_1h_tokens", "input_tokens"),
    MissingRate("as-output", "reasoning_tokens", "output_tokens"),
    MissingRate("as-input", "audio_input_tokens", "input_tokens"),
    MissingRate("as-input", "image_input_tokens", "input_tokens"),
    MissingRate("as-output", "audio_output_tokens", "output_tokens"),
    MissingRate("as-output", "image_output_tokens", "output_tokens"),
    MissingRate("as-cache-read", "audio_cache_read_tokens", "cache_read_tokens"),
    MissingRate("as-input", "audio_cache_read_tokens", "audio_input_tokens"),
    MissingRate("as-input", "audio_cache_read_tokens", "input_tokens"),
    MissingRate("as-cache-read", "image_cache_read_tokens", "cache_read_tokens"),
    MissingRate("as-input", "image_cache_read_tokens", "image_input_tokens"),
    MissingRate("as-input", "image_cache_read_tokens", "input_tokens"),
)

# Claude, whoever sells it. Anthropic, "Pricing", Prompt caching: a cache read costs 0.1 times the base input
# price, a write that lives 5 minutes 1.25 times, one that lives an hour 2 times.
# https://platform.claude.com/docs/en/about-claude/pricing (models that read cheaper than that publish their rate)
CLAUDE_CACHE: tuple[MissingRate, ...] = (
    MissingRate("claude-cache-read", "cache_read_tokens", "input_tokens", 10),
    MissingRate("claude-short-write", "cache_write_5m_tokens", "input_tokens", 125),
    MissingRate("claude-long-write", "cache_write_1h_tokens", "input_tokens", 200),
)

_HALF = Fraction(50)
_BATCH_HALF = Step("batch-half", _HALF, tokens_only=True)
_FLEX_HALF = Step("flex-half", _HALF, tokens_only=True)

# Who sells a batch at half of the standard price of tokens, each by its own price page:
# OpenAI (Batch API), Anthropic (Batch processing), Google (Gemini API and Vertex AI batch), Microsoft
# (Azure OpenAI global batch), AWS (Bedrock batch inference), Mistral (Batch API), Groq (Batch API).
# OpenAI sells flex processing at its batch rates.
TIER_STEPS: Mapping[tuple[str, str], Step] = {
    **{
        (provider, "batch"): _BATCH_HALF
        for provider in ("openai", "anthropic", "google", "azure", "aws", "mistral", "groq")
    },
    ("openai", "flex"): _FLEX_HALF,
}

# From the threshold on, not beyond it. https://docs.x.ai/developers/pricing: long context rates are due "once its
# prompt reaches the model's long context threshold".
AT_THRESHOLD = frozenset({"x-ai"})

# OpenAI's name "fast" is answered with priority processing.
SAME_TIER: Mapping[str, str] = {"fast": "priority"}


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules in force from one release on. `claude` is empty where Claude's models were not told apart."""

    number: int
    general: tuple[MissingRate, ...]
    claude: tuple[MissingRate, ...]
    tier_steps: Mapping[tuple[str, str], Step]

    def missing_rates(self, model: str) -> tuple[MissingRate, ...]:
        """The rules of a model, by its catalog id, in the order in which they are tried."""
        return (*self.claude, *self.general) if CLAUDE in model.lower() else self.general

    def tier_step(self, provider: str, service_tier: str) -> Step | None:
        """What a service tier without a price of its own makes of the standard price; None: nothing."""
        return self.tier_steps.get((provider, service_tier))


RULE_SETS: Mapping[int, RuleSet] = {
    1: RuleSet(1, GENERAL, (), {}),
    2: RuleSet(2, GENERAL, CLAUDE_CACHE, TIER_STEPS),
}
FIRST_RULES = RULE_SETS[1]
RULES = RULE_SETS[2]


def exceeded(threshold: int, provider: str) -> int:
    """The number of prompt tokens to exceed for the rates that a provider publishes for a threshold."""
    return threshold - 1 if provider in AT_THRESHOLD else threshold


def product(steps: Iterable[Step], meter: str) -> Fraction:
    """What the steps together make of one meter's rate."""
    factor = Fraction(1)
    for step in steps:
        if not step.tokens_only or meter.endswith("_tokens"):
            factor *= step.percent / 100
    return factor
