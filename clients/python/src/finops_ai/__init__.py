"""Ask FinOps for AI before an LLM call, record the call after, and lose neither when the service is away."""

from finops_ai.calls import Call
from finops_ai.client import Client, Stats
from finops_ai.errors import ApiError, Budget, Denied, FinopsError, QueueFull, Reason, Rejected
from finops_ai.leases import Lease

__all__ = [
    "ApiError",
    "Budget",
    "Call",
    "Client",
    "Denied",
    "FinopsError",
    "Lease",
    "QueueFull",
    "Reason",
    "Rejected",
    "Stats",
]
__version__ = "0.1.0"
