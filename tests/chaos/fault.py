"""A fault: what it is called, whose it is, and how it is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from inspect import isasyncgenfunction
from random import Random
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.chaos.world import World

Injection = Callable[["World", Random], AbstractAsyncContextManager[str]]
"""Entering does it, and yields to whom; leaving heals it."""

Steps = Callable[["World", Random], AsyncIterator[str]]
"""The same, written as one function that yields in between."""


class Target(StrEnum):
    """Whose fault it is. Two faults at once are of different ones."""

    CONSUMERS = "consumers"
    BROKERS = "brokers"  # the logs are theirs: what is to be deleted must be readable before
    KAFKA_NETWORK = "kafka network"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Fault:
    """``at_length``: of minutes, for long runs only; it comes first, once and alone."""

    name: str
    description: str
    target: Target
    at_length: bool
    inject: Injection

    def __str__(self) -> str:
        return self.description


FAULTS: dict[str, Fault] = {}
"""Every fault by its name: that of the function that does it."""


def fault(
    description: str, target: Target, *, at_length: bool = False
) -> Callable[[Injection | Steps], Injection]:
    """Make a fault of a function."""

    def register(function: Injection | Steps) -> Injection:
        inject = function
        if isasyncgenfunction(function):
            inject = asynccontextmanager(function)
        name: str = function.__name__
        FAULTS[name] = Fault(name, description, target, at_length, cast("Injection", inject))
        return FAULTS[name].inject

    return register
