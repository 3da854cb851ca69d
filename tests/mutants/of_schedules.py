"""Mistakes that only a schedule of crashes, rebalances and faults brings to light.

Their tests are the schedules of ``tests/simulation/regressions.py``, by the same names.
"""

from __future__ import annotations

from tests.mutants.mutant import mutant

MUTANTS = (
    mutant(
        "several commits at once",
        "A12",
        "OffsetCommitter.send",
        "if self._pending is not None and not self._pending.done():",
        "if False:",
        "one that is late lands behind a newer one, and nobody commits again",
    ),
    mutant(
        "a batch is given up at the first trouble of the database",
        "F31",
        "Pipeline._retry_until_done",
        "delay = self.backoff.delay(attempt, self.jitter())",
        """if stage is Stage.APPLY:
    raise Abandoned from error
delay = self.backoff.delay(attempt, self.jitter())""",
        "its records stay taken and are never written: the partition stands still",
    ),
    mutant(
        "what does not fit into a batch is not fetched again",
        "A13",
        "KafkaSource._bounded",
        "client.seek(partition, records[count].offset)",
        "pass",
        "the client has counted it as read",
    ),
    mutant(
        "a gap below the start is not told",
        "F23",
        "StartOffsetResolver._compare",
        "resolved.gaps.append(OffsetGap(partition, offset, beginning))",
        "pass",
        "records that were deleted unread are missed by nobody",
    ),
    mutant(
        "no client is ever replaced",
        "A4 F17",
        "KafkaSource._after_group_failure",
        "if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:",
        "if False:",
        "one whose coordination has ended reads nothing any more",
    ),
    mutant(
        "a client that fails every poll is kept",
        "A4 F17",
        "KafkaSource._after_group_failure",
        "if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:",
        "if isinstance(error, ClientLostError):",
        "an odd answer to a heartbeat fails every later poll",
    ),
    mutant(
        "two clients are opened at once",
        "A6",
        "KafkaSource._opened",
        "async with self._opening:",
        "if True:",
        "one of them has partitions that nobody polls",
    ),
    mutant(
        "a letter that was not acknowledged counts",
        "A28 F39",
        "KafkaDeadLetters._send_all",
        "[result for result in results if isinstance(result, Exception)]",
        "[]",
        "a record is neither stored nor in the dead-letter topic",
    ),
    mutant(
        "a timeout of the dead-letter topic ends the process",
        "F39",
        "KafkaDeadLetters.send",
        "except FAILURES as error:",
        "except (OSError, TimeoutError) as error:",
        "what passes by itself would be a crash",
    ),
    mutant(
        "an event takes the end of its session back",
        "B18 F41",
        "_ACTIVITY",
        '_ACTIVITY = Guard("status", PAST_INITIATED)',
        '_ACTIVITY = Guard("status", frozenset())',
        "a late event makes an ended session active again",
    ),
    mutant(
        "a command without an answer counts",
        "F32",
        "Sender._unanswered",
        """result.errors.append(error)
result.broken = True""",
        "result.applied.extend(command)",
        "a command that was cut off half way is taken for carried out",
    ),
    mutant(
        "what cannot be found is taken for stored",
        "F29",
        "ResultRecorder.found",
        'return [TransientError("stored_document_not_found")]',
        """self.sent(SendResult(applied=[key]))
return ()""",
        "a contradiction that a deposed primary does not show is lost",
    ),
)
