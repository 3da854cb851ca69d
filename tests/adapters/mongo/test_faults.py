"""What goes wrong between here and the database, and what becomes of each record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bson
import pytest

from consumer.contract.kinds import EVENTS, key_of
from consumer.contract.rejection import Reason, Rejected
from consumer.errors import PreconditionError, TimedOutError, TransientError
from consumer.mongo.collections import RefusedError, WriteFailure
from consumer.mongo.results import MAX_LOST_RACES
from consumer.mongo.store import MongoStore
from consumer.state.outcomes import Outcome, Result
from consumer.state.writes import Write
from tests.fakes.collections import (
    Command,
    Fault,
    MemoryCollections,
    answer_lost,
    not_carried_out,
)
from tests.unit.state.builders import completed, created, event, event_write, failed, write

from .applying import apply, outcomes, persist

APPLIED, REDELIVERED, DUPLICATE, CONFLICT, DEAD_LETTERED = (
    Outcome.APPLIED,
    Outcome.REDELIVERED,
    Outcome.DUPLICATE,
    Outcome.CONFLICT,
    Outcome.DEAD_LETTERED,
)
INSERT, UPDATE = Command.INSERT_EVENTS, Command.UPDATE_SESSIONS
FIND_EVENTS, FIND_SESSIONS = Command.FIND_EVENTS, Command.FIND_SESSIONS

CUT_OFF = TransientError("AutoReconnect")
TOO_SLOW = TimedOutError("NetworkTimeout")
TAKEN = WriteFailure(11000, key_of(EVENTS))
BUSY = WriteFailure(16500)
INVALID = WriteFailure(121)
REFUSED_BY_VALIDATOR = Rejected(
    Reason.UNSTORABLE, "the database refuses the document: DocumentValidationFailure"
)

EVERY_KIND: list[Any] = [event(), created(), completed(), failed()]


@pytest.fixture
def collections() -> MemoryCollections:
    return MemoryCollections()


@pytest.fixture
def store(collections: MemoryCollections) -> MongoStore:
    return MongoStore(collections)


def events(count: int) -> list[Write]:
    return [write(event("s", f"e{n}"), n) for n in range(count)]


def in_place_of(messages: list[Write]) -> Callable[[MemoryCollections], None]:
    """An earlier run has stored these events already."""

    def store_them(collections: MemoryCollections) -> None:
        for one in messages:
            collections.events[one.session_id, one.identity[-1]] = one.content

    return store_them


def ended(results: Any) -> list[Outcome]:
    return [result.outcome for result in results]


def command_of(message: Any) -> Command:
    return INSERT if message.__class__.__name__ == "EventRecorded" else UPDATE


class TestApplied:
    """... is told from redelivered, over all attempts of one delivery."""

    @pytest.mark.parametrize("message", EVERY_KIND)
    @pytest.mark.parametrize("fault", [not_carried_out(CUT_OFF), answer_lost(CUT_OFF)])
    async def test_a_retry_that_finds_its_own_write_counts_as_applied(
        self, collections: MemoryCollections, store: MongoStore, message: Any, fault: Fault
    ) -> None:
        collections.script(command_of(message), fault)
        write_batch = store.prepare([write(message, 5)])
        with pytest.raises(TransientError, match="AutoReconnect"):
            await write_batch()
        assert ended(await write_batch()) == [APPLIED]

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_a_record_that_an_earlier_run_stored_was_redelivered(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        await outcomes(store, write(message, 5))
        store.forget()
        assert await outcomes(store, write(message, 5)) == [REDELIVERED]

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_it_stays_redelivered_when_the_question_has_no_answer_at_first(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        await outcomes(store, write(message, 5))
        find = FIND_EVENTS if command_of(message) is INSERT else FIND_SESSIONS
        collections.script(find, Fault(CUT_OFF), Fault(hidden=True))
        assert ended(await persist(store.prepare([write(message, 5)]))) == [REDELIVERED]

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_after_an_attempt_without_answer_nobody_can_tell_and_it_counts_as_applied(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        await outcomes(store, write(message, 5))
        collections.script(command_of(message), not_carried_out(CUT_OFF))
        assert ended(await persist(store.prepare([write(message, 5)]))) == [APPLIED]

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_what_another_record_wrote_is_a_duplicate_whatever_the_attempts(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        await outcomes(store, write(message, 4))
        collections.script(command_of(message), answer_lost(CUT_OFF))
        assert ended(await persist(store.prepare([write(message, 5)]))) == [DUPLICATE]


class TestThrottling:
    """A service that throttles in the middle of a bulk."""

    async def test_at_one_index_nothing_counts_until_that_index_is_stored(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        four = events(4)
        stored_before = in_place_of([four[1]])
        collections.script(INSERT, Fault(failures={2: BUSY}, meanwhile=stored_before))
        write_batch = store.prepare(four)
        with pytest.raises(TransientError, match="code_16500"):
            await write_batch()
        assert ended(await write_batch()) == [APPLIED, REDELIVERED, APPLIED, APPLIED]
        assert len(collections.events) == 4

    async def test_as_the_code_of_the_whole_command_the_same_writes_are_sent_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, Fault(TransientError("code_16500"), carried_out=2))
        write_batch = store.prepare(events(4))
        with pytest.raises(TransientError, match="code_16500"):
            await write_batch()
        assert ended(await write_batch()) == [APPLIED] * 4
        assert collections.sizes(INSERT) == [4, 4]

    async def test_an_index_that_keeps_failing_is_sent_alone_and_named(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, Fault(failures={2: BUSY}), *[Fault(failures={0: BUSY})] * 4)
        write_batch = store.prepare(events(4))
        named = []
        for _ in range(5):
            with pytest.raises(TransientError) as caught:
                await write_batch()
            named.append(caught.value.index)
        assert named == [None, None, 2, 2, 2]
        assert ended(await write_batch()) == [APPLIED] * 4
        assert collections.sizes(INSERT) == [4, 1, 1, 1, 1, 1]

    async def test_it_does_not_hold_up_the_others_in_its_command(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        never = WriteFailure(987654)

        def poisoned(command: Command, size: int) -> Fault | None:
            return Fault(failures={size - 1: never}) if command is INSERT else None

        collections = MemoryCollections(poisoned)
        write_batch = MongoStore(collections).prepare(events(4))
        for _ in range(5):
            with pytest.raises(TransientError, match="code_987654"):
                await write_batch()
        assert collections.sizes(INSERT) == [4, 1, 1, 1, 1]
        assert len(collections.events) == 3

    @pytest.mark.parametrize("code", [91, 112, 189, 365, 10107, 16500])
    @pytest.mark.reliability("F75")
    async def test_trouble_of_the_whole_command_multiplies_no_commands_and_accuses_nobody(
        self, collections: MemoryCollections, store: MongoStore, code: int
    ) -> None:
        for_each = Fault(failures=dict.fromkeys(range(2000), WriteFailure(code)))
        collections.script(INSERT, *[for_each] * 6)
        write_batch = store.prepare(events(2000))
        for _ in range(6):
            with pytest.raises(TransientError, match=f"code_{code}") as caught:
                await write_batch()
            assert caught.value.index is None
        assert ended(await write_batch()) == [APPLIED] * 2000
        assert collections.sizes(INSERT) == [2000] * 7

    @pytest.mark.reliability("F75")
    async def test_the_failure_of_one_shard_is_of_all_its_statements_and_of_none(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        half = dict.fromkeys(range(0, 200, 2), WriteFailure(189))
        collections.script(INSERT, Fault(failures=half))
        collections.script(INSERT, *[Fault(failures=dict.fromkeys(range(100), BUSY))] * 5)
        write_batch = store.prepare(events(200))
        for _ in range(6):
            with pytest.raises(TransientError) as caught:
                await write_batch()
            assert caught.value.index is None
        assert ended(await write_batch()) == [APPLIED] * 200
        assert collections.sizes(INSERT) == [200, *[100] * 6]


class TestWriteConcern:
    """Written perhaps, but not by a majority."""

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_an_error_of_it_means_the_whole_command_is_sent_again(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        collections.script(command_of(message), Fault(write_concern_code=91))
        write_batch = store.prepare([write(message)])
        with pytest.raises(TransientError, match="write_concern: code_91"):
            await write_batch()
        assert ended(await write_batch()) == [APPLIED]

    @pytest.mark.parametrize("carried_out", [0, 1, 2, 3])
    @pytest.mark.reliability("F38")
    async def test_beside_a_duplicate_key_it_is_the_error_that_counts(
        self, collections: MemoryCollections, store: MongoStore, carried_out: int
    ) -> None:
        three = events(3)
        await outcomes(store, write(event("s", "e1", {"text": "other"}), 9))
        collections.script(INSERT, Fault(write_concern_code=64, carried_out=carried_out))
        write_batch = store.prepare(three)
        with pytest.raises(TransientError, match="write_concern"):
            await write_batch()
        assert collections.sizes(FIND_EVENTS) == []
        assert ended(await write_batch()) == [APPLIED, CONFLICT, APPLIED]
        assert collections.sizes(INSERT)[1:] == [3, 3]

    async def test_what_was_rolled_back_after_it_is_written_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(
            INSERT,
            Fault(write_concern_code=64),
            Fault(meanwhile=lambda them: them.events.clear()),
        )
        assert ended(await persist(store.prepare(events(3)))) == [APPLIED] * 3
        assert len(collections.events) == 3

    async def test_a_session_is_not_remembered_as_active_because_of_it(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, Fault(write_concern_code=64, carried_out=0))
        await persist(store.prepare(events(1)))
        assert collections.sessions["s"]["status"] == "active"


class TestTimeouts:
    """A bulk that does not fit its deadline."""

    async def test_each_one_halves_the_commands_down_to_one_record(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        def slow(command: Command, size: int) -> Fault | None:
            return not_carried_out(TOO_SLOW) if command is INSERT and size > 1 else None

        collections = MemoryCollections(slow)
        write_batch = MongoStore(collections).prepare(events(8))
        for _ in range(3):
            with pytest.raises(TimedOutError):
                await write_batch()
        await persist(write_batch)
        assert collections.sizes(INSERT)[:5] == [8, 4, 2, 1, 2]
        assert len(collections.events) == 8

    @pytest.mark.reliability("F65")
    async def test_the_next_batch_begins_with_what_has_fitted(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        def slow(command: Command, size: int) -> Fault | None:
            # Carried out, but too late to be heard: what a slow server does.
            return answer_lost(TOO_SLOW) if command is INSERT and size > 100 else None

        collections = MemoryCollections(slow)
        store = MongoStore(collections)
        lost = 0
        for batch in range(10):
            names = [write(event(f"s{batch}", f"e{n}"), n) for n in range(400)]
            write_batch = store.prepare(names)
            for _ in range(50):
                try:
                    await write_batch()
                    break
                except TimedOutError:
                    lost += 1
        sizes = collections.sizes(INSERT)
        assert sizes[:4] == [400, 200, 100, 106]
        assert lost <= 10, "a batch in which everything is sent too large fails more often"
        assert len(collections.events) == 4000

    @pytest.mark.reliability("F65")
    async def test_commands_grow_again_when_the_database_is_fast_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, *[not_carried_out(TOO_SLOW)] * 9)
        await persist(store.prepare(events(400)))
        for batch in range(60):
            names = [write(event(f"s{batch}", f"e{n}"), n) for n in range(400)]
            assert ended(await apply(store, names)) == [APPLIED] * 400
        assert collections.sizes(INSERT)[9] == 1
        assert collections.sizes(INSERT)[-1] == 400

    async def test_what_fits_stays_done_and_only_the_rest_is_sent_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, not_carried_out(TOO_SLOW), Fault(), not_carried_out(TOO_SLOW))
        assert ended(await persist(store.prepare(events(4)))) == [APPLIED] * 4
        assert collections.sizes(INSERT) == [4, 2, 2, 1, 1]

    async def test_one_record_that_never_fits_is_named_once_the_others_are_stored(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        never = events(2)[0]

        def slow(command: Command, size: int) -> Fault | None:
            held = size > 1 or len(collections.events) == 1 or not collections.sizes(INSERT)[2:]
            return not_carried_out(TOO_SLOW) if command is INSERT and held else None

        collections = MemoryCollections(slow)
        write_batch = MongoStore(collections).prepare([never, *events(2)[1:]])
        named = []
        for _ in range(6):
            with pytest.raises(TimedOutError) as caught:
                await write_batch()
            named.append(caught.value.index)
        assert named == [None, None, None, None, 0, 0]
        assert list(collections.events) == [("s", "e1")]

    async def test_an_outage_accuses_no_record_however_small_its_commands_became(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, *[not_carried_out(TOO_SLOW)] * 20)
        write_batch = store.prepare(events(4))
        for _ in range(20):
            with pytest.raises(TimedOutError) as caught:
                await write_batch()
            assert caught.value.index is None
        assert ended(await write_batch()) == [APPLIED] * 4

    async def test_events_and_sessions_are_halved_each_for_themselves(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, not_carried_out(TOO_SLOW))
        sessions = [write(created(f"s{n}"), n) for n in range(4)]
        await persist(store.prepare([*sessions, write(event("s0"), 4), write(event("s0", "f"), 5)]))
        assert collections.sizes(INSERT) == [2]
        assert collections.sizes(UPDATE) == [5, 2, 3]

    async def test_reading_is_halved_too(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, *events(8))
        collections.script(FIND_EVENTS, Fault(TOO_SLOW))
        assert ended(await persist(store.prepare(events(8)))) == [REDELIVERED] * 8
        assert collections.sizes(FIND_EVENTS) == [8, 4, 4]

    async def test_a_deadline_that_passed_in_the_middle_of_a_bulk_is_one_too(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        late = WriteFailure(50)
        collections.script(INSERT, Fault(failures=dict.fromkeys(range(4), late)))
        assert ended(await persist(store.prepare(events(4)))) == [APPLIED] * 4
        assert collections.sizes(INSERT) == [4, 2, 2]

    @pytest.mark.parametrize("code", [50, 64])
    @pytest.mark.reliability("F75")
    async def test_a_majority_that_is_away_halves_nothing(
        self, collections: MemoryCollections, store: MongoStore, code: int
    ) -> None:
        collections.script(INSERT, *[Fault(write_concern_code=code)] * 22)
        write_batch = store.prepare(events(4))
        for _ in range(22):
            with pytest.raises(TransientError, match="write_concern") as caught:
                await write_batch()
            assert caught.value.index is None
        assert ended(await write_batch()) == [APPLIED] * 4
        assert collections.sizes(INSERT) == [4] * 23


class TestOtherIndexes:
    """A duplicate key on an index that is not of the design."""

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_it_stops_the_service_and_is_no_duplicate(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        failure = WriteFailure(11000, ("payload.externalId",))
        collections.script(command_of(message), Fault(failures={0: failure}))
        with pytest.raises(PreconditionError, match=r"payload\.externalId"):
            await apply(store, [write(message)])

    async def test_it_stops_the_service_even_beside_trouble_that_passes(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        other = WriteFailure(11000, ("eventId",))
        collections.script(INSERT, Fault(failures={0: BUSY, 1: other}))
        with pytest.raises(PreconditionError):
            await apply(store, events(2))

    async def test_without_the_name_of_an_index_what_is_stored_answers(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        nameless = WriteFailure(11000)
        await outcomes(store, write(event("s", "e0"), 9))
        collections.script(INSERT, Fault(failures={0: nameless}))
        assert ended(await apply(store, events(1))) == [DUPLICATE]


class TestDeletion:
    """A duplicate key whose document cannot be found."""

    @pytest.mark.parametrize(
        ("message", "find"), [(event(), FIND_EVENTS), (created(), FIND_SESSIONS)]
    )
    async def test_it_is_trouble_that_passes(
        self, collections: MemoryCollections, store: MongoStore, message: Any, find: Command
    ) -> None:
        await outcomes(store, write(message, 1))
        collections.script(find, Fault(hidden=True))
        write_batch = store.prepare([write(message, 2)])
        with pytest.raises(TransientError, match="stored_document_not_found"):
            await write_batch()
        assert ended(await write_batch()) == [DUPLICATE]

    async def test_what_was_deleted_meanwhile_is_written_again(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, write(event(), 1))
        collections.script(FIND_EVENTS, Fault(meanwhile=lambda them: them.events.clear()))
        assert ended(await persist(store.prepare([write(event(), 2)]))) == [APPLIED]


class TestForeignDocuments:
    """What another writer has stored in our collections."""

    @pytest.mark.reliability("F77")
    async def test_an_array_as_id_takes_the_place_of_each_of_its_elements(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        ours = write(event("s", "e1"))
        foreign = {**bson.decode(ours.content.raw), "eventId": ["e1", "e2", 7]}
        collections.put_event(foreign)
        collections.put_event({"sessionId": ["s", "t"], "eventId": "e3"})
        results = await apply(store, events(5))
        assert ended(results) == [APPLIED, CONFLICT, CONFLICT, CONFLICT, APPLIED]
        details = [result.rejected.detail for result in results if result.rejected]
        assert details == [
            "the stored event differs in eventId",
            "the stored event differs in eventId",
            "the stored event differs in sessionId",
        ]
        assert collections.sizes(FIND_EVENTS) == [3]

    @pytest.mark.parametrize("message", [created("s"), completed("s"), failed("s")])
    @pytest.mark.reliability("F77")
    async def test_a_session_whose_id_is_an_array_is_a_conflict(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        collections.put_session({"sessionId": ["s"], "status": "completed", "startedAt": 1})
        assert ended(await apply(store, [write(message)])) == [CONFLICT]

    @pytest.mark.parametrize(
        ("message", "status"),
        [(completed("s"), ["completed"]), (failed("s"), ["active", "failed"])],
    )
    @pytest.mark.reliability("F77")
    async def test_a_status_that_only_the_server_takes_for_one_is_no_race_without_end(
        self, collections: MemoryCollections, store: MongoStore, message: Any, status: list[str]
    ) -> None:
        collections.put_session({"sessionId": "s", "status": status})
        copies = [write(message, 1), write(message, 2)]
        (first, second) = await apply(store, copies)
        assert [first.outcome, second.outcome] == [CONFLICT, CONFLICT]
        assert first.rejected == Rejected(Reason.CONFLICT, "the stored session differs in status")
        assert collections.sizes(UPDATE) == [1] * (MAX_LOST_RACES + 1)

    @pytest.mark.reliability("F77")
    async def test_an_activity_beside_such_a_status_is_told_and_costs_no_record(
        self, collections: MemoryCollections
    ) -> None:
        refused: list[str] = []
        store = MongoStore(collections, on_activity_refused=refused.append)
        collections.put_session({"sessionId": "s", "status": ["active"]})
        assert ended(await apply(store, events(2))) == [APPLIED, APPLIED]
        assert refused == ["ForeignDocument"]


class TestRefusals:
    """What the database refuses for good, for what one document holds."""

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_that_record_is_dead_lettered_with_the_code_and_without_values(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        collections.script(command_of(message), Fault(failures={0: INVALID}))
        (result,) = await apply(store, [write(message)])
        assert result == Result(DEAD_LETTERED, REFUSED_BY_VALIDATOR)

    async def test_the_others_in_its_command_are_not_touched(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, write(event("s", "e3"), 9))
        collections.script(INSERT, Fault(failures={1: INVALID}))
        assert ended(await apply(store, events(4))) == [
            APPLIED,
            DEAD_LETTERED,
            APPLIED,
            DUPLICATE,
        ]

    @pytest.mark.reliability("F37")
    async def test_every_class_of_answer_in_one_bulk_is_handled_by_its_class(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, write(event("s", "e1"), 9))
        too_large = WriteFailure(10334)
        collections.script(INSERT, Fault(failures={2: too_large, 3: INVALID, 4: BUSY}))
        write_batch = store.prepare(events(6))
        with pytest.raises(TransientError, match="code_16500"):
            await write_batch()
        assert ended(await write_batch()) == [
            APPLIED,
            DUPLICATE,
            DEAD_LETTERED,
            DEAD_LETTERED,
            APPLIED,
            APPLIED,
        ]
        assert collections.sizes(INSERT) == [1, 6, 1]

    @pytest.mark.parametrize("message", EVERY_KIND)
    async def test_the_next_record_of_the_same_identity_takes_its_place(
        self, collections: MemoryCollections, store: MongoStore, message: Any
    ) -> None:
        collections.script(command_of(message), *[Fault(failures={0: INVALID})] * 2)
        results = await apply(store, [write(message, n) for n in range(4)])
        assert ended(results) == [DEAD_LETTERED, DEAD_LETTERED, APPLIED, DUPLICATE]

    async def test_a_command_refused_as_a_whole_is_taken_apart_until_one_stands_alone(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        refusal = not_carried_out(RefusedError("DocumentTooLarge"))
        collections.script(INSERT, refusal, Fault(), refusal, Fault(), refusal)
        results = await apply(store, events(4))
        assert ended(results) == [APPLIED, APPLIED, APPLIED, DEAD_LETTERED]
        assert collections.sizes(INSERT) == [4, 2, 2, 1, 1]
        assert results[3].rejected == Rejected(
            Reason.UNSTORABLE, "the database refuses the document: DocumentTooLarge"
        )

    async def test_an_unknown_code_is_never_a_dead_letter(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(INSERT, *[Fault(failures={0: WriteFailure(987654)})] * 20)
        write_batch = store.prepare(events(1))
        for _ in range(20):
            with pytest.raises(TransientError, match="code_987654"):
                await write_batch()
        assert ended(await write_batch()) == [APPLIED]


class TestSideBySide:
    """Events and sessions go in two commands."""

    @pytest.mark.parametrize(("broken", "whole"), [(INSERT, UPDATE), (UPDATE, INSERT)])
    async def test_what_one_of_them_achieved_stays_when_the_other_fails(
        self,
        collections: MemoryCollections,
        store: MongoStore,
        broken: Command,
        whole: Command,
    ) -> None:
        collections.script(broken, not_carried_out(CUT_OFF))
        write_batch = store.prepare([write(created(), 0), write(event(), 1), write(completed(), 2)])
        with pytest.raises(TransientError):
            await write_batch()
        assert ended(await write_batch()) == [APPLIED] * 3
        assert len(collections.sizes(broken)) == 2
        assert len(collections.sizes(whole)) == 1

    async def test_no_question_is_asked_while_one_of_them_has_no_answer(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, write(event(), 1))
        collections.script(UPDATE, not_carried_out(CUT_OFF))
        write_batch = store.prepare([write(event(), 1), write(created(), 2)])
        with pytest.raises(TransientError):
            await write_batch()
        assert collections.sizes(FIND_EVENTS) == []
        assert ended(await write_batch()) == [REDELIVERED, APPLIED]

    async def test_a_crash_between_them_is_healed_by_the_redelivery(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        collections.script(UPDATE, not_carried_out(CUT_OFF))
        with pytest.raises(TransientError):
            await apply(store, [event_write(event(), 1)])
        assert collections.sessions == {}
        after_the_crash = MongoStore(collections)
        assert await outcomes(after_the_crash, write(event(), 1)) == [REDELIVERED]
        assert collections.sessions["s"]["status"] == "active"

    async def test_a_batch_without_writes_is_done_at_once(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        assert await apply(store, []) == []
        assert collections.commands == []

    async def test_no_find_asks_for_more_than_five_hundred(
        self, collections: MemoryCollections, store: MongoStore
    ) -> None:
        await outcomes(store, *events(1200))
        assert await outcomes(store, *events(1200)) == [REDELIVERED] * 1200
        assert collections.sizes(FIND_EVENTS) == [500, 500, 200]
