"""Mistakes that only a schedule of crashes, rebalances and faults brings to light.

Their tests are the schedules of ``tests/simulation/regressions.py``, by the same names.
"""

from __future__ import annotations

from tests.mutants.mutant import mutant, never, without

MUTANTS = (
    never(
        "several commits at once",
        "OffsetCommitter.send",
        "if self._pending is not None and not self._pending.done():",
        "one that is late lands behind a newer one, and nobody commits again",
        rows="A12",
    ),
    mutant(
        "a batch is given up at the first trouble of the database",
        "Pipeline._retry_until_done",
        "delay = self.backoff.delay(attempt, self.jitter())",
        """if stage is Stage.APPLY:
    raise Abandoned from error
delay = self.backoff.delay(attempt, self.jitter())""",
        "its records stay taken and are never written: the partition stands still",
        rows="F31",
    ),
    without(
        "what does not fit into a batch is not fetched again",
        "KafkaSource._bounded",
        "client.seek(partition, offset)",
        "the client has counted it as read",
        rows="A13",
    ),
    never(
        "no client is ever replaced",
        "KafkaSource._after_group_failure",
        "if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:",
        "one whose coordination has ended reads nothing any more",
        rows="A4 F17",
    ),
    mutant(
        "two clients are opened at once",
        "KafkaSource._opened",
        "async with self._opening:",
        "if True:",
        "one of them has partitions that nobody polls",
        rows="A6",
    ),
    mutant(
        "a timeout of the dead-letter topic ends the process",
        "KafkaDeadLetters.send",
        "except FAILURES as error:",
        "except (OSError, TimeoutError) as error:",
        "what passes by itself would be a crash",
        rows="F39",
    ),
    mutant(
        "an event takes the end of its session back",
        "_ACTIVITY",
        "frozenset(status.value for status in PAST_INITIATED)",
        "frozenset()",
        "a late event makes an ended session active again",
        rows="B18 F41",
    ),
    mutant(
        "a command without an answer counts",
        "Sender._unanswered",
        """result.errors.append(error.with_traceback(None))
result.broken = True""",
        "result.applied.extend(command)",
        "a command that was cut off half way is taken for carried out",
        rows="F32",
    ),
    mutant(
        "what cannot be found is taken for stored",
        "ResultRecorder.found",
        'return [TransientError("stored_document_not_found")]',
        """self.sent(SendResult(applied=[key]))
return ()""",
        "a contradiction that a deposed primary does not show is lost",
        rows="F29",
    ),
)
