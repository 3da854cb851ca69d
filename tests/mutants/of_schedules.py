"""Mistakes that only a schedule of crashes, rebalances and faults brings to light.

Their tests are the schedules of ``tests/simulation/regressions.py``, by the same names.
"""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        "several commits at once",
        "A12",
        "consumer/kafka/committed.py",
        "        if self._pending is not None and not self._pending.done():\n",
        "        if False:\n",
        (),
        "one that is late lands behind a newer one, and nobody commits again",
    ),
    Mutant(
        "a batch is given up at the first trouble of the database",
        "F31",
        "consumer/engine/pipeline.py",
        "                delay = self._backoff.delay(attempt, self._chance())\n",
        """                if stage is Stage.APPLY:
                    raise Abandoned from error
                delay = self._backoff.delay(attempt, self._chance())
""",
        (),
        "its records stay taken and are never written: the partition stands still",
    ),
    Mutant(
        "what does not fit into a batch is not fetched again",
        "A13",
        "consumer/kafka/source.py",
        "                client.seek(partition, records[count].offset)\n",
        "                pass\n",
        (),
        "the client has counted it as read",
    ),
    Mutant(
        "a gap below the start is not told",
        "F23",
        "consumer/kafka/starts.py",
        "                found.gaps.append(Gap(partition, offset, beginning))\n",
        "                pass\n",
        (),
        "records that were deleted unread are missed by nobody",
    ),
    Mutant(
        "no client is ever replaced",
        "A4 F17",
        "consumer/kafka/source.py",
        "        if isinstance(error, ClientLostError) or "
        "self._group_failures >= FAILURES_UNTIL_REPLACED:\n",
        "        if False:\n",
        (),
        "one whose coordination has ended reads nothing any more",
    ),
    Mutant(
        "a client that fails every poll is kept",
        "A4 F17",
        "consumer/kafka/source.py",
        "        if isinstance(error, ClientLostError) or "
        "self._group_failures >= FAILURES_UNTIL_REPLACED:\n",
        "        if isinstance(error, ClientLostError):\n",
        (),
        "an odd answer to a heartbeat fails every later poll",
    ),
    Mutant(
        "two clients are opened at once",
        "A6",
        "consumer/kafka/source.py",
        "        async with self._opening:\n",
        "        if True:\n",
        (),
        "one of them has partitions that nobody polls",
    ),
    Mutant(
        "a letter that was not acknowledged counts",
        "A28 F39",
        "consumer/kafka/dead_letters.py",
        "[_problem(future) for future in sent if not _acknowledged(future)]",
        "[]",
        (),
        "a record is neither stored nor in the dead-letter topic",
    ),
    Mutant(
        "a timeout of the dead-letter topic ends the process",
        "F39",
        "consumer/kafka/dead_letters.py",
        "        except (KafkaError, OSError, TimeoutError) as error:\n",
        "        except (OSError, TimeoutError) as error:\n",
        (),
        "what passes by itself would be a crash",
    ),
    Mutant(
        "an event takes the end of its session back",
        "B18 F41",
        "consumer/state/writes.py",
        '_ACTIVITY = Guard("status", PAST_INITIATED)\n',
        '_ACTIVITY = Guard("status", frozenset())\n',
        (),
        "a late event makes an ended session active again",
    ),
    Mutant(
        "a command without an answer counts",
        "F32",
        "consumer/mongo/sender.py",
        "        receipt.troubles.append(error)\n        receipt.broken = True\n",
        "        receipt.applied.extend(command)\n",
        (),
        "a command that was cut off half way is taken for carried out",
    ),
    Mutant(
        "what cannot be found is taken for stored",
        "F29",
        "consumer/mongo/settlement.py",
        """            return [_vanished()]
        self._batch.found(_index(statement), stored, own_possible=statement.own_possible)
        return ()

    def session_found(
""",
        """            self._batch.applied(_index(statement))
            return ()
        self._batch.found(_index(statement), stored, own_possible=statement.own_possible)
        return ()

    def session_found(
""",
        (),
        "a contradiction that a deposed primary does not show is lost",
    ),
)
