"""What each recommendation says: what to do, how its saving was reckoned and what would verify it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.insights.recommendations import Kind, Label


@dataclass(frozen=True, slots=True)
class Words:
    """`title` names the change, with figures of the evidence in braces; the others are sentences."""

    title: str
    do: str
    reckoned: str
    verify: str


_TRIAL = "Run both side by side until each arm has as many runs as it needs, and compare how often they succeed."
_METERS = "The cache meters of the next days: nothing about the answers changes."
WORDS: dict[str, Words] = {
    Kind.ROUTE_DOWN: Words(
        "Try {to_model} before {model}",
        "Send these calls to the cheaper model first, and again to the present one where its answer does not hold.",
        "Its own tokens at the cheaper model's prices, 1.0 to 1.35 times as many (tokenizers differ), plus the share of"
        " calls that goes up again after all: 8 %, 15 % or 35 %.",
        "A shadow run of at least 100 calls shows how often the answer holds. " + _TRIAL,
    ),
    Kind.DIRECT_ROUTE: Words(
        "Send straight to {to_model}",
        "Leave out the first try with {model} for these calls, or raise its share of answers that hold.",
        "What the first tries cost, less what those that held would cost at the large model: V (c_s + e c_l - c_l).",
        "Hold back a part of the calls that still try the small model first, and compare cost per success.",
    ),
    Kind.ENABLE_CACHING: Words(
        "Cache prompts of {model}",
        "Put what is the same in every call of a run first, and mark it to be cached ({policy}).",
        "What repeats within the cache's time at the read price, the rest written or plain: the cheapest of off, 5"
        " minutes and 1 hour.",
        _METERS,
    ),
    Kind.FIX_CACHING: Words(
        "Repair the cached prefix of {model}",
        "Something early in the prompt changes from call to call (a time, an id, the order of tools): move it last.",
        "What repeats within the cache's time at the read price, the rest written; against what is read now.",
        _METERS,
    ),
    Kind.DISABLE_CACHING: Words(
        "Stop writing caches of {model}",
        "Writes are paid and hardly read again: send these prompts without a cache mark.",
        "All prompts at the plain input price, against what reads and writes cost now.",
        _METERS,
    ),
    Kind.CACHE_TTL: Words(
        "Keep the cache of {model} for {policy} in place of {policy_now}",
        "Set the lifetime of the cached prefix to what the pauses between calls need.",
        "What repeats within each lifetime at the read price, the rest at that lifetime's write price.",
        _METERS,
    ),
    Kind.BATCH: Words(
        "Send {task_type} calls in batches",
        "Collect these calls and send them to the provider's batch service, where nobody waits for the answer.",
        "30 %, 60 % or 90 % of the calls at the batch price. Whether they may wait, only their owner knows.",
        "The batch tier's line on the next bill.",
    ),
    Kind.BOUND_LOOPS: Words(
        "End runs after {bound} calls",
        "Set a run bound of {bound} steps for the workflow: 95 % of its runs end before.",
        "Every run of the sample replayed and cut at the bound; successes that came later are paid back at their cost.",
        "The share of runs that end at the bound and of those that succeed. " + _TRIAL,
    ),
    Kind.BOUND_RETRIES: Words(
        "Give up after {bound} attempts",
        "Send a failing call at most {bound} times, with growing pauses.",
        "What attempts after the third cost, but for the few that would have been answered at last.",
        "The share of runs that fail before and after.",
    ),
    Kind.COMPACT_CONTEXT: Words(
        "Summarize long contexts",
        "Once the context exceeds {compact_at} tokens, put a summary of {compact_to} in place of all but the first"
        " prompt. Do not prune by a sliding window: where prompts are cached that raises their cost.",
        "The cost model's closed form of the long runs, with and without the summary; 40 % to 95 % of the difference.",
        _TRIAL,
    ),
    Kind.TRIM_TOOL_RESULTS: Words(
        "Shorten tool results",
        "Return only what the next step reads: {tokens} tokens a call now, {peers_p75} in most of your workflows.",
        "A result stays in every later prompt of its run: what is above the other workflows' third quartile,"
        " n (n - 1) / 2 times in a run of n calls.",
        _TRIAL,
    ),
    Kind.TRIM_RETRIEVED: Words(
        "Retrieve less",
        "Fewer or shorter passages: {tokens} tokens a call now, {peers_p75} in most of your workflows.",
        "What is above the other workflows' third quartile, in each of a run's prompts.",
        _TRIAL,
    ),
    Kind.REUSE_ANSWERS: Words(
        "Answer repeated requests once",
        "Keep answers by request hash for a day, and answer the same request from there.",
        "What calls cost whose request hash was answered in the 24 hours before, and the share of them that an old"
        " answer would do for.",
        "Replay a day of requests, and look how often the old answer would have been wrong.",
    ),
    Kind.DEAD_SPEND: Words(
        "Stop runs that come to nothing",
        "Look at the dearest failed runs: check inputs before the first call, and give up earlier.",
        "What failed runs cost, of which 30 %, 60 % or 90 % can be avoided.",
        "The cost of failed runs in the weeks after.",
    ),
    Kind.CUT_ANSWERS: Words(
        "Fit answers to their limit",
        "Ask for shorter answers or raise the limit: an answer that is cut is paid, and often useless.",
        "What calls cost that ended at their output limit, of which 20 %, 50 % or 80 % can be avoided.",
        _TRIAL,
    ),
    Kind.CHANGE_PROVIDER: Words(
        "Buy {model} from {to_provider}",
        "The same model costs less at a provider that you use already: check its terms, its region and its limits.",
        "The same tokens at the other provider's prices, as your contracts have them.",
        "The next bill.",
    ),
}
LABELS = {
    Label.UNCHANGED: "Answers stay the same",
    Label.VERIFIED: "Quality verified",
    Label.UNVERIFIED: "Cost only, quality unverified",
}
GRADES = {
    "A": "A: what happened, priced again",
    "B": "B: a model of your own figures",
    "C": "C: an experiment is needed",
}
WHY = {
    "too_little_before": "too little work in the 28 days before",
    "too_little_since": "too little work since",
    "unpriced": "too many calls without a price",
    "other_work": "the work since is of another kind",
    "no_runs": "calls name no runs, and without runs this cannot be told",
    "no_outcomes": "runs do not say how they end, and without that this cannot be told",
}


class _Known(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "?"


def said(text: str, evidence: Mapping[str, Any]) -> str:
    """A text with the evidence's figures in it."""
    return text.format_map(_Known({name: _shown(value) for name, value in evidence.items()}))


def _shown(value: Any) -> str:
    return f"{value:,.0f}".replace(",", "\u202f") if isinstance(value, float) else str(value)


def words_of(kind: str, evidence: Mapping[str, Any]) -> Words:
    """The words of a recommendation, with its own figures."""
    words = WORDS[kind]
    return Words(*(said(text, evidence) for text in (words.title, words.do, words.reckoned, words.verify)))
