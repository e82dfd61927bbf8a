"""Logs: one line per fact, as JSON in production and as text beside a developer."""

import logging
import re
from typing import Any

import structlog

# Celery's words on each task, where our own line has the ids.
QUIET = ("celery.redirected", "celery.worker.strategy", "celery.app.trace", "kombu", "amqp", "asyncio")

# What no line may hold, whoever wrote it into a message: secrets of keys and webhooks, and tokens.
_SECRET = re.compile(r"aif_live_\w+|whsec_[\w+/=]+|(?<=Bearer )[^\s\"']+")
# Passwords in addresses of servers, and addresses of people.
_ADDRESS = re.compile(r"(?<=://)[^/\s@\"']+(?=@)|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_HIDDEN = "[hidden]"


# What every line has, ours and those of libraries.
_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(*, json: bool, level: str) -> None:
    """Send structlog and the standard library through one formatter to stderr."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(json=json))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for quiet in QUIET:
        logging.getLogger(quiet).setLevel(max(logging.WARNING, root.level))
    # A request that was refused has its line, which names no address; one that failed has its traceback.
    logging.getLogger("django.request").setLevel(logging.ERROR)


def formatter(*, json: bool) -> logging.Formatter:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
            hide_private,
        ],
    )


def hide_private(_logger: Any, _method: str, line: Any) -> str:
    """The finished line without what is nobody's business, also where it stood in a traceback."""
    shown = _SECRET.sub(_HIDDEN, line)
    return _ADDRESS.sub(_HIDDEN, shown) if "@" in shown else shown
