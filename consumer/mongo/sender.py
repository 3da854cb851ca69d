"""Sends statements in bulks and sorts the answers by statement."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Generic

from consumer.errors import ConsumerError, PreconditionError, TimedOutError, TransientError
from consumer.mongo.collections import BulkReply, RefusedError, WriteFailure
from consumer.mongo.failures import CodeClass, classify, code_name
from consumer.mongo.lane import Lane
from consumer.mongo.statements import Receipt, Statement, W


class Sender(Generic[W]):
    """Bulks of one collection. ``key`` is the only unique index that may reject a statement."""

    def __init__(
        self,
        command: Callable[[Sequence[W]], Awaitable[BulkReply]],
        key: tuple[str, ...],
        lane: Lane,
    ) -> None:
        """Send by ``command``, which raises as the primitives of ``Collections`` do.

        ``lane``: how much one command carries.
        """
        self._command = command
        self._key = key
        self._lane = lane

    async def send(self, statements: Sequence[Statement[W]]) -> Receipt[W]:
        """Send each statement once; what goes wrong is in the receipt, never raised.

        So the answers that did come are not lost, and commands sent side by side are all
        awaited. What had no answer when it travelled alone goes behind the others, so that
        they show whether the trouble is its own.
        """
        receipt: Receipt[W] = Receipt()
        together = [one for one in statements if not one.goes_alone]
        single = [one for one in statements if one.goes_alone]
        single.sort(key=lambda one: one.unanswered)
        # Cut when it is their turn: what has fitted lets the next command carry more.
        parts = chain(self._lane.cut(together), ([one] for one in single))
        halves: deque[Sequence[Statement[W]]] = deque()
        while not receipt.broken:
            command = halves.popleft() if halves else next(parts, None)
            if command is None:
                break
            try:
                reply = await self._command([statement.write for statement in command])
            except RefusedError as error:
                self._taken_apart(command, error, receipt, halves)
            except ConsumerError as error:
                self._unanswered(command, error, receipt)
            else:
                self._sort(command, reply, receipt)
            for statement in command:
                statement.sent = True
        return receipt

    def _taken_apart(
        self,
        command: Sequence[Statement[W]],
        error: RefusedError,
        receipt: Receipt[W],
        halves: deque[Sequence[Statement[W]]],
    ) -> None:
        """Look for the one document that the whole command was refused for."""
        if len(command) == 1:
            receipt.refused.append((command[0], error.cause))
            return
        middle = len(command) // 2
        halves.appendleft(command[middle:])
        halves.appendleft(command[:middle])

    def _unanswered(
        self, command: Sequence[Statement[W]], error: ConsumerError, receipt: Receipt[W]
    ) -> None:
        if isinstance(error, TimedOutError):
            self._lane.timed_out(len(command))
        if len(command) == 1:
            command[0].unanswered += 1
            _blame(command[0], command, receipt)
            if isinstance(error, TransientError):
                error = type(error)(error.cause, error.detail, index=command[0].named)
        receipt.troubles.append(error)
        receipt.broken = True

    def _sort(self, command: Sequence[Statement[W]], reply: BulkReply, receipt: Receipt[W]) -> None:
        code = reply.write_concern_code
        if code is not None:
            # Written perhaps, perhaps to be rolled back: nothing in this reply holds, not
            # even its duplicate keys. A smaller command would wait as long for the majority.
            receipt.troubles.append(TransientError("write_concern", code_name(code)))
            receipt.broken = True
            return
        waiting: dict[int, list[Statement[W]]] = {}
        for place, statement in enumerate(command):
            failed = reply.failures.get(place)
            if failed is None:
                receipt.applied.append(statement)
            elif not self._settled(statement, failed, receipt):
                waiting.setdefault(failed.code, []).append(statement)
        for failed_code, statements in waiting.items():
            self._failed(command, failed_code, statements, receipt)
        if not waiting:
            self._lane.fitted(len(command))

    def _settled(self, statement: Statement[W], failure: WriteFailure, receipt: Receipt[W]) -> bool:
        """Sort a statement's error; tell whether it says something for good."""
        match classify(failure.code):
            case CodeClass.DUPLICATE:
                self._doubted(statement, failure, receipt)
            case CodeClass.PERMANENT:
                receipt.refused.append((statement, code_name(failure.code)))
            case CodeClass.TIMED_OUT | CodeClass.TRANSIENT:
                return False
        return True

    def _failed(
        self,
        command: Sequence[Statement[W]],
        code: int,
        statements: Sequence[Statement[W]],
        receipt: Receipt[W],
    ) -> None:
        """Note trouble that passes.

        The same of several statements is trouble of the command: a router gives the failure
        of a shard to each statement that was for it.
        """
        failure: type[TransientError] = TransientError
        if classify(code) is CodeClass.TIMED_OUT:
            failure = TimedOutError
            self._lane.timed_out(len(command))
        index = None
        if len(statements) == 1:
            _blame(statements[0], command, receipt)
            index = statements[0].named
        receipt.troubles.append(failure(code_name(code), index=index))

    def _doubted(self, statement: Statement[W], failure: WriteFailure, receipt: Receipt[W]) -> None:
        if failure.key is not None and failure.key != self._key:
            # Nothing about this message is known from another index's refusal.
            receipt.troubles.append(
                PreconditionError(
                    f"a unique index on {', '.join(failure.key)} rejected a document; "
                    f"only the one on {', '.join(self._key)} may: drop the other"
                )
            )
            return
        if not statement.sent:
            statement.met_stored = True
        receipt.doubted.append(statement)


def _blame(statement: Statement[W], command: Sequence[Statement[W]], receipt: Receipt[W]) -> None:
    """Count the trouble as the statement's own where others were answered well beside it."""
    others_well = bool(receipt.applied or receipt.doubted or receipt.refused)
    if others_well or (len(command) == 1 and statement.troubles):
        statement.troubles += 1
