"""Mistakes about the Kafka client, and about dead letters on their way."""

from __future__ import annotations

from tests.mutants.mutant import mutant

_SOURCE = "tests/unit/kafka/test_source.py::"
_OPTIONS = "tests/unit/kafka/test_client_options.py"
_LETTERS = "tests/unit/kafka/test_dead_letters.py::"
_TRAPS = "tests/faults/kafka/"

MUTANTS = (
    mutant(
        "each partition may fill its own buffer",
        "F70",
        "bound_buffers.within_bounds",
        "fetcher._fetch_max_bytes = max((max_bytes - kept) // brokers, least)",
        "fetcher._fetch_max_bytes = max_bytes // brokers",
        "memory would grow with the number of partitions while the database is slow",
        "tests/unit/kafka/test_fetch_results.py::"
        "test_what_is_kept_of_all_partitions_counts_against_one_bound",
    ),
    mutant(
        "what was acknowledged is sent again with what was not",
        "F58",
        "KafkaDeadLetters._send_all",
        "if not isinstance(result, Position)",
        "if True",
        "one letter that is refused would flood the topic with copies of the others",
        _LETTERS + "test_what_was_acknowledged_before_the_trouble_is_not_sent_again",
        _LETTERS + "test_what_was_acknowledged_before_the_time_was_over_is_not_sent_again",
    ),
    mutant(
        "the topic is not asked what it takes",
        "F58",
        "KafkaDeadLetters._learn_limit.told",
        "told = await self._ask_limit()",
        "told = self._told",
        "letters would be cut to half of what the topic took before, not to what it takes",
        _LETTERS + "test_a_topic_that_takes_less_by_now_is_asked_and_only_the_rest_is_sent",
    ),
    mutant(
        "a letter that is refused is sent again as it was",
        "F58 F39",
        "KafkaDeadLetters._learn_limit.limit",
        "limit = told if told != before else refused // 2",
        "limit = told",
        "its partition would stand still where something on the way takes less than the topic",
        _LETTERS + "test_letters_are_halved_until_they_are_taken_where_the_topic_says_nothing_new",
    ),
    mutant(
        "letters are cut to a size of our own",
        "F58",
        "max_dead_letter_bytes",
        "return min(told, letters.max_request_bytes or told)",
        "return min(told, letters.max_request_bytes or 1024 * 1024)",
        "a letter that its topic would take whole could not be sent back",
        "tests/unit/kafka/test_topics.py::"
        "test_a_letter_may_be_as_large_as_the_topic_and_the_settings_allow",
    ),
    mutant(
        "a topic too small for any letter is put up with",
        "F58",
        "_dead_letter_size",
        "if limit < smallest:",
        "if False:",
        "the first bad record would stop its partition for ever",
        "tests/unit/kafka/test_topics.py::test_a_dead_letter_topic_is_judged_by_what_it_takes",
    ),
    mutant(
        "headers count for nothing",
        "F70",
        "size_of",
        'size += len(name) + len(content or b"") + HEADER_OVERHEAD',
        "del name, content",
        "a few kilobytes that compress well would take all the memory there is",
        "tests/unit/kafka/test_fetch_results.py::test_headers_count_for_what_one_fetch_hands_out",
        "tests/unit/kafka/test_source.py::test_headers_count_for_what_a_batch_may_have",
        "tests/unit/kafka/test_range_source.py::test_headers_count_for_what_is_read_at_once",
        "tests/unit/engine/test_pipeline.py::"
        "test_dead_letters_with_heavy_headers_go_in_smaller_portions",
    ),
    mutant(
        "auto_offset_reset latest",
        "A1 F24",
        "_consumer_options",
        '"auto_offset_reset": "earliest",',
        '"auto_offset_reset": "latest",',
        "a commit that is gone would become records that are skipped",
        _OPTIONS,
    ),
    mutant(
        "the client commits by itself",
        "A13",
        "_consumer_options",
        '"enable_auto_commit": False,',
        '"enable_auto_commit": True,',
        "it commits what was handed out",
        _OPTIONS,
        _TRAPS + "test_client_offsets.py::"
        "test_what_was_handed_out_and_not_settled_is_never_committed",
    ),
    mutant(
        "aborted transactions are read",
        "A25 F28",
        "_consumer_options",
        '"isolation_level": "read_committed",',
        '"isolation_level": "read_uncommitted",',
        "what a producer took back would be stored",
        _OPTIONS,
        _TRAPS + "test_client_cluster.py::test_only_committed_records_are_asked_for",
    ),
    mutant(
        "another assignor",
        "A15",
        "_consumer_options",
        '"partition_assignment_strategy": [RangePartitionAssignor],',
        "",
        "a session's partitions of both topics would lie with two members",
        _TRAPS + "test_client_membership.py::test_only_the_range_assignor_is_offered",
    ),
    mutant(
        "no seek back after an error",
        "A2 B19",
        "KafkaSource.poll",
        "self._seek_back(client, failed or tried)",
        "pass",
        "a client that failed has thrown away records of other partitions",
        _SOURCE + "test_after_an_error_everything_is_sought_back_to_what_was_handed_out",
    ),
    mutant(
        "a partition is fetched where the client thinks",
        "A1 F16",
        "KafkaSource._begin",
        "client.seek(partition, start.offset)",
        "",
        "the client takes a group in trouble for one that never committed",
        _SOURCE + "test_a_partition_is_sought_before_its_first_fetch",
    ),
    mutant(
        "an error of OffsetFetch is read as nothing committed",
        "A1 F16",
        "refuse_offset_fetch_errors.send_checked",
        "if not code:",
        "if True:",
        "one such answer at a rebalance replays, or skips, whole partitions",
        _TRAPS + "test_client_offsets.py::"
        "test_an_offset_fetch_error_of_the_whole_reply_never_restarts_a_partition",
        _TRAPS + "test_commits.py::"
        "test_a_group_that_does_not_say_its_offsets_skips_nothing_and_replays_nothing",
    ),
    mutant(
        "a commit outlives its assignment",
        "A11 F14",
        "OffsetCommitter.drop",
        "self._pending.cancel()",
        "pass",
        "the client stamps it with its new generation: it would undo the next owner's commits",
        _SOURCE + "test_a_commit_without_an_answer_does_not_outlive_its_assignment",
    ),
    mutant(
        "a commit from outside the group",
        "A10",
        "GroupClient.commit",
        "if self._consumer._coordinator.generation < 0:",
        "if False:",
        "an empty group accepts it, and a zombie would rewind everybody",
        _TRAPS + "test_client_offsets.py::test_a_member_that_was_made_to_leave_commits_nothing",
    ),
    mutant(
        "a gap is passed over in silence",
        "F23",
        "KafkaSource._accept",
        "gaps.append(OffsetGap(partition, position, min(beginnings[partition], found)))",
        "pass",
        "records that were deleted unread would be missed by nobody",
        _SOURCE + "test_a_hole_that_retention_makes_is_a_gap",
    ),
    mutant(
        "an error that the client keeps is told of no partition",
        "A2 A21",
        "FetchErrors.name_kept.keep_named",
        "self.kept[target] = type(error).__name__",
        "pass",
        "one partition that is refused would stop every partition",
        "tests/faults/kafka/test_client_fetching.py::"
        "test_a_record_that_the_client_finds_too_large_is_not_skipped",
    ),
    mutant(
        "batches unpack without a limit",
        "A23 B20",
        "BoundedDecompressor._unpacked",
        """if len(self._buffer) < self._max_bytes:
    room = min(len(self._buffer) * ROOM_GROWS_BY, self._max_bytes)""",
        """if len(self._buffer) < 2**30:
    room = len(self._buffer) * ROOM_GROWS_BY""",
        "one megabyte may become 34 gigabytes",
        _TRAPS + "test_client_fetching.py::test_beyond_the_limit_nothing_is_unpacked",
        _TRAPS + "test_odd_batches.py::"
        "test_a_bomb_stops_its_partition_and_costs_neither_the_memory_nor_the_process",
    ),
    mutant(
        "acks=1 for dead letters",
        "A28",
        "producer_options",
        '"acks": "all",',
        '"acks": 1,',
        "a broker that dies takes letters with it whose offsets have moved",
        _TRAPS + "test_client_cluster.py::"
        "test_a_dead_letter_is_acknowledged_by_all_replicas_and_may_be_as_large_as_is_said",
    ),
    mutant(
        "a letter without an acknowledgement counts as sent",
        "A28 F39",
        "KafkaDeadLetters._send_all",
        "[result for result in results if isinstance(result, Exception)]",
        "[]",
        "the record would be neither stored nor in the dead-letter topic",
        _LETTERS + "test_one_letter_without_an_acknowledgement_fails_them_all",
    ),
    mutant(
        "a limit is learnt twice that two batches ask for at once",
        "F58",
        "KafkaDeadLetters._learn_limit",
        """if self._limit != refused:
    return
before, self._told = self._told, told""",
        "before, self._told = self._told, told",
        "letters would be cut to half of what their topic takes, until the next start",
        _LETTERS + "test_two_batches_that_are_refused_at_once_learn_one_limit",
    ),
    mutant(
        "a producer that failed is kept",
        "F39",
        "Producer.deliver",
        "await self._discard(client)",
        "pass",
        "an idempotent producer that has failed once may refuse everything after it",
        _LETTERS + "test_a_producer_that_failed_is_replaced",
    ),
    mutant(
        "a redrive without the first timestamp",
        "B22",
        "DeadLetterRecord.redriven_headers",
        "(REDRIVE_TIMESTAMP, str(self.timestamp_ms).encode()),",
        "",
        "an event without a time of its own would move to the moment of its redrive",
        "tests/unit/commands/dead_letters/test_redrive_policy.py::"
        "test_a_record_that_fails_again_counts_on_and_keeps_its_first_time",
    ),
)
