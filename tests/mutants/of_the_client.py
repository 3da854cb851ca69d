"""Mistakes about what the Kafka client hides, loses or never ends."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FETCHING = "tests/faults/kafka/test_client_fetching.py::"
_OFFSETS = "tests/faults/kafka/test_client_offsets.py::"
_CLUSTER = "tests/faults/kafka/test_client_cluster.py::"
_COMMITS = "tests/faults/kafka/test_commits.py::"
_BROKERS = "tests/faults/kafka/test_broker_outages.py::"
_LOG = "tests/faults/kafka/test_changed_logs.py::"
_IDS = "tests/unit/kafka/test_topic_ids.py::"
_COMMITTED = "tests/unit/kafka/test_committed.py::"
_SOURCE = "tests/unit/kafka/test_source.py::"
_RUNNER = "tests/unit/engine/test_runner.py::"
_OFFSETS_OF = "tests/unit/engine/test_offsets.py::"
_ACCESS = "tests/faults/kafka/test_access.py::"

MUTANTS = (
    Mutant(
        "a fetch that failed goes on for ever",
        "A3",
        "consumer/kafka/client.py",
        "            count_fetch_as_ended(self._consumer)\n",
        "",
        (_FETCHING + "test_a_fetch_that_failed_does_not_count_as_a_poll_that_goes_on_for_ever",),
        "a process that is stuck would keep its partitions",
    ),
    Mutant(
        "what the client skips after an error is not sought again",
        "A21",
        "consumer/kafka/source.py",
        """        for partition, offset in self._next.items():
            client.seek(partition, offset)
