"""Mistakes that whole processes on real servers must notice, killed, stopped and cut off."""

from __future__ import annotations

from tests.mutants.mutant import mutant, never, without

MUTANTS = (
    without(
        "a database that does not answer ends the process",
        "translate",
        """case errors.ServerSelectionTimeoutError() | errors.WaitQueueTimeoutError():
    # Nothing was sent: a smaller command would wait as long for a server or a connection.
    return TransientError(cause)
case errors.PyMongoError(timeout=True) | TimeoutError():
    return TimedOutError(cause)""",
        "every outage of the database would have to be seen to by somebody",
        "tests/adapters/mongo/test_driver_errors.py",
        rows="F29 F31 F33",
    ),
    mutant(
        "a record does not know itself again",
        "classify_duplicate",
        "return REDELIVERED if came_from(stored, write) else DUPLICATE",
        "return DUPLICATE",
        "a producer's duplicates could not be told from the brokers'",
        "test_after_the_writes_and_before_the_commit_all_is_read_again_and_changes_nothing",
    ),
    mutant(
        "the offset of the last record is committed",
        "OffsetCommitter.send",
        "self._pending = asyncio.ensure_future(client.commit(kept))",
        """behind = {p: Committed(k.offset - 1, k.metadata) for p, k in kept.items()}
self._pending = asyncio.ensure_future(client.commit(behind))""",
        "every start would read the last record again, and no group would ever catch up",
        "test_after_the_brokers_committed_and_before_the_consumer_knew_nothing_is_read_again",
    ),
    mutant(
        "an end without a commit",
        "Runner._drain",
        """committed = await self._committer.commit()
while retry""",
        """committed = True
while retry""",
        "every deployment would read again what had just been written",
        "test_sigterm_in_the_middle_of_batches_commits_all_that_is_applied_and_nothing_else",
    ),
    never(
        "a run begins without its indexes",
        "raise_if_failed",
        "if failed:",
        "two instances would store one message twice",
        "test_c33_without_the_unique_index_nothing_is_consumed",
    ),
    without(
        "nobody watches the indexes of a run",
        "app._supervise",
        ', "indexes": indexes',
        "an index that is dropped later would be missed by nobody",
        "test_a_unique_index_that_is_dropped_while_running_ends_the_run_at_an_assignment",
    ),
    never(
        "a run keeps its warnings to itself",
        "app.accept",
        "if found.status is CheckStatus.WARNING:",
        "what deletes documents would be found out after they are gone",
        "test_c54_what_a_run_warns_of_at_its_start_is_in_its_log",
    ),
)
