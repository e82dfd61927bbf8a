"""The decorator: a function that is asked for before it runs and recorded after."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from finops_ai.calls import Call

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Governed:
    """Wraps functions in calls that `ask` or `ask_async` allows; `asked` are their arguments, or what finds them."""

    ask: Callable[..., Call]
    ask_async: Callable[..., Awaitable[Call]]
    asked: Mapping[str, Any]

    def __call__(self, function: F) -> F:
        if inspect.isasyncgenfunction(function):
            wrapped: Callable[..., Any] = self._asynchronous_stream(function)
        elif inspect.iscoroutinefunction(function):
            wrapped = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            wrapped = self._stream(function)
        else:
            wrapped = self._function(function)
        return cast("F", wrapped)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def governed(*args: Any, **kwargs: Any) -> Any:
            with self.ask(**self._found(args, kwargs)) as call:
                answer = function(*args, **self._with_call(function, kwargs, call))
                call.record_found(answer)
                return answer

        return governed

    def _stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def governed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with self.ask(**self._found(args, kwargs)) as call:
                yield from call.stream(function(*args, **self._with_call(function, kwargs, call)))

        return governed

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def governed(*args: Any, **kwargs: Any) -> Any:
            with await self.ask_async(**self._found(args, kwargs)) as call:
                answer = await function(*args, **self._with_call(function, kwargs, call))
                call.record_found(answer)
                return answer

        return governed

    def _asynchronous_stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        async def governed(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with await self.ask_async(**self._found(args, kwargs)) as call:
                async for chunk in call.astream(function(*args, **self._with_call(function, kwargs, call))):
                    yield chunk

        return governed

    def _found(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {name: value(*args, **kwargs) if callable(value) else value for name, value in self.asked.items()}

    def _with_call(self, function: Callable[..., Any], kwargs: dict[str, Any], call: Call) -> dict[str, Any]:
        return {**kwargs, "call": call} if "call" in inspect.signature(function).parameters else kwargs
