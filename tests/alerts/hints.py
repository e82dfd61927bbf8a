"""What workers were asked to tell, as it waits in the queue: nobody takes it from there in tests."""

import json

import redis
from django.conf import settings

from apps.organizations.models import Organization


def broker() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL)


def hints(org: Organization) -> int:
    """How often a worker was asked to tell of the organization's crossings."""
    messages = [json.loads(message) for message in broker().lrange(settings.QUEUES["alerts"], 0, -1)]
    asked = [message["headers"] for message in messages if message["headers"]["argsrepr"] == f"({org.pk},)"]
    assert {headers["task"] for headers in asked} <= {"alerts.tell"}
    return len(asked)
