"""The seed of a schedule for each mistake that did harm in it.

A mutant of the same name plants the mistake again (``make mutants``): then the schedule must
break a rule, or it would have become another by a change of the simulation. If so,
``python -m tests.mutants --schedules 3000 "its name"`` finds the first that does.
"""

from __future__ import annotations

from collections.abc import Mapping

REGRESSIONS: Mapping[str, int] = {
    "commit before write": 1,
    "commit what was handed out": 1,
    "two batches of one partition at once": 6,
    "dead letters are not awaited": 6,
    "no seek back after an error": 31,
    "a partition is fetched where the client thinks": 1,
    "a topic made again is taken for the old one": 31,
    "an offset of another log is begun at": 228,
    "the fields of a creation only where it inserts": 0,
    "an end overwrites an end": 1,
    "a duplicate key always means a duplicate": 1,
    "the same position proves the same record": 0,
    "a write-concern error is ignored": 87,
    "what is asked for first counts as stored": 0,
    "what is found first is not compared": 1,
    "an outage becomes dead letters": 222,
    "a poisonous record blocks for ever": 0,
    "all of one id are sent at once": 2,
    "no activity is written": 0,
    "a session is known before the store has answered": 0,
    "a commit outlives its assignment": 62,
    "a gap is passed over in silence": 129,
    "what BSON refuses is found out on the way": 1,
    "several commits at once": 86,
    "a batch is given up at the first trouble of the database": 11,
    "what does not fit into a batch is not fetched again": 0,
    "what was deleted before the start is passed over in silence": 113,
    "no client is ever replaced": 1,
    "a client that the group has failed is kept": 1,
    "two clients are opened at once": 299,
    "a letter without an acknowledgement counts as sent": 16,
    "a timeout of the dead-letter topic ends the process": 16,
    "an event takes the end of its session back": 1,
    "a command without an answer counts": 11,
    "what cannot be found is taken for stored": 235,
    "the breaker is armed again inside a batch": 8,
    "markers behind the last record are not committed": 4,
}
