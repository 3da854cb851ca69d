"""Mistakes about writes, duplicate keys and what the database answers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_INPUT = "tests/faults/input/test_bad_input.py::"
_FAULTS = "tests/adapters/mongo/test_faults.py::"
_ANSWERS = "tests/adapters/mongo/test_answers.py::"
_SESSIONS = "tests/adapters/mongo/test_sessions.py::"
_INDEXES = "tests/adapters/mongo/test_preflight.py::TestIndexes::"
_VERDICT = "tests/unit/state/test_duplicates.py::"
_REAL = "tests/adapters/mongo/test_real_answers.py::"
_LOOKUP = "tests/unit/mongo/test_duplicates.py::"
_FIRST = "tests/adapters/mongo/test_asking_first.py::"
_ANY_ORDER = "tests/adapters/mongo/test_any_order.py::"

MUTANTS = (
    Mutant(
        "a duplicate key is trouble that passes",
        "F36",
        "_DUPLICATE",
        "_DUPLICATE = frozenset({11000, 11001, 12582})",
        "_DUPLICATE: frozenset[int] = frozenset()",
        (
            "tests/adapters/mongo/test_concurrent_writers.py::"
            "test_copies_written_at_once_leave_one_document_each",
        ),
        "the second of two writers would try for ever",
    ),
    Mutant(
        "a missing index is accepted",
        "F35",
        "check_index",
        'return CheckResult.failed(name, "is missing", _creation(required))',
        'return CheckResult.warning(name, "is missing", _creation(required))',
        ("tests/unit/mongo/test_indexes.py",),
        "without the unique index every promise is void",
    ),
    Mutant(
        "an index that is not unique is accepted",
        "F35",
        "_flaws",
        'if required.unique and not index.get("unique"):',
        "if False:",
        (_INDEXES + "test_what_weakens_an_index_is_told",),
        "the second copy of an event would be stored beside the first",
    ),
    Mutant(
        "a foreign unique index is accepted",
        "F35",
        "check_others",
        'if other.get("unique") and not unique_fields <= set(other["key"]):',
        "if False:",
        (_INDEXES + "test_another_unique_index_that_rejects_what_is_no_double_is_a_refusal",),
        "it would reject messages that nobody has sent before",
    ),
    Mutant(
        "the fields of a creation only where it inserts",
        "B18",
        "update_of",
        """"$set": write.content,
"$setOnInsert": {"status": SessionStatus.INITIATED.value},""",
        '"$setOnInsert": {**write.content, "status": SessionStatus.INITIATED.value},',
        (
            "tests/unit/state/test_guards.py::test_each_write_sets_its_own_fields_and_no_other",
            _ANY_ORDER + "test_every_order_doubled_and_split_leaves_the_same_documents_in_memory",
        ),
        "where an event came first, language and start would be lost",
    ),
    Mutant(
        "a counter in the session",
        "F2 F40",
        "update_of",
        'update = {"$set": {"status": SessionStatus.ACTIVE.value}}',
        'update = {"$set": {"status": SessionStatus.ACTIVE.value}, "$inc": {"events": 1}}',
        ("tests/unit/state/test_guards.py::test_no_write_says_more_when_it_is_said_twice",),
        "it counts again at every redelivery",
    ),
    Mutant(
        "an end overwrites an end",
        "B18 F40 F41",
        "writes._END",
        '_END = Guard("status", ENDED)',
        '_END = Guard("status", frozenset())',
        (
            "tests/unit/state/test_guards.py::test_activity_and_end_apply_until_the_status_is_there",
            _INPUT + "test_stubs_late_events_and_ends_in_any_order_are_normal",
            "tests/properties/test_convergence.py::test_a_replay_of_everything_changes_no_byte",
        ),
        "whichever came last would win: the order would decide",
    ),
    Mutant(
        "a duplicate key always means a duplicate",
        "B10 B17",
        "classify_duplicate.differing",
        "differing = differing_fields(write.content, stored, fields)",
        "differing: tuple[str, ...] = ()",
        (
            _VERDICT + "test_other_content_is_a_conflict_even_at_the_same_position",
            _INPUT + "test_names_that_mean_something_elsewhere_are_inert_and_compared",
            _INPUT + "test_the_same_id_with_other_content_is_a_conflict_and_the_first_stays",
        ),
        "another content under the same id would vanish without a trace",
    ),
    Mutant(
        "the same position proves the same record",
        "B17",
        "classify_duplicate.fields",
        "fields = content.fields",
        """if _came_from(stored, content, write.position):
    return REDELIVERED
