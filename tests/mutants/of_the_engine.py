"""Mistakes about offsets, assignments and what is in flight, up to the ends of whole processes."""

from __future__ import annotations

from tests.mutants.mutant import mutant, never, without

MUTANTS = (
    mutant(
        "an outage is a reason to restart",
        "EngineObserver.stalled",
        "if not causes:",
        "if True:",
        "every instance would be restarted again and again while the database is away",
        "test_a_stall_with_a_known_cause_is_told_and_is_no_reason_to_restart",
        "test_while_the_database_is_away_the_group_and_memory_stay_and_nothing_is_given_up",
        rows="F21 F31",
    ),
    mutant(
        "a batch of an older assignment tells of its trouble",
        "Pipeline._retry_until_done",
        """if batch.ended.is_set():
    raise Abandoned from error""",
        """if False:
    raise Abandoned from error""",
        "nobody would take it back, and the instance would stay unready",
        "test_what_fails_after_its_assignment_ended_is_no_trouble_of_the_new_one",
        rows="F7 F11",
    ),
    mutant(
        "closing waits for a database that is away",
        "close_client",
        "await stop_quietly(client.close(), CLOSE_SECONDS)",
        "await stop_quietly(client.close(), 6.0)",
        "a stop would take half a minute longer than it may",
        "test_closing_pymongo_takes_no_longer_than_it_may",
        rows="F5",
    ),
    mutant(
        "all dead letters of a batch must arrive at once",
        "Pipeline.process",
        "for chunk in chunks(letters):",
        "for chunk in [letters] if letters else []:",
        "thousands that do not fit into one request's time would be sent again for ever",
        "test_large_dead_letters_go_in_smaller_portions",
        "test_many_dead_letters_go_in_portions_and_none_that_was_acknowledged_goes_again",
        rows="F39",
    ),
    without(
        "a gap that is told is found once more",
        "Backlog.skip_gaps",
        "self.ledger.pass_to(gap.partition, gap.end)",
        "lost records would be counted twice",
        "test_a_gap_without_a_record_behind_it_is_told_once_and_passed_over",
        rows="F23",
    ),
    mutant(
        "commit before write",
        "InFlightBatches._run",
        "try:",
        """for span in spans.values():
    self._ledger.settle(span)
try:""",
        "a crash between the commit and the write loses the batch",
        "test_what_is_applied_is_committed_and_nothing_before",
        rows="F1",
    ),
    mutant(
        "commit what was handed out",
        "Ledger.uncommitted",
        """state.partition: state.committable
for state in self
if state.progressed""",
        """state.partition: state.position or 0
for state in self
if (state.position or 0) > (state.committed or 0)""",
        "the client's position counts records that are not written yet",
        "test_what_is_taken_behind_a_settled_span_is_not_committed_with_it",
        "test_what_is_applied_is_committed_and_nothing_before",
        "test_sigterm_without_a_database_ends_at_the_deadline_and_commits_only_what_is_stored",
        "test_after_the_database_wrote_and_before_the_consumer_knew_all_is_recognised",
        rows="A13 F5 F32",
    ),
    mutant(
        "commit past a gap",
        "Ledger.settle",
        "while state.spans and state.spans[0].settled:",
        "while state.spans and any(one.settled for one in state.spans):",
        "what ends early must wait for all that lies before it",
        "test_a_span_settled_early_waits_for_the_one_before_it",
        "test_under_any_completion_order_the_committable_offset_never_passes_an_unsettled_record",
        rows="A13 F1",
    ),
    mutant(
        "an old assignment is not forgotten",
        "Ledger.assign",
        "self._states = {partition: PartitionState(partition) for partition in sorted(partitions)}",
        "self._states |= {partition: PartitionState(partition) for partition in sorted(partitions)}",
        "offsets of partitions that another member owns by now would be committed",
        "test_what_is_lost_is_forgotten_and_not_committed",
        rows="A10 F7",
    ),
    never(
        "a late batch still sends its dead letters",
        "Pipeline.process",
        "if batch.ended.is_set():",
        "its records belong to another member, who sends the letters too",
        "test_a_batch_that_was_applied_too_late_leaves_no_trace_but_the_writes",
        rows="F11",
    ),
    never(
        "an acknowledged commit of an older assignment is remembered",
        "Ledger.mark_committed",
        "if revision != self.revision:",
        "the ledger would believe a commit that spoke of another history",
        "test_a_commit_of_an_older_epoch_is_not_remembered",
        "test_a_commit_for_a_log_that_began_anew_meanwhile_is_not_remembered",
        rows="A11 F14",
    ),
    mutant(
        "drain without commit on revocation",
        "Runner._revoke.drained",
        "drained = await self._drain(self._config.rebalance_timeout * REVOKE_SHARE, retry=False)",
        "drained = await self._batches.drain(self._config.rebalance_timeout)",
        "every rebalance would deliver again what had just been written",
        "test_a_revocation_lets_what_is_in_flight_end_and_commits_it",
        rows="F9 F10",
    ),
    mutant(
        "records are taken while partitions are revoked",
        "Runner._poll_for_ever",
        """if self._revoking:
    self._discard(idle)
else:""",
        "if True:",
        "what is begun then cannot be committed any more",
        "test_what_a_poll_brings_during_a_revocation_does_not_count_as_taken",
        rows="A14 F9",
    ),
    mutant(
        "two batches of one partition at once",
        "Ledger.idle",
        "if state.partition not in self._busy and state.hold is None",
        "if state.hold is None",
        "of two records that contradict each other the second could come first",
        "test_a_partition_is_not_polled_while_its_batch_is_in_flight_and_the_others_are",
        "test_a_batch_in_flight_keeps_its_partition_from_being_polled_in_a_new_assignment",
        rows="A14 B17",
    ),
    mutant(
        "no sign of life during an outage",
        "Runner._wait_for_slot",
        "polled = await self._source.poll((), 1, 0.0)",
        "polled = Polled()",
        "an outage of the database longer than the poll interval would cost the membership",
        "test_no_more_batches_are_in_flight_than_may_be_and_membership_is_kept",
        rows="F31",
    ),
    mutant(
        "the breaker is ignored",
        "Pipeline._report_and_reject",
        "share = self.breaker.tripped_by(partition, flags)",
        "share = None",
        "one wrong setting would empty a topic into the dead-letter topic",
        "test_a_partition_over_the_breakers_share_is_held_and_the_others_go_on",
        rows="B14",
    ),
    mutant(
        "the breaker is armed again inside a batch",
        "Breaker.tripped_by",
        """if after.bypassed or len(after.flags) < self.limits.minimum:
    continue
if after.share > self.limits.share:""",
        """if len(after.flags) < self.limits.minimum:
    continue
if after.share <= self.limits.share:
    after.bypassed = False
elif not after.bypassed:""",
        "no signal would release a partition whose held batch is good for a moment",
        "test_a_batch_that_was_let_pass_passes_whole_whatever_it_holds",
        "test_whatever_was_held_passes_once_it_is_let",
    ),
    never(
        "nobody is told why a partition is held",
        "Pipeline._hold",
        "if result.rejected.reason not in reasons:",
        "whoever is to let the records pass could not know what is wrong with them",
        "test_a_partition_over_the_breakers_share_is_held_and_the_others_go_on",
        rows="F57",
    ),
    mutant(
        "a hold is not worth a commit",
        "Ledger.give_back",
        "state.hold, state.hold_told = hold, False",
        "state.hold = hold",
        "status asks the brokers only, and would know of no hold",
        "test_a_hold_is_committed_once_beside_an_offset_that_stands_still[0-None]",
        "test_a_hold_is_taken_back_though_nothing_progresses",
    ),
    mutant(
        "a hold that ended while its commit was under way stays committed",
        "Ledger.mark_committed",
        "state.hold_told = holds.get(partition) is state.hold",
        "state.hold_told = True",
        "status would call a partition held that was let go on",
        "test_what_begins_or_ends_while_a_commit_is_under_way_is_told_by_the_next",
        "test_a_hold_that_is_taken_back_while_its_commit_is_under_way_is_committed_over",
    ),
    mutant(
        "a hold outlives its assignment",
        "StartOffsetResolver._compare",
        "StartOffset(start, None if moved else offset, held)",
        "StartOffset(start, None if moved else offset)",
        "an idle partition would be called held for ever once its holder has gone",
        "test_a_hold_ends_with_its_assignment_and_the_next_start_says_that_it_is_kept",
    ),
    mutant(
        "a hold is committed at any length",
        "OffsetMetadata.encode",
        """if self.held is None or len(text) <= MAX_LENGTH:
    return text""",
        "return text",
        "the broker would refuse the offset for what stands beside it",
        "test_a_hold_that_brokers_would_not_take_is_cut_and_the_offset_is_committed",
    ),
    mutant(
        "status tells of no hold",
        "GroupStatus.found.troubled",
        "troubled = any(part.lost or part.held for part in self.partitions)",
        "troubled = any(part.lost for part in self.partitions)",
        "a script that asks for the status would take a group that stands still for a sound one",
        "test_a_held_partition_is_told_and_found",
    ),
    mutant(
        "nothing answers the signal to resume while the servers are waited for",
        "app._run",
        "signals.resume_on_signal(resume)",
        "del resume",
        "whoever sends it would not learn that nothing was held yet",
        "test_sigusr1_while_the_consumer_waits_for_its_servers_is_told_and_ends_nothing",
    ),
    mutant(
        "dead letters are not awaited",
        "Pipeline.process",
        """await self._retry_until_done(
    batch, Stage.DEAD_LETTERS, partial(self.dead_letters.send, chunk)
)""",
        "asyncio.ensure_future(self.dead_letters.send(chunk))  # noqa: RUF006",
        "the offset would move although the letter may never arrive",
        "test_dead_letters_that_cannot_be_sent_are_tried_until_they_are",
        "test_while_no_dead_letter_is_acknowledged_its_partitions_offset_stands_still",
    ),
    mutant(
        "a refused commit at the end is given up",
        "Runner._drain",
        "while retry and not committed:",
        "while False:",
        "a clean stop would end with work done and not committed",
        "test_a_commit_refused_at_the_end_is_tried_again",
        rows="F4 F13",
    ),
    mutant(
        "the second signal is ignored",
        "stop_on_signal.first",
        "signal.signal(other, _second)",
        "signal.signal(other, signal.SIG_IGN)",
        "a process that is stuck could be ended by SIGKILL only",
        "tests/unit/test_signals.py",
        rows="F5",
    ),
    mutant(
        "a backoff without jitter",
        "Backoff.delay",
        "return ceiling * (0.1 + 0.9 * jitter)",
        "return ceiling",
        "all instances would come back at the same moment",
        "test_chance_spreads_the_waits_of_instances_that_met_the_same_outage",
        rows="F21",
    ),
    mutant(
        "a task that dies is not missed",
        "supervise",
        "await asyncio.wait([leading, *tasks], return_when=asyncio.FIRST_COMPLETED)",
        "await asyncio.wait([leading])",
        "the process would live on without what the task did",
        "test_a_background_task_that_fails_is_named",
        rows="F17",
    ),
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
