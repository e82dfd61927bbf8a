"""A worker's turn in a process of its own, which dies at once where it is told to: run as a program."""

import os
import signal
import sys
from typing import Any

import django

django.setup()

from apps.alerts import mail_work, senders  # noqa: E402


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(work: Any) -> Any:
    def done(*arguments: Any, **named: Any) -> Any:
        work(*arguments, **named)
        die()

    return done


POINTS = {
    "rendering": (mail_work, "make"),
    "connected": (mail_work, "begin_handing"),
    "handing": (senders, "_hand_over"),
    "accepted": (senders, "_hand_over"),
    "recorded": (mail_work, "record"),
}

if __name__ == "__main__":
    point, org_id = sys.argv[1:]
    module, name = POINTS[point]
    after = point in ("accepted", "recorded")
    setattr(module, name, dying_after(getattr(module, name)) if after else die)
    mail_work.work(int(org_id))
