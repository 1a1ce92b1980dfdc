"""A bounded number of calls in threads, whose results come in the order of the calls."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

THREADS = min(os.cpu_count() or 1, 16)
"""Calls at a time, where nobody says otherwise."""


class Ahead(Generic[T]):
    """Calls made ahead of whoever takes their results; a context, whose end drops those that have not begun."""

    def __init__(self, calls: int, threads: int = THREADS) -> None:
        """Nothing is called yet.

        Args:
          calls: of each thread that may be under way, or wait to have their results taken.
          threads: calls at a time.
        """
        self._most = calls * threads
        self._pool = ThreadPoolExecutor(threads)
        self._pending: deque[Future[T]] = deque()

    def __enter__(self) -> "Ahead[T]":
        return self

    def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Iterator[T]:
        """Begins with a call, and yields the result of the oldest one if too many are under way.

        Raises:
          Exception: what that one raised.
        """
        self._pending.append(self._pool.submit(function, *arguments, **named))
        if len(self._pending) > self._most:
            yield self._pending.popleft().result()

    def rest(self) -> Iterator[T]:
        """Yields the results that have not been taken. Raises as `call`."""
        while self._pending:
            yield self._pending.popleft().result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
