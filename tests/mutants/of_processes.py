"""Mistakes that whole processes on real servers must notice, killed, stopped and cut off."""

from __future__ import annotations

from tests.mutants.mutant import mutant

_CRASHES = "tests/faults/test_crashes.py::"
_STOPPING = "tests/e2e/test_stopping.py::"
_DATABASE = "tests/faults/test_database.py::"

MUTANTS = (
    mutant(
        "what stands still is restarted whatever its cause",
        "F31",
        "EngineObserver.stalled",
        "if not causes:",
        "if True:",
        "every instance would be restarted again and again while the database is away",
        "tests/e2e/test_outage.py::"
        "test_while_the_database_is_away_the_group_and_memory_stay_and_nothing_is_given_up",
        servers=True,
    ),
    mutant(
        "a stop lets the poll go on",
        "F6",
        "Runner._poll_until_asked",
        "await cancel_and_wait(*own)",
        """await cancel_and_wait(*own[1:])
await own[0]""",
        "a rebalance that does not end would keep the process until somebody kills it",
        "tests/faults/test_brokers.py::"
        "test_a_stop_in_the_middle_of_a_rebalance_with_a_dead_broker_keeps_its_deadline",
        servers=True,
    ),
    mutant(
        "a database that does not answer ends the process",
        "F29 F31 F33",
        "translate",
        """case ServerSelectionTimeoutError() | WaitQueueTimeoutError():
    # Nothing was sent: a smaller command would wait as long for a server or a connection.
    return TransientError(cause)
case PyMongoError(timeout=True) | TimeoutError():
    return TimedOutError(cause)""",
        "",
        "every outage of the database would have to be seen to by somebody",
        "tests/adapters/mongo/test_driver_errors.py",
    ),
    mutant(
        "offsets move with what is read",
        "F5 F32",
        "Ledger.uncommitted",
        """state.partition: state.committable
for state in self
if state.progressed""",
        """state.partition: state.position or 0
for state in self
if (state.position or 0) > (state.committed or 0)""",
        "what was in flight when the process ended would be read by nobody",
        _STOPPING
        + "test_sigterm_without_a_database_ends_at_the_deadline_and_commits_only_what_is_stored",
        _CRASHES + "test_after_the_database_wrote_and_before_the_consumer_knew_all_is_recognised",
        servers=True,
    ),
    mutant(
        "a record does not know itself again",
        "F2",
        "classify_duplicate",
        "return REDELIVERED if came_from(stored, write) else DUPLICATE",
        "return DUPLICATE",
        "a producer's duplicates could not be told from the brokers'",
        _CRASHES
        + "test_after_the_writes_and_before_the_commit_all_is_read_again_and_changes_nothing",
        servers=True,
    ),
    mutant(
        "the offset of the last record is committed",
        "F3",
        "OffsetCommitter.send",
        "self._pending = asyncio.ensure_future(client.commit(kept))",
        """behind = {p: Committed(k.offset - 1, k.metadata) for p, k in kept.items()}
self._pending = asyncio.ensure_future(client.commit(behind))""",
        "every start would read the last record again, and no group would ever catch up",
        "tests/faults/test_crashes.py::test_after_the_brokers_committed_"
        "and_before_the_consumer_knew_nothing_is_read_again",
        servers=True,
    ),
    mutant(
        "an end without a commit",
        "F4",
        "Runner._drain",
        """committed = await self._committer.commit()
while retry""",
        """committed = True
while retry""",
        "every deployment would read again what had just been written",
        _STOPPING
        + "test_sigterm_in_the_middle_of_batches_commits_all_that_is_applied_and_nothing_else",
        servers=True,
    ),
    mutant(
        "trouble of the database is the record's fault",
        "F29 F30 F31 F34",
        "classify",
        "return CodeClass.TRANSIENT",
        "return CodeClass.PERMANENT",
        "an outage would empty the topics into the dead-letter topic",
        _DATABASE
        + "test_while_the_database_refuses_no_offset_moves_and_then_it_heals_by_itself[F34 disk full]",
        servers=True,
    ),
    mutant(
        "a run begins without its indexes",
        "F35",
        "raise_if_failed",
        "if failed:",
        "if False:",
        "two instances would store one message twice",
        "tests/e2e/test_sequences.py::test_c33_without_the_unique_index_nothing_is_consumed",
        servers=True,
    ),
    mutant(
        "what comes early is lost by what comes late",
        "F41",
        "update_of",
        """"$set": write.content,
"$setOnInsert": {"status": SessionStatus.INITIATED.value},""",
        '"$setOnInsert": {**write.content, "status": SessionStatus.INITIATED.value},',
        "the order would decide which of a session's messages are kept",
        "tests/faults/test_order.py::"
        "test_a_log_that_is_shuffled_and_tripled_leaves_the_same_documents",
        servers=True,
    ),
    mutant(
        "nobody watches the indexes of a run",
        "F56",
        "app._supervise",
        ', "indexes": indexes',
        "",
        "an index that is dropped later would be missed by nobody",
        "tests/e2e/test_sequences.py::"
        "test_a_unique_index_that_is_dropped_while_running_ends_the_run_at_an_assignment",
        servers=True,
    ),
    mutant(
        "a run keeps its warnings to itself",
        "F64",
        "app.accept",
        "if found.status is CheckStatus.WARNING:",
        "if False:",
        "what deletes documents would be found out after they are gone",
        "tests/e2e/test_sequences.py::test_c54_what_a_run_warns_of_at_its_start_is_in_its_log",
        servers=True,
    ),
)