""",
        "        del client\n",
        (_FETCHING + "test_a_record_that_the_client_finds_too_large_is_not_skipped",),
        "it moves on behind a record that it has not handed out",
    ),
    Mutant(
        "what a fetch raises ends the process",
        "A21 F26",
        "consumer/kafka/client.py",
        """        except Exception as error:
            # Any class""",
        """        except ValueError as error:
            # Any class""",
        (
            _FETCHING + "test_a_record_that_the_client_finds_too_large_is_not_skipped",
            _ACCESS + "test_what_brokers_refuse_for_a_while_is_said_and_survived[topic]",
        ),
        "a slip of an administrator would become a loop of restarts",
    ),
    Mutant(
        "a fetch that was refused is repeated at once",
        "A22",
        "consumer/kafka/client_repairs.py",
        """            if self._note(response):
                await asyncio.sleep(FETCH_ERROR_PAUSE)
""",
        "            self._note(response)\n",
        (_FETCHING + "test_a_broker_that_answers_with_errors_is_asked_again_with_pauses",),
        "a broker in trouble would get thousands of requests a second",
    ),
    Mutant(
        "a refused fetch is kept quiet",
        "A22",
        "consumer/kafka/client_repairs.py",
        "                self.refusals[target] = error.__name__\n",
        "",
        (_FETCHING + "test_a_partition_that_can_be_read_again_is_said_before_any_record_comes",),
        "a partition that nobody can read would look like one without records",
    ),
    Mutant(
        "the codecs are not tried",
        "A24",
        "consumer/kafka/codecs.py",
        "        if not available() or decode(encode(SAMPLE)) != SAMPLE:\n",
        "        if False:\n",
        (
            _FETCHING + "test_a_codec_whose_library_is_missing_is_found_before_a_record_is_read",
            _FETCHING + "test_a_codec_that_gives_back_something_else_is_found_too",
        ),
        "the first batch of a codec without its library would stop its partition for good",
    ),
    Mutant(
        "a refused commit ends the process",
        "A12 F14 F15",
        "consumer/kafka/kafka_errors.py",
        "        KafkaError,\n        IllegalStateError,\n",
        "        IllegalStateError,\n",
        (
            _OFFSETS + "test_every_refusal_of_a_commit_is_trouble_that_passes",
            _COMMITS + "test_a_commit_of_one_who_is_no_member_any_more_is_dropped_and_the_"
            "records_come_again",
            _COMMITS + "test_a_commit_that_is_refused_for_an_odd_reason_is_said_and_tried_again",
        ),
        "every rebalance would restart instances, which makes the next rebalance",
    ),
    Mutant(
        "an answer that does not come ends the process",
        "A12 F18 F22",
        "consumer/kafka/exchange.py",
        '        raise TransientError("timeout", f"{action} had no answer")\n',
        '        raise TimeoutError(f"{action} had no answer")\n',
        (
            _OFFSETS + "test_a_commit_without_an_answer_ends_at_its_deadline_and_none_overtakes_it",
            _BROKERS + "test_a_coordinator_that_dies_is_replaced_by_another",
            _BROKERS + "test_what_a_network_does_to_a_connection_costs_time_and_no_record"
            "[half_open]",
        ),
        "one connection that a firewall has forgotten would restart every instance",
    ),
    Mutant(
        "a refused commit counts as done",
        "F13",
        "consumer/engine/offsets.py",
        """                    self._refused(error, self._interval)
                    return False
""",
        "                    self._refused(error, self._interval)\n",
        (_COMMITS + "test_a_commit_that_meets_a_coordinator_in_trouble_is_made_good",),
        "the group would stay behind for ever, and after a crash begin there",
    ),
    Mutant(
        "settings under which records vanish are passed over",
        "A19",
        "consumer/kafka/preconditions.py",
        "    results += _durable(present)\n",
        "",
        (_CLUSTER + "test_settings_under_which_records_that_were_read_may_vanish_are_warned_of",),
        "the client sends no leader epochs: nothing else keeps new records from being skipped",
    ),
    Mutant(
        "a missing topic is a warning",
        "A20 F25",
        "consumer/kafka/preconditions.py",
        'else CheckResult.failed(f"topic {name}", "does not exist", _create_command(kafka, name))',
        'else CheckResult.warning(f"topic {name}", "does not exist")',
        (
            _CLUSTER + "test_a_missing_topic_is_refused_at_the_start",
            _LOG + "test_missing_topics_are_refused_at_the_start_with_a_fix"
            "[there0-topic events: does not exist]",
        ),
        "a misspelt name would be read for ever without a record",
    ),
    Mutant(
        "the brokers may create what is asked for",
        "A20",
        "consumer/kafka/connection.py",
        "    MetadataRequest, allow_auto_topic_creation=False\n",
        "    MetadataRequest, allow_auto_topic_creation=True\n",
        (_CLUSTER + "test_no_client_lets_the_brokers_create_what_it_asks_for",),
        "a typo would become a topic with another number of partitions",
    ),
    Mutant(
        "what the preconditions find is not refused",
        "F25",
        "consumer/app.py",
        "        accept(results)\n",
        "",
        (_LOG + "test_missing_topics_are_refused_at_the_start_with_a_fix",),
        "a session's records would go to different instances",
    ),
    Mutant(
        "a key's hash keeps its sign",
        "A26",
        "consumer/kafka/range_reader.py",
        "(murmur2(key) & 0x7FFFFFFF) % count)",
        "murmur2(key) % count)",
        (_CLUSTER + "test_a_session_is_looked_for_where_a_producer_with_murmur2_puts_it",),
        "half of the sessions would be looked for in partitions that have nothing of them",
    ),
    Mutant(
        "a mechanism whose sessions end",
        "A27",
        "consumer/settings/values.py",
        '    SCRAM_SHA_512 = "SCRAM-SHA-512"\n',
        '    SCRAM_SHA_512 = "SCRAM-SHA-512"\n    OAUTHBEARER = "OAUTHBEARER"\n',
        (_CLUSTER + "test_no_mechanism_is_offered_whose_sessions_end_under_the_client",),
        "the client does not authenticate again when a token expires",
    ),
    Mutant(
        "a leader that moves is trouble of the partition",
        "F19",
        "consumer/kafka/client_repairs.py",
        "_ROUTING = (NotLeaderForPartitionError, UnknownTopicOrPartitionError)\n",
        "_ROUTING = (UnknownTopicOrPartitionError,)\n",
        (_BROKERS + "test_a_partition_whose_leader_moves_is_read_on_and_called_in_order",),
        "every election would set partitions aside and make instances unready",
    ),
    Mutant(
        "brokers that are away ask for a restart",
        "F21",
        "consumer/observability/observer.py",
        '            self._health.not_ready(UNREACHABLE, f"{len(partitions)} partitions: {causes}")\n',
        '            self._health.unhealthy(UNREACHABLE, f"{len(partitions)} partitions: {causes}")\n',
        (_BROKERS + "test_without_brokers_the_process_lives_says_so_and_goes_on_later",),
        "all instances would be restarted again and again, which helps nobody",
    ),
    Mutant(
        "what was deleted before the start is passed over in silence",
        "F23",
        "consumer/kafka/starts.py",
        """            if offset is not None and offset < beginning:
                found.gaps.append(Gap(partition, offset, beginning))
""",
        "",
        (
            _LOG + "test_records_that_retention_deleted_unread_are_said_and_the_rest_is_read",
            _LOG + "test_the_engine_says_the_gap_aloud_and_goes_on_behind_it",
        ),
        "records that were deleted unread would be missed by nobody",
    ),
    Mutant(
        "a log that began anew is not told",
        "F23",
        "consumer/kafka/starts.py",
        "            found.resets.append(Reset(partition, before.next, beginning))\n",
        "",
        (_LOG + "test_a_log_that_was_cut_back_is_read_from_its_beginning_and_said",),
        "the ledger would hold offsets of a log that is no more",
    ),
    Mutant(
        "without a commit reading begins at offset 0",
        "F24",
        "consumer/kafka/starts.py",
        "            start = beginning if offset is None else max(offset, beginning)\n",
        "            start = max(offset or 0, beginning if offset else 0)\n",
        (_LOG + "test_where_no_offset_is_committed_any_more_reading_begins_at_the_oldest_record",),
        "what retention has deleted would be asked for, and its absence taken for a gap",
    ),
    Mutant(
        "a broker that refuses the connection ends the process",
        "F27",
        "consumer/kafka/client.py",
        """        with kafka_errors("connect"):
            await consumer.start()
""",
        "        await consumer.start()\n",
        (_ACCESS + "test_a_wrong_password_at_the_start_is_trouble_that_is_named",),
        "a password that is changed a moment too late would become a loop of restarts",
        servers=True,
    ),
    Mutant(
        "what an open transaction holds back is a stall",
        "F28",
        "consumer/engine/watchdog.py",
        "            behind = behind or readable > 0\n",
        "            behind = behind or readable + end - stable > 0\n",
        (_LOG + "test_what_an_open_transaction_holds_back_is_lag_and_no_stall",),
        "instances would be restarted for what only a producer can end",
    ),
    Mutant(
        "what an open transaction holds back is no lag",
        "F28",
        "consumer/engine/watchdog.py",
        "            self._observer.lag(partition, readable + end - stable)\n",
        "            self._observer.lag(partition, readable)\n",
        (_LOG + "test_what_an_open_transaction_holds_back_is_lag_and_no_stall",),
        "a partition that stands still would look like one that is read to its end",
    ),
    Mutant(
        "a topic made again is taken for the old one",
        "F47",
        "consumer/kafka/topic_ids.py",
        "        if partition.topic not in ids or are_two(topic_id, ids[partition.topic])\n",
        "        if partition.topic not in ids\n",
        (_IDS + "test_a_topic_made_again_is_read_from_its_beginning_though_it_has_outgrown_us",),
        "its first records would never be read, and offsets beyond them committed",
    ),
    Mutant(
        "an offset of another log is begun at",
        "F47",
        "consumer/kafka/starts.py",
        "        if was_read or (kept is not None and are_two(kept.belonging.topic_id, topic_id)):\n",
        "        if was_read:\n",
        (_IDS + "test_a_topic_that_is_made_again_between_two_runs_is_read_from_its_beginning",),
        "what a topic holds that was made again during a pause would be skipped",
    ),
    Mutant(
        "what is in flight of a log that is no more is committed",
        "F47",
        "consumer/engine/runner.py",
        "            self.ledger.drop(partition)\n",
        "            del partition\n",
        (_RUNNER + "test_what_was_in_flight_of_a_log_that_is_no_more_is_not_committed",),
        "offsets of the old log would be those of the new one",
    ),
    Mutant(
        "what a poll has given up is committed without an id",
        "F47",
        "consumer/kafka/source.py",
        "        if given_up := offsets.keys() - self._topic_ids.keys():\n",
        "        if given_up := offsets.keys() - offsets.keys():\n",
        (_SOURCE + "test_what_the_poll_has_given_up_already_is_not_committed_without_an_id",),
        "an offset of the old log would pass for one of the new, and its first records be skipped",
    ),
    Mutant(
        "what a commit has given up meanwhile is taken for read",
        "F47",
        "consumer/kafka/source.py",
        "        fetched = {p: records for p, records in fetched.items() if p in self._next}\n",
        "        fetched = {p: records for p, records in fetched.items() if p not in back}\n",
        (_SOURCE + "test_a_commit_that_finds_a_log_gone_does_not_upset_the_poll_beside_it",),
        "the process would end with a defect, or go on in the middle of another log",
    ),
    Mutant(
        "a partition is held though its log is no more",
        "F47",
        "consumer/engine/runner.py",
        "            self._release_gone()\n",
        "",
        (_RUNNER + "test_a_partition_is_held_no_longer_than_its_log_lasts",),
        "nothing of the new log would be read, and nobody told what the old one had left",
    ),
    Mutant(
        "a client that is given up says no more where logs end",
        "F47",
        "consumer/kafka/source.py",
        """        self._forget()  # while the client can still say where the logs end
        client, self._client = self._client, None
""",
        """        client, self._client = self._client, None
        self._forget()
""",
        (_IDS + "test_what_was_unread_of_a_log_is_known_also_where_its_client_is_lost",),
        "records that were lost with a topic would not be told, nor stopped for",
    ),
    Mutant(
        "where reading begins is told to an engine that takes no more",
        "F47",
        "consumer/kafka/source.py",
        "        self._starts.forget()  # nobody takes what it would tell, and a reset is told only "
        "once\n",
        "",
        (_IDS + "test_what_is_found_while_the_assignment_ends_is_said_in_the_next",),
        "nobody would be told that a topic was made again, and what of it was unread",
    ),
    Mutant(
        "a topic that nobody reads is no reason to be unready",
        "F47",
        "consumer/kafka/topic_ids.py",
        "            or (topic not in ours and any(counts.get(o, 0) <= counts[topic] for o in ours))\n",
        "",
        (_IDS + "test_a_topic_is_missing_until_it_is_there_and_known_and_read",),
        "an instance that has lost a topic would say that it is ready",
    ),
    Mutant(
        "markers behind the last record are not committed",
        "F49",
        "consumer/engine/runner.py",
        "                    self.ledger.pass_to(partition, self._source.position(partition))\n",
        "                    del partition\n",
        (
            _RUNNER + "test_what_is_passed_without_a_record_is_committed_and_no_gap_afterwards",
            _RUNNER + "test_passing_over_aborted_records_is_progress",
        ),
        "their deletion would count as lost records, and aborted stretches as a stall",
    ),
    Mutant(
        "a client that goes back is followed",
        "F52",
        "consumer/kafka/starts.py",
        "            and (topic_id is None or (end is not None and end < max(before.next, offset or 0)))\n",
        "",
        (
            _IDS + "test_a_client_that_goes_back_in_the_same_log_goes_on_where_the_group_is",
            _LOG + "test_a_broker_that_is_mistaken_about_the_end_of_a_log_moves_nothing_down",
        ),
        "one mistaken broker would have a whole log read again",
    ),
    Mutant(
        "commits follow a truncated log down",
        "F52",
        "consumer/kafka/starts.py",
        "Start(beginning, offset if stands else None, held)",
        "Start(beginning, None, held)",
        (_IDS + "test_a_log_that_was_truncated_is_read_again_and_committed_only_beyond_the_old",),
        "in one and the same log offsets would fall",
    ),
    Mutant(
        "an offset behind the end of a truncated log stays committed",
        "F52",
        "consumer/kafka/starts.py",
        " and end >= (offset or 0)\n",
        "\n",
        (_IDS + "test_no_offset_stays_committed_behind_the_end_of_a_log_that_was_truncated",),
        "what the log grows by before it is reached would be skipped at the next rebalance",
    ),
    Mutant(
        "null beside an offset ends the process",
        "F53",
        "consumer/kafka/client.py",
        'entry.metadata or ""',
        "entry.metadata",
        (_COMMITTED + "test_an_offset_beside_which_null_was_committed_says_nothing_of_itself",),
        "no instance could begin where another program has committed so",
    ),
    Mutant(
        "a client that knows no topic yet misses them all",
        "F47",
        "consumer/kafka/topic_ids.py",
        "        if not counts:  # the client has just been opened, and has not asked yet\n",
        "        if not there:\n",
        (_IDS + "test_a_client_that_has_just_been_opened_misses_nothing_that_is_there",),
        "each client that is replaced would be an error in the log: topics are missing",
    ),
    Mutant(
        "offsets of records that were stored elsewhere are taken over",
        "F53",
        "consumer/kafka/committed.py",
        "            other = self.refuses(kept)\n",
        "            other = None\n",
        (
            _COMMITTED + "test_another_target_is_refused_with_one_line_that_names_both",
            _COMMITTED + "test_an_assignment_whose_records_went_elsewhere_is_refused",
        ),
        "what one database has and the other lacks would be noticed by nobody",
    ),
    Mutant(
        "after a move only what progresses is committed again",
        "F53",
        "consumer/kafka/starts.py",
        "Start(start, None if moved else offset, held)",
        "Start(start, offset, held)",
        (_COMMITTED + "test_after_a_move_even_offsets_that_stand_still_are_committed_again",),
        "a start without the setting would be refused for every partition that is idle",
    ),
    Mutant(
        "a partition that was looked up stays unreadable",
        "F60",
        "consumer/engine/runner.py",
        """            self.ledger.seed(partition, start.offset, start.committed, held=start.held)
            self._can_be_read(partition)
""",
        "            self.ledger.seed(partition, start.offset, start.committed, held=start.held)\n",
        (_RUNNER + "test_a_partition_that_was_looked_up_can_be_read_again_though_it_is_idle",),
        "without a record the instance would be unready for ever",
    ),
    Mutant(
        "a commit that is refused is tried for ever",
        "F61",
        "consumer/kafka/client.py",
        "        try_each_commit_once(consumer)\n",
        "",
        (_COMMITS + "test_a_commit_that_is_refused_is_told_at_once_and_keeps_nobody_waiting[3]",),
        "one topic that is deleted would halt the others until the time to drain is over",
    ),
    Mutant(
        "whoever looks at what is committed takes refused commits back",
        "F83",
        "consumer/engine/offsets.py",
        "            if failures:\n",
        "            self._recovered()\n            if failures:\n",
        (
            _OFFSETS_OF + "test_commits_that_are_refused_stay_so_though_it_is_told_what_is"
            "_committed",
        ),
        "a job would be ready four times a second while no commit is taken",
    ),
    Mutant(
        "a topic that is gone keeps the others from being committed",
        "F61",
        "consumer/engine/offsets.py",
        "                    for partition in error.partitions:\n"
        "                        self._ledger.drop(partition)\n"
        "                    continue\n",
        "                    self._refused(error, self._interval)\n"
        "                    return False\n",
        (_OFFSETS_OF + "test_a_topic_that_is_gone_keeps_no_other_from_being_committed",),
        "a stop would end at its deadline though all that can be committed is",
    ),
    Mutant(
        "brokers that are away are connected to without a pause",
        "F68",
        "consumer/kafka/client.py",
        "        space_out_connecting(consumer)\n",
        "",
        (_BROKERS + "test_without_any_broker_the_client_connects_seldom_and_it_is_counted",),
        "an outage would be answered with a hundred connections a second, from each instance",
    ),
    Mutant(
        "how a commit ends that was given up is complained about",
        "F61",
        "consumer/kafka/client_repairs.py",
        "            task.add_done_callback(ignore_result)\n",
        "            del task\n",
        (
            "tests/unit/kafka/test_client_options.py::"
            "test_how_a_commit_ends_that_was_given_up_is_nobodys_complaint",
        ),
        "an error that is none would stand in the log after some rebalances",
    ),
)
