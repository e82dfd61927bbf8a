"""What forms about prices need."""

from collections.abc import Mapping

from django import template

register = template.Library()


@register.simple_tag
def rate(given: Mapping[str, str], meter: str) -> str:
    """What was typed for a meter: a name with a dot in it, which a template cannot look up."""
    return given.get(f"rate.{meter}", "")


@register.simple_tag
def given(values: Mapping[str, str], name: str) -> str:
    """What was typed in the field of that name."""
    return values.get(name, "")
