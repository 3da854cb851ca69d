"""No reader of the log, and no lack of one, stops who writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.observability.log_writer import MOST_WAITING, LogWriter

PIPE_BYTES = 64 * 1024


class Dropped:
    """How many lines were dropped."""

    lines = 0

    def __call__(self) -> None:
        self.lines += 1


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, os.dup(writing)
    finally:
        os.close(reading)
        os.close(writing)


def test_lines_come_out_in_order_with_line_breaks() -> None:
    dropped = Dropped()
    with pipe() as (reading, writing):
        writer = LogWriter(writing, dropped)
        for number in range(3):
            writer.write(f"line {number}")
        assert writer.flush(10)
        assert os.read(reading, 1000) == b"line 0\nline 1\nline 2\n"
        writer.close(10)
    assert dropped.lines == 0


def test_a_full_pipe_blocks_nobody_and_what_it_does_not_take_is_counted() -> None:
    dropped = Dropped()
    with pipe() as (reading, writing):
        writer = LogWriter(writing, dropped)
        writer.write("x" * 2 * PIPE_BYTES)
        assert not writer.flush(0.1)
        for number in range(MOST_WAITING + 7):
            writer.write(str(number))
        assert dropped.lines == 7

        expected = 2 * PIPE_BYTES + 1 + sum(len(str(number)) + 1 for number in range(MOST_WAITING))
        while expected:
            expected -= len(os.read(reading, PIPE_BYTES))
        assert writer.flush(10)
        writer.close(10)


def test_a_closed_pipe_loses_lines_and_counts_them() -> None:
    dropped = Dropped()
    reading, writing = os.pipe()
    os.close(reading)
    writer = LogWriter(writing, dropped)
    writer.write("a")
    assert writer.flush(10)
    writer.write("b")
    writer.close(10)
    assert dropped.lines == 2


def test_a_full_disk_loses_lines_and_counts_them() -> None:
    dropped = Dropped()
    writer = LogWriter(os.open("/dev/full", os.O_WRONLY), dropped)
    writer.write("a")
    writer.close(10)
    assert dropped.lines == 1


def test_a_descriptor_that_someone_made_non_blocking_still_gets_everything() -> None:
    dropped = Dropped()
    with pipe() as (reading, writing):
        os.set_blocking(writing, False)
        writer = LogWriter(writing, dropped)
        writer.write("x" * 2 * PIPE_BYTES)
        missing = 2 * PIPE_BYTES + 1
        while missing:
            missing -= len(os.read(reading, PIPE_BYTES))
        writer.close(10)
    assert dropped.lines == 0


def test_a_lone_surrogate_does_not_end_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(os.open(path, os.O_WRONLY | os.O_CREAT))
    writer.write("a\ud800b")
    writer.close(10)
    assert path.read_bytes() == b"a\\ud800b\n"


def test_closing_twice_and_writing_afterwards_are_harmless() -> None:
    dropped = Dropped()
    writer = LogWriter(os.open("/dev/null", os.O_WRONLY), dropped)
    writer.close(10)
    writer.close(10)
    writer.write("late")
    assert dropped.lines == 1
