"""Mistakes about being a member of a group, staying one, and leaving it."""

from __future__ import annotations

from tests.mutants.mutant import mutant, without

MUTANTS = (
    mutant(
        "a client that the group has failed is kept",
        "KafkaSource._after_group_failure",
        "if isinstance(error, ClientLostError) or self._group_failures >= FAILURES_UNTIL_REPLACED:",
        "if isinstance(error, ClientLostError):",
        "its heartbeat is dead, and every poll fails from now on",
        "test_an_odd_answer_to_a_heartbeat_does_not_poison_every_later_poll",
        rows="A4 F17",
    ),
    mutant(
        "trouble of the group ends the process",
        "GroupClient._check_membership",
        "except Exception as error:",
        "except ValueError as error:",
        "a single odd answer of a coordinator would restart instances",
        "test_an_odd_answer_to_a_heartbeat_does_not_poison_every_later_poll",
        "test_a_refused_join_is_trouble_that_passes",
        "test_a_heartbeat_that_fails_oddly_costs_a_new_membership_and_no_record",
        "test_what_brokers_refuse_for_a_while_is_said_and_survived[group]",
    ),
    mutant(
        "a callback runs inside the client's coordination",
        "QuietListener.on_partitions_revoked",
        "await asyncio.wait([asyncio.ensure_future(self._callbacks.on_revoked())])",
        "await self._callbacks.on_revoked()",
        "a cancellation in it would end the coordination for ever",
        "test_a_cancellation_inside_a_callback_does_not_end_the_clients_coordination",
    ),
    mutant(
        "a stop waits for the poll",
        "Runner._poll_until_asked",
        "await cancel_and_wait(*own)",
        """await cancel_and_wait(*own[1:])
await own[0]""",
        "a poll waits without a limit while a group forms",
        "test_a_stop_does_not_wait_for_a_group_that_never_forms",
        "test_a_stop_does_not_wait_for_a_rebalance_that_never_ends",
        "test_a_stop_in_the_middle_of_a_rebalance_with_a_dead_broker_keeps_its_deadline",
    ),
    without(
        "a request may take longer than a session",
        "BELOW",
        '("kafka.request_timeout", "kafka.session_timeout"),',
        "a silent broker holds heartbeats up for as long as a request may take",
        "test_times_under_which_a_silent_broker_costs_the_membership_are_refused[times0]",
    ),
    mutant(
        "a session shorter than a request",
        "_consumer_options",
        '"session_timeout_ms": int(kafka.session_timeout * 1000),',
        '"session_timeout_ms": int(kafka.rebalance_timeout * 1000),',
        "while one broker is silent, the members lose their partitions on all the others",
        "test_a_silent_broker_does_not_starve_heartbeats_to_a_healthy_coordinator",
        "test_a_broker_that_accepts_and_says_nothing_stops_its_own_partitions_only",
    ),
    without(
        "a rebalance may take longer than a request",
        "BELOW",
        '("kafka.rebalance_timeout", "kafka.request_timeout"),',
        "the client would give up every join before the broker may answer it",
        "test_times_under_which_a_member_could_never_join_are_refused",
    ),
    without(
        "a batch is decoded in one go",
        "Pipeline._plan",
        """records_since, bytes_since = 0, 0
await asyncio.sleep(0)""",
        "heartbeats would be late, and the membership over",
        "test_decoding_a_large_batch_leaves_the_event_loop_room_for_heartbeats",
    ),
    mutant(
        "static membership",
        "_consumer_options",
        '"group_id": kafka.group_id,',
        """"group_id": kafka.group_id,
"group_instance_id": kafka.group_id,""",
        "the client has half of it: two of one name would throw each other out for ever",
        "test_no_static_membership_is_asked_for",
    ),
    mutant(
        "a stop does not wait for what is in flight",
        "Runner.run",
        "drained = await self._drain(self._config.drain_deadline, retry=True)",
        "drained = True",
        "every restart would have its last batches delivered again",
        "test_what_is_in_flight_is_finished_and_committed_before_the_group_is_left",
    ),
    mutant(
        "leaving has no deadline",
        "KafkaSource._give_up_client",
        "await stop_quietly(client.close(), timeout)",
        "await client.close()",
        "a silent broker would hold a process until it is killed",
        "test_leaving_takes_no_longer_than_it_may_when_no_broker_answers",
    ),
    mutant(
        "a batch that was given up keeps its partition",
        "InFlightBatches._run",
        """self._settle(batch, spans, report)
finally:
self.ledger.release(batch.records)""",
        """self._settle(batch, spans, report)
self.ledger.release(batch.records)""",
        "a member that has come back would never read that partition again",
        "test_a_member_whose_loop_was_stuck_past_its_session_joins_again_without_loss",
    ),
    mutant(
        "a loop that is stuck is not measured",
        "Watchdog.run",
        "self.observer.loop_lag(clock() - due)",
        "self.observer.loop_lag(0.0)",
        "nobody would learn why the membership was lost",
        "test_a_member_whose_loop_was_stuck_past_its_session_joins_again_without_loss",
    ),
    mutant(
        "a revocation waits for a batch without a limit",
        "InFlightBatches.drain",
        "await asyncio.wait(present, timeout=timeout)",
        "await asyncio.wait(present)",
        "a database that hangs would stop the group's other members, too",
        "test_a_batch_that_outlasts_a_rebalance_is_given_up_and_commits_nothing",
    ),
    mutant(
        "a full house waits without a sign of life",
        "Runner._wait_for_slot",
        "await self._batches.wait_for_one(timeout=IDLE_POLL)",
        "await self._batches.wait_for_one(timeout=600.0)",
        "a batch longer than the poll interval would cost the membership",
        "test_a_batch_that_takes_longer_than_a_poll_may_does_not_cost_the_membership",
    ),
)
