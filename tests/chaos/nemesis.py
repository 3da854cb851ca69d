"""Who does each fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from random import Random

from tests.chaos import harm_brokers, harm_consumers, harm_database, harm_logs
from tests.chaos.schedule import Fault
from tests.chaos.world import World

Doing = Callable[[World, Random], AbstractAsyncContextManager[str]]
"""Entering does it, and yields to whom; leaving heals it."""

DOINGS: Mapping[Fault, Doing] = {
    Fault.KILL_ONE: harm_consumers.kill_one,
    Fault.KILL_ALL: harm_consumers.kill_all,
    Fault.FREEZE_ONE: harm_consumers.freeze_one,
    Fault.FREEZE_SHORTLY: harm_consumers.freeze_shortly,
    Fault.STOP_ONE: harm_consumers.stop_one,
    Fault.ROLL: harm_consumers.roll,
    Fault.COME_AND_GO: harm_consumers.come_and_go,
    Fault.COME_AND_GO_AT_LENGTH: harm_consumers.come_and_go_at_length,
    Fault.REPLAY: harm_consumers.replay,
    Fault.KILL_BROKER: harm_brokers.kill_broker,
    Fault.FREEZE_BROKER: harm_brokers.freeze_broker,
    Fault.RESTART_BROKER: harm_brokers.restart_broker,
    Fault.LOSE_COORDINATOR: harm_brokers.lose_coordinator,
    Fault.SILENT_BROKER: harm_brokers.silent_broker,
    Fault.SLOW_BROKERS: harm_brokers.slow_brokers,
    Fault.CUT_BROKERS: harm_brokers.cut_brokers,
    Fault.UNREACHABLE_BROKERS: harm_brokers.unreachable_brokers,
    Fault.UNREACHABLE_BROKERS_AT_LENGTH: harm_brokers.unreachable_brokers_at_length,
    Fault.DELETE_CONSUMED: harm_logs.delete_consumed,
    Fault.DELETE_UNREAD: harm_logs.delete_unread,
    Fault.TOPIC_ANEW: harm_logs.make_topic_anew,
    Fault.LETTERS_EXPIRE: harm_logs.expire_letters,
    Fault.KILL_DATABASE: harm_database.kill_database,
    Fault.FREEZE_DATABASE: harm_database.freeze_database,
    Fault.UNREACHABLE_DATABASE: harm_database.unreachable_database,
    Fault.LONG_OUTAGE: harm_database.long_outage,
    Fault.OUTAGE_AT_LENGTH: harm_database.outage_at_length,
    Fault.SILENT_DATABASE: harm_database.silent_database,
    Fault.SLOW_DATABASE: harm_database.slow_database,
    Fault.TRICKLING_DATABASE: harm_database.trickling_database,
    Fault.CUT_ANSWERS: harm_database.cut_answers,
    Fault.CUT_COMMANDS: harm_database.cut_commands,
}
