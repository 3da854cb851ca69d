"""What the producer sends, and whether its sender is right about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice

from consumer.contract.decode import Decoded, decode
from consumer.contract.record import Record
from consumer.contract.rejection import KeyPolicy, Reason, Rejected
from tests.chaos.workload import workload
from tests.model import Place, agree, part_of, place_of
from tests.model import Sent as SentRecord

MESSAGES = 5000


def test_the_same_seed_says_the_same(seed: int) -> None:
    assert list(islice(workload(seed), 500)) == list(islice(workload(seed), 500))


def test_the_consumer_reads_each_message_as_its_sender_means_it(seed: int) -> None:
    for offset, said in enumerate(islice(workload(seed), MESSAGES)):
        record = Record("t", 0, offset, 1, said.outgoing.key, said.outgoing.value)
        decoded = decode(record, KeyPolicy.DEAD_LETTER)
        if isinstance(said.says, Reason):
            assert isinstance(decoded, Rejected)
            assert decoded.reason is said.says
        else:
            assert isinstance(decoded, Decoded)
            assert json.loads(said.outgoing.value) == said.says


def test_it_repeats_contradicts_and_comes_out_of_order(seed: int) -> None:
    seen: dict[Place, SentRecord] = {}
    repeated = contradicted = early = malformed = 0
    created = set()
    for offset, said in enumerate(islice(workload(seed), MESSAGES)):
        if not isinstance(said.says, Mapping):
            malformed += 1
            continue
        place = place_of(said.says)
        if place[0] == "create":
            created.add(place[1])
        early += place[1] not in created
        record = Record("t", 0, offset, 1, None, None)
        sent = SentRecord(record.position, 1, said.says)
        if place in seen:
            if agree(place[0], part_of(seen[place]), part_of(sent)):
                repeated += 1
            else:
                contradicted += 1
        seen.setdefault(place, sent)
    assert min(repeated, contradicted, early, malformed) > 0