fields = content.fields""",
        (_VERDICT + "test_other_content_is_a_conflict_even_at_the_same_position",),
        "a topic that was made anew has the same positions with other content",
    ),
    Mutant(
        "Python's idea of equal",
        "B7 B10",
        "same_value",
        "elif _kind(one) is not _kind(other) or one != other:",
        "elif one != other:",
        ("tests/unit/state/test_bson_compare.py::test_other_content_differs",),
        "true, 1 and 1.0 would be one value",
    ),
    Mutant(
        "the violated index is not looked at",
        "F37",
        "Sender._duplicate",
        "if failure.key is not None and failure.key != self._key:",
        "if False:",
        (_FAULTS + "TestOtherIndexes::test_it_stops_the_service_and_is_no_duplicate",),
        "another index's refusal says nothing about this message",
    ),
    Mutant(
        "a write-concern error is ignored",
        "F30 F38",
        "Sender._sort.code",
        "code = reply.write_concern_code",
        "code = None",
        (
            _FAULTS + "TestWriteConcern::test_an_error_of_it_means_the_whole_command_is_sent_again",
            _FAULTS + "TestWriteConcern::test_beside_a_duplicate_key_it_is_the_error_that_counts",
        ),
        "what a majority does not have can be rolled back after its offset has moved",
    ),
    Mutant(
        "a write-concern error is not read",
        "F30 F38",
        "MongoCollections._write",
        "if concern is not None:",
        "if False:",
        (_ANSWERS + "test_a_write_concern_error_is_seen_beside_failures",),
        "as above, one step earlier",
    ),
    Mutant(
        "silence about a statement is consent",
        "F37",
        "_check_accounted",
        "if done + failed != sent:",
        "if False:",
        (_ANSWERS + "test_a_statement_that_the_answer_passes_over_is_not_taken_for_applied",),
        "it would count as stored, and its offset would move",
    ),
    Mutant(
        "an outage becomes dead letters",
        "F31 F34 F37",
        "classify",
        "return CodeClass.TRANSIENT",
        "return CodeClass.PERMANENT",
        (
            _FAULTS + "TestRefusals::test_an_unknown_code_is_never_a_dead_letter",
            _FAULTS
            + "TestRefusals::test_every_class_of_answer_in_one_bulk_is_handled_by_its_class",
        ),
        "every record that meets the trouble would be given up",
    ),
    Mutant(
        "a poisonous record blocks for ever",
        "F37",
        "classify",
        """if code in PERMANENT:
    return CodeClass.PERMANENT""",
        "",
        (
            _FAULTS
            + "TestRefusals::test_that_record_is_dead_lettered_with_the_code_and_without_values",
        ),
        "its partition would never go on",
    ),
    Mutant(
        "all of one id are sent at once",
        "B16 B17",
        "BatchResults.__init__",
        "setdefault(write.identity, index)",
        "setdefault((*write.identity, str(index)), index)",
        ("tests/unit/state/test_batch.py::test_only_the_first_of_each_identity_is_sent",),
        "an unordered bulk decides by itself which of them is first",
    ),
    Mutant(
        "the own earlier attempt is taken for somebody else's",
        "F32",
        "BatchResults.found",
        "if may_be_ours and result is REDELIVERED:",
        "if False:",
        (_FAULTS + "TestApplied::test_a_retry_that_finds_its_own_write_counts_as_applied",),
        "what was applied would be counted as redelivered",
    ),
    Mutant(
        "a lost race is taken for a duplicate",
        "F36",
        "ResultRecorder.found",
        "elif guard_of(write).holds(stored):",
        "elif False:",
        (_SESSIONS + "TestLostRaces::test_the_same_write_is_sent_again_and_applied",),
        "a creation that lost to an event would never be stored",
    ),
    Mutant(
        "no activity is written",
        "B18",
        "ResultRecorder.__init__",
        "self._activities[session_id] = ActivityWrite(session_id, expire_at)",
        "continue",
        (
            _SESSIONS
            + "TestActivity::test_it_follows_events_that_are_duplicates_or_conflicts_or_refused",
        ),
        "a session with events would stay initiated, and after a crash for ever",
    ),
    Mutant(
        "a session is known before the store has answered",
        "F34",
        "ResultRecorder.due",
        "sessions.update({k: v for k, v in self._activities.items() if k not in ending})",
        """sessions.update({k: v for k, v in self._activities.items() if k not in ending})
