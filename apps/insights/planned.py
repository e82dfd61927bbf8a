"""What plans say of signals, for workflows with too little history of their own."""

from collections.abc import Mapping, Sequence

from apps.insights.signals import Floats
from apps.organizations.models import Organization


def plan_highs(org: Organization, workflows: Sequence[str]) -> Mapping[str, Floats]:
    """By signal, the P90 of each workflow's live plan in the signal's own unit, NaN without one."""
    return {}
