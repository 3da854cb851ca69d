"""Mistakes of whatever reads parts of topics outside of the group: replay, audit, explain, status."""

from __future__ import annotations

from tests.mutants.mutant import mutant

_SOURCE = "tests/unit/kafka/test_range_source.py::"
_READER = "tests/unit/kafka/test_range_reader.py::"
_INPUT = "tests/faults/kafka/test_odd_batches.py::"
_CLUSTER = "tests/faults/kafka/test_client_cluster.py::"
_REQUEST = (
    "tests/unit/commands/replay/test_replay_request.py::"
    "test_a_state_file_belongs_to_the_servers_and_the_collections_it_was_written_for"
)
_STATE = "tests/unit/commands/replay/test_state_file.py::"
_RANGES = "tests/unit/kafka/test_ranges.py::"
_FILTERS = "tests/unit/commands/common/test_record_filter.py::"
_REPLAY = "tests/integration/replay/test_replay.py::"
_REPORT = "tests/unit/commands/replay/test_replay_report.py::"

MUTANTS = (
    mutant(
        "a position that jumps is followed in silence",
        "F48",
        "passed_over.jumped",
        "if begun[partition] > due]",
        "if partition in fetched and begun[partition] > due]",
        "a replay that retention overtook would say that it has read everything",
        _SOURCE + "test_what_is_deleted_is_told_though_no_record_comes_to_tell_of_it[40]",
        _READER + "test_what_is_deleted_while_it_is_read_is_named",
    ),
    mutant(
        "what is deleted and was wanted is no gap",
        "F48",
        "RangeSource._advance",
        "gaps.append(OffsetGap(part.partition, part.first, part.end))",
        "pass",
        "kafka.on_gap=stop would not stop for what is lost",
        _SOURCE + "test_a_hole_that_retention_made_is_reported_and_read_over",
    ),
    mutant(
        "contradictions of two partitions are not told",
        "F90",
        "DryRunState.predict",
        "self.contradictions += _may_differ(write, earlier, result)",
        "pass",
        "a dry run would pass for exact where it cannot be",
        "tests/unit/mongo/test_dry_run.py::"
        "test_batches_side_by_side_are_judged_by_each_other_and_their_contradiction_counted",
    ),
    mutant(
        "a replay with holes ends well",
        "F48",
        "ReplayReport.exit_code",
        "return ExitCode.FOUND if self.unread or self.not_found else",
        "return ExitCode.FOUND if self.not_found else",
        "whoever rebuilds a database by a script would take it for whole",
        _REPORT + "test_a_replay_that_has_not_got_all_of_it_does_not_end_well[facts2-1]",
    ),
    mutant(
        "a replay ends well though listed records are gone",
        "F90",
        "ReplayReport.exit_code",
        "return ExitCode.FOUND if self.unread or self.not_found else",
        "return ExitCode.FOUND if self.unread else",
        "what an audit has found missing would be thought to be back",
        _REPORT + "test_a_replay_that_has_not_got_all_of_it_does_not_end_well[facts1-1]",
    ),
    mutant(
        "a batch that cannot be decoded is trouble of all ranges",
        "F59",
        "RangeSource._step",
        """except PartitionsError as error:
    return self._failed(error.failed)""",
        "",
        "a replay would read nothing of healthy partitions",
        _SOURCE + "test_a_batch_that_cannot_be_decoded_is_named_and_read_over",
    ),
    mutant(
        "a batch that cannot be decoded ends all reading",
        "F59",
        "RangeReader.read",
        """except PartitionsError as error:
    self.unread += reading.failed(error.failed, clock())
    continue""",
        "",
        "status, explain, audit and dead-letters would hang for a minute and give up",
        _READER + "test_a_batch_that_cannot_be_decoded_keeps_nobody_from_the_rest",
    ),
    mutant(
        "a state file is for any server",
        "F63",
        "selection_facts",
        '"--mongo-uri": servers_of(settings.mongo.uri.get_secret_value()),',
        "",
        "everything would count as done in a database that has nothing of it",
        _REQUEST + "[elsewhere0---mongo-uri]",
    ),
    mutant(
        "a state file is for any database",
        "F63 F90",
        "selection_facts",
        '"--database": settings.mongo.database,',
        "",
        "everything would count as done in a database that has nothing of it",
        _REQUEST + "[elsewhere1---database]",
    ),
    mutant(
        "a state file is for any log of the name",
        "F80",
        "StateFile.load",
        "if made_anew:",
        "if False:",
        "of a topic that was made again the first records would be read by nobody",
        _STATE + "test_a_state_of_another_log_is_refused",
    ),
    mutant(
        "an end that cannot be reached is waited for",
        "F80",
        "RangesInReading.moved",
        "end <= self.left[partition]",
        "end < 0",
        "a replay would go on for ever, at no record a second, and an audit end without a table",
        _READER + "test_a_log_that_ends_before_its_range_is_waited_for_no_longer_than_a_moment",
        _SOURCE + "test_a_log_that_ends_before_its_range_ends_the_reading",
    ),
    mutant(
        "nobody looks whether a topic is still the same",
        "F80",
        "_Replay.run",
        '{"topics": self._topics.watch(self._source)}',
        "{}",
        "a replay would wait for a topic that was deleted, for ever",
        _REPLAY + "test_a_topic_that_goes_while_it_is_read_ends_the_replay_with_a_finding[False]",
        servers=True,
    ),
    mutant(
        "a state file takes the place of a link",
        "F88",
        "_replace.path",
        "path = path.resolve()",
        "",
        "the progress would not be where whoever made the link looks for it",
        _STATE + "test_a_link_stays_and_what_it_points_to_is_replaced[True]",
    ),
    mutant(
        "what is kept for a while has a name",
        "F88",
        "scratch_database.database",
        'sqlite3.connect("",',
        'sqlite3.connect(__import__("tempfile").mkdtemp() + "/scratch",',
        "what people said would lie on a disk that nobody looks at, for ever",
        "tests/unit/commands/common/test_scratch.py::"
        "test_a_process_that_is_killed_leaves_nothing_of_what_people_said",
    ),
    mutant(
        "the port for health asks a resolver",
        "F88",
        "HttpServer.server_bind",
        "TCPServer.server_bind(self)",
        "super().server_bind()",
        "a name service that keeps silent would hold up every start",
        "tests/unit/observability/test_health.py::test_a_resolver_that_keeps_silent_holds_nobody_up",
    ),
    mutant(
        "a time ends at the first record stamped later",
        "F81",
        "_range_within.first",
        "first = min(first, extent.end)",
        """first = min(first, extent.end)
end = end if bounds.to_ms is None else min(end, first + 3)""",
        "behind one fast clock an audit would look at nothing, and find nothing",
        _RANGES + "test_a_time_is_read_from_its_first_record_to_the_end_since_any_may_be"
        "_stamped_so",
    ),
    mutant(
        "what is read of a time is of that time",
        "F81",
        "MessageFilter.matches",
        "if not self._bounds.hold(record.timestamp_ms):",
        "if False:",
        "records would be applied again that nobody asked for",
        _FILTERS + "test_a_time_s_records_are_found_wherever_they_stand_and_the_others_counted",
    ),
    mutant(
        "a replay under the live breaker",
        "F90",
        "run_replay._Replay._runner",
        "breaker=NEVER_HOLDS",
        "breaker=BreakerLimits(0.1, 10, 10)",
        "a range of old conflicts would be held, and nobody is there who could let it go",
        _REPLAY + "test_no_share_of_dead_letters_holds_up_a_replay",
    ),
    mutant(
        "the state is not saved at once",
        "F90",
        "_Opening.open",
        "state.save(progress)",
        "",
        "that it cannot be written would turn out after the first hour",
        _REPLAY + "test_a_state_that_cannot_be_written_ends_the_command_before_anything_is_applied",
    ),
    mutant(
        "of a record that is listed twice the last line counts",
        "F90",
        "ListedRecords.load",
        '"SET altered = max(altered, excluded.altered)"',
        '"SET altered = excluded.altered"',
        "an altered document would be applied to, and leave a dead letter",
        "tests/unit/commands/common/test_record_list.py::"
        "test_of_a_record_that_is_listed_twice_altered_counts[lines1]",
    ),
    mutant(
        "letters are looked for by the clock of the brokers",
        "F90",
        "dead_letter_ranges",
        "- CLOCKS_APART.total_seconds()",
        "",
        "letters of a consumer whose clock is fast would not be found",
        "tests/unit/commands/dead_letters/test_dead_letter_selection.py::"
        "test_letters_are_looked_for_an_hour_earlier_since_clocks_differ",
    ),
    mutant(
        "a header's name is worth a partition",
        "B21 F59",
        "NamedPartitionRecords.__next__",
        "if isinstance(error, UnicodeDecodeError) and self._records.repeat():",
        "if False:",
        "one Latin-1 name stops a partition until somebody skips the batch by hand",
        _INPUT + "test_a_header_whose_name_is_not_utf_8_costs_nothing_and_its_letter_has_it[0]",
    ),
    mutant(
        "a letter's odd names are replaced",
        "F59",
        "_HeaderName.encode",
        'return super().encode("utf-8", HEADER_NAME_ERRORS)',
        'return super().encode("utf-8", "replace")',
        "a redriven record is not the one that failed",
        _CLUSTER + "test_a_letter_gives_the_bytes_of_a_header_s_name_back_as_they_came[None-value]",
    ),
)