for name in self._activities:
    self._cache.remember(name, SessionStatus.ACTIVE)""",
        (_SESSIONS + "TestActivity::test_a_session_is_not_known_before_the_store_has_answered",),
        "a write that failed would never be repeated",
    ),
    Mutant(
        "w=1 for documents",
        "F29",
        "ACKNOWLEDGED",
        'ACKNOWLEDGED = WriteConcern(w="majority", j=True)',
        "ACKNOWLEDGED = WriteConcern(w=1)",
        (
            "tests/adapters/mongo/test_preflight.py::TestOpening::test_the_uri_cannot_weaken_what_acknowledged_means",
        ),
        "a failover would lose what had been committed as done",
    ),
    Mutant(
        "the server's words are passed on",
        "B12",
        "driver_errors",
        "raise translate(error) from (error if isinstance(error, ConnectionFailure) else None)",
        "raise translate(error) from error",
        (
            "tests/adapters/mongo/test_driver_errors.py::test_not_even_the_chain_of_causes_quotes_a_document",
        ),
        "they quote conversations, and a log is read by more people than those",
    ),
    Mutant(
        "every batch begins with commands of the full size",
        "F65",
        "MongoStore.prepare",
        "return MongoWriteBatch(",
        """self._memory.sizers = BatchSizers()
