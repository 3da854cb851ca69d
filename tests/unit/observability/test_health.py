"""Ready and alive, and the reasons why not."""

from __future__ import annotations

from consumer.observability.health import BEAT_OVERDUE, Health, Obstacle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_begins_alive_and_not_ready() -> None:
    health = Health()
    assert not health.unhealthy_reasons()
    assert set(health.unready_reasons()) == {"starting"}


def test_it_is_ready_when_every_reason_has_been_taken_back() -> None:
    health = Health()
    health.not_ready("apply", "NetworkTimeout, attempt 1")
    health.not_ready("apply", "NetworkTimeout, attempt 2")
    health.ready("starting")
    assert health.unready_reasons() == {"apply": "NetworkTimeout, attempt 2"}
    health.ready("apply")
    health.ready("apply")
    assert not health.unready_reasons()


def test_an_outage_makes_it_unready_and_not_unhealthy() -> None:
    health = Health()
    health.not_ready("apply", "ServerSelectionTimeout")
    assert not health.unhealthy_reasons()


def test_what_is_unhealthy_is_not_ready_either() -> None:
    health = Health()
    health.ready("starting")
    health.not_ready("stalled", "no progress for 120 s", restart_helps=True)
    assert health.unhealthy_reasons()
    assert set(health.unready_reasons()) == {"stalled"}
    health.ready("stalled")
    assert not health.unready_reasons()


def test_reasons_of_one_kind_can_be_taken_back_together() -> None:
    health = Health()
    health.not_ready("held:t-0", "")
    health.not_ready("held:t-1", "")
    health.ready_where("held:")
    assert set(health.unready_reasons()) == {"starting"}


def test_an_event_loop_that_stops_turning_is_noticed_and_so_is_its_return() -> None:
    clock = Clock()
    health = Health(clock)
    clock.now = 1000.0
    assert not health.unhealthy_reasons()  # nothing is expected before the first beat
    health.beat()
    clock.now += BEAT_OVERDUE - 1
    assert not health.unhealthy_reasons()
    clock.now += 1
    assert health.unhealthy_reasons() == {"event_loop": "no beat for 60 s"}
    health.beat()
    assert not health.unhealthy_reasons()


def test_reasons_that_were_given_do_not_change_afterwards() -> None:
    health = Health()
    reasons = health.unready_reasons()
    health.ready("starting")
    assert set(reasons) == {"starting"}


def test_what_it_waits_for_is_known_with_the_moment_since_which_it_has_waited() -> None:
    now = Clock()
    health = Health(Clock(), now)
    health.ready("starting")
    now.now = 10.0
    health.not_ready("apply", "NetworkTimeout, attempt 1")
    now.now = 20.0
    health.not_ready("apply", "NetworkTimeout, attempt 2")
    assert health.obstacles() == [Obstacle("apply", "NetworkTimeout, attempt 2", 10.0)]
    health.ready("apply")
    health.not_ready("apply", "NetworkTimeout, attempt 1")
    assert [one.since for one in health.obstacles()] == [20.0]


def test_what_a_restart_helps_stands_first_and_once() -> None:
    clock, now = Clock(), Clock()
    health = Health(clock, now)
    health.beat()
    health.not_ready("stalled", "no progress")
    health.not_ready("stalled", "no progress for 120 s", restart_helps=True)
    clock.now, now.now = 100.0, 1000.0
    assert health.obstacles() == [
        Obstacle("stalled", "no progress for 120 s", 0.0, restart_helps=True),
        Obstacle("event_loop", "no beat for 100 s", 900.0, restart_helps=True),
        Obstacle("starting", "not assigned to the group yet", 0.0),
    ]
    assert health.silence() == 100.0
