"""What crossings of signals say, as sentences made of their figures. Pure; names are defused by who asks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apps.insights import wording

Text = Callable[[object], str]
LINES_MAX = 20


def opened(facts: Mapping[str, Any], text: Text, usd: Text, moment: Text) -> tuple[str, str, str]:
    """Title, lead and what to do."""
    signal, kind, scope = _of(facts, text)
    change = wording.change_words({**facts, "signal": signal})
    lead = f"It is {change}" if change else ""
    since, excess, cause = moment(facts.get("since")), facts.get("excess_usd"), facts.get("cause")
    lead += f" since {since}." if lead and since else "." if lead else ""
    if cause:
        lead += f" Likely cause: {text(cause)}."
    if excess is not None:
        lead += f" It costs {usd(excess)} {'so far' if signal == 'runaway' else 'a day'} beyond the usual."
    return wording.title(signal, kind, scope), lead.strip(), wording.fix_words(str(facts.get("fix", "")))[1]


def closed(facts: Mapping[str, Any], text: Text, usd: Text, moment: Text) -> tuple[str, str, str]:
    signal, kind, scope = _of(facts, text)
    where = wording.scope_words(kind, scope)
    lead = f"It is {wording.change_words({**facts, 'signal': signal})}." if signal not in ("runaway", "burn") else ""
    return f"{wording.label(signal)} of {where}: the incident is over", lead, "Nothing is to be done."


def digest(facts: Mapping[str, Any], text: Text, usd: Text, moment: Text) -> tuple[str, str, str]:
    lines = [line for line in _list(facts.get("lines")) if isinstance(line, Mapping)][:LINES_MAX]
    told = "; ".join(
        f"{wording.label(text(line.get('signal')))} of"
        f" {wording.scope_words(text(line.get('scope_kind')), text(line.get('scope_name')))}"
        f" ({usd(line.get('excess_usd'))} a day)"
        for line in lines
    )
    count = text(facts.get("incidents"))
    title = f"{count} signal{'' if count == '1' else 's'} away from the baseline, {usd(facts.get('excess_usd'))} a day"
    return title, f"{told}." if told else "", "Each is too small to be told of by itself. Look at the dearest first."


def _of(facts: Mapping[str, Any], text: Text) -> tuple[str, str, str]:
    return text(facts.get("signal")), text(facts.get("scope_kind")), text(facts.get("scope_name"))


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