return MongoWriteBatch(""",
        (_FAULTS + "TestTimeouts::test_the_next_batch_begins_with_what_has_fitted",),
        "a database that is slow would be asked for too much by every batch anew",
    ),
    Mutant(
        "commands stay small for ever",
        "F65",
        "BatchSizer.fitted",
        "if size >= self.limit:",
        "if False:",
        (_FAULTS + "TestTimeouts::test_commands_grow_again_when_the_database_is_fast_again",),
        "one outage would leave an instance slow until it is started again",
    ),
    Mutant(
        "sessions are read whole",
        "F69",
        "LookUp._finds",
        "replies = self.collections.find_sessions(names, sorted(fields))",
        "replies = self.collections.find_sessions(names, [*fields, 'metadata'])",
        (_LOOKUP + "test_the_sessions_of_many_events_are_read_without_what_they_hold",),
        "a few hundred events would bring their sessions' metadata into memory",
    ),
    Mutant(
        "a find asks for five hundred whatever they weigh",
        "F69",
        "LookUp._finds",
        "list(places), weight, EXPECTED_BYTES",
        "list(places), weight, 1 << 40",
        (
            _LOOKUP + "test_what_one_find_is_expected_to_bring_is_bounded",
            _LOOKUP + "test_events_are_bounded_by_their_bytes_too",
        ),
        "a redelivered batch of large records would be in memory twice and more",
    ),
    Mutant(
        "the failure of a shard is the record's own",
        "F75",
        "Sender._failed",
        "index = self._blame(writes[0], command, result) if len(writes) == 1 else None",
        """for write in writes:
    index = self._blame(write, [write], result)
    self._pending[write].errors += 1""",
        (
            _FAULTS + "TestThrottling::"
            "test_trouble_of_the_whole_command_multiplies_no_commands_and_accuses_nobody",
            _FAULTS + "TestThrottling::"
            "test_the_failure_of_one_shard_is_of_all_its_statements_and_of_none",
        ),
        "each retry would send a command for each record",
    ),
    Mutant(
        "one statement that times out alone makes all commands smaller",
        "F75",
        "BatchSizer.timed_out",
        """if size > 1:
    self.limit = min(self.limit, size // 2)""",
        "self.limit = max(1, min(self.limit, size // 2))",
        (
            "tests/adapters/mongo/test_batch_sizer.py::"
            "test_one_statement_that_never_fits_makes_no_other_command_smaller",
        ),
        "one record that never fits would slow all partitions down at each of its tries",
    ),
    Mutant(
        "a majority that is away makes commands smaller",
        "F75",
        "Sender._sort",
        'result.errors.append(TransientError("write_concern", code_name(code)))',
        """self._sizer.timed_out(len(command))
result.errors.append(TransientError("write_concern", code_name(code)))""",
        (_FAULTS + "TestTimeouts::test_a_majority_that_is_away_halves_nothing",),
        "a small command waits as long for the majority as a large one",
    ),
    Mutant(
        "what a 2d index cannot take is trouble that passes",
        "F76",
        "driver_errors.PERMANENT",
        '13027: "GeoPointOutOfBounds",  # likewise',
        "",
        (
            "tests/adapters/mongo/test_driver_errors.py::"
            "test_what_an_operators_own_index_cannot_take_of_one_record_is_refused_for_good",
        ),
        "one record would hold its partition for ever",
    ),
    Mutant(
        "an event may fill a document to the last byte",
        "F76",
        "MAX_EVENT_BYTES",
        "MAX_EVENT_BYTES = MAX_DOCUMENT_BYTES - SERVER_ID_BYTES",
        "MAX_EVENT_BYTES = MAX_DOCUMENT_BYTES",
        ("tests/unit/mongo/test_sizes.py::test_nothing_over_the_limit_is_ever_sent",),
        "the server adds an id, and refuses what is too large with a code that says nothing",
    ),
    Mutant(
        "every id that is stored is taken for text",
        "F77",
        "_Find.run",
        "for taken in ids_in(document.get(self.key)):",
        "for taken in (document[self.key],):",
        (
            _FAULTS + "TestForeignDocuments::"
            "test_an_array_as_id_takes_the_place_of_each_of_its_elements",
        ),
        "an array of another writer's would end the process",
    ),
    Mutant(
        "an array with the same content is the same event",
        "F77",
        "classify_duplicate.foreign",
        "foreign = _foreign_ids(write, stored)",
        "foreign: tuple[str, ...] = ()",
        (
            _FAULTS + "TestForeignDocuments::"
            "test_an_array_as_id_takes_the_place_of_each_of_its_elements",
        ),
        "an event that cannot be found by its id would count as stored",
    ),
    Mutant(
        "every race is run until it is won",
        "F77",
        "ResultRecorder._lost_race.changed",
        "changed = len(set(pending.raced_with)) > 1",
        "changed = True",
        (
            _FAULTS + "TestForeignDocuments::"
            "test_a_status_that_only_the_server_takes_for_one_is_no_race_without_end",
        ),
        "one foreign document would hold its partition for ever",
    ),
    Mutant(
        "an index that is being built counts as there",
        "F73",
        "check_index.flaws",
        "flaws = [_flaws(required, index) for index in alike if BUILD not in index]",
        "flaws = [_flaws(required, index) for index in alike]",
        (_REAL + "TestBuilding::test_an_index_that_is_still_being_built_is_not_there_yet",),
        "copies would be stored twice, and then the build would be given up",
    ),
    Mutant(
        "what is listed is not asked for",
        "F73",
        "preflight.create_indexes",
        "await _create(database, index, settings.timeout if built else INDEX_BUILD_SECONDS)",
        """if not built:
    await _create(database, index, INDEX_BUILD_SECONDS)""",
        (
            _REAL + "TestBuilding::test_what_is_listed_is_asked_for_all_the_same",
            _REAL + "TestBuilding::test_a_unique_index_on_one_shard_alone_does_not_pass",
        ),
        "a router lists the indexes of one shard",
    ),
    Mutant(
        "an index that is not unique is to be dropped",
        "F74",
        "check_index",
        "if flaws[0] == [_NOT_UNIQUE]",
        "if False",
        (_REAL + "TestShardedFirst::test_the_fix_converts_the_index_that_cannot_be_dropped",),
        "the index of a shard key cannot be dropped: the fix would lead nowhere",
    ),
    Mutant(
        "documents without an id are doubles",
        "F78",
        "_cannot_be_built",
        'if any(value is None for value in details.get("keyValue", {}).values()):',
        "if False:",
        (_REAL + "TestStrangers::test_documents_without_an_id_are_said_to_lack_it",),
        "whoever looks for doubles finds none that share an id",
    ),
    Mutant(
        "the indexes are looked at once",
        "F56",
        "OpenStore.watch_indexes",
        "await verify_unique_indexes(self.client, self._settings)",
        "pass",
        (
            _REAL + "TestWatching::test_an_index_that_was_dropped_ends_the_service",
            _REAL + "TestWatching::test_it_is_looked_for_at_each_assignment",
        ),
        "an index that is dropped later would be missed by nobody",
    ),
    Mutant(
        "a hiccup while the indexes are looked at ends the service",
        "F56",
        "OpenStore.watch_indexes",
        "on_trouble(error)",
        "raise PreconditionError(str(error)) from error",
        (_REAL + "TestWatching::test_a_database_that_cannot_be_asked_is_asked_again",),
        "every failover would end every instance",
    ),
    Mutant(
        "what is found first is not compared",
        "B17 F40",
        "_FirstFind.run",
        "place = self._ours.get(behind_id(document))",
        """found = raw_document(document)
place = found["sessionId"], found["eventId"]""",
        (_FIRST + "test_what_is_found_and_what_is_not_end_as_they_would_have",),
        "another content under the same id would vanish without a trace",
    ),
    Mutant(
        "what is asked for first counts as stored",
        "F2 F34",
        "_FirstFind.run",
        "read, most = 0, 2 * len(self._keys)",
        """read, most = 0, 2 * len(self._keys)
while self._keys:
    self._recorder.is_there(self._keys.popitem()[1])""",
        (_FIRST + "test_what_is_found_and_what_is_not_end_as_they_would_have",),
        "after an assignment new events would be lost",
    ),
    Mutant(
        "the stored content behind an id is not looked at",
        "B17 F40",
        "behind_id",
        "return stored[_HEADER + SERVER_ID_BYTES :] if stored.startswith(_ID, _HEADER) else None",
        "return stored[_HEADER + SERVER_ID_BYTES :]",
        ("tests/unit/state/test_bson_compare.py::test_what_has_another_id_is_opened",),
        "a document with an id of another kind would be read from the middle of a field",
    ),
    Mutant(
        "asking first must succeed",
        "F31 F34",
        "DuplicateResolver.ask_first",
        "await _run_bounded([find.run for find in finds])",
        """for error in await _run_bounded([find.run for find in finds]):
    raise error""",
        (_FIRST + "test_a_find_that_fails_costs_the_saving_only",),
        "what only saves would hold a batch back",
    ),
    Mutant(
        "what was found first may be the own write",
        "F32",
        "ResultRecorder.found_before",
        "self.pending[key].found_existing = True",
        "",
        (_FIRST + "test_what_is_found_and_what_is_not_end_as_they_would_have",),
        "what was stored before would be counted as applied",
    ),
    Mutant(
        "each try asks first",
        "F32",
        "MongoWriteBatch.execute",
        "self._ask_first = False",
        "pass",
        (_FIRST + "test_a_batch_is_asked_for_once_however_often_it_is_tried",),
        "what an earlier try has written would be counted as somebody else's",
    ),
    Mutant(
        "sessions with the same event ids are asked for together",
        "F69",
        "_FirstFind.takes",
        "or self._session_of.get(event.event_id, event.session_id) != event.session_id",
        "",
        (_FIRST + "test_sessions_that_use_the_same_event_ids_are_not_asked_for_together",),
        "a find would bring the events of many sessions that nobody asked for",
    ),
    Mutant(
        "a cut connection is waited for at once",
        "F31",
        "MongoWriteBatch.execute",
        "if errors and (tried_again or not lost):",
        "if errors:",
        (
            "tests/adapters/mongo/test_failing_commands.py::"
            "test_one_cut_connection_is_healed_at_once",
        ),
        "each failover would show as trouble, though another server is there",
    ),
)
