"""What SIGINT, SIGTERM and SIGHUP do while this process answers for others."""

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1


@contextmanager
def handling(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Python delivers signals to the main thread only; elsewhere nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold the signals back until the block ends, so that nothing is left half way."""
    held: list[int] = []
    try:
        with handling(ENDING_SIGNALS, lambda number, _frame: held.append(number)):
            yield
    finally:
        for number in held:
            signal.raise_signal(number)


@contextmanager
def signals_leave_the_block() -> Iterator[None]:
    """A signal that would end the process at once leaves through the block's end instead."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    deadly = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    with handling(deadly, leave):
        yield


def end_with_parent() -> None:
    """In a new child: ask the kernel for SIGTERM when the parent dies, killed ones too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
