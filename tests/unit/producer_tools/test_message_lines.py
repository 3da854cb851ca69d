"""Lines out of chunks, whatever the chunks are."""

from __future__ import annotations

import asyncio
import os
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from producer_tools.message_lines import Line, LineSplitter, read_chunks

CHUNKS = st.lists(st.text("ab \t\r\n", max_size=8).map(str.encode), max_size=12)


def split(chunks: list[bytes], longest: int = 1000) -> list[Line]:
    splitter = LineSplitter(longest)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@given(CHUNKS)
def test_lines_do_not_depend_on_where_a_chunk_ends(chunks: list[bytes]) -> None:
    expected = [
        Line(number, text.strip(b" \t\r"))
        for number, text in enumerate(b"".join(chunks).split(b"\n"), start=1)
        if text.strip(b" \t\r")
    ]
    assert split(chunks) == expected


def test_a_line_is_there_as_soon_as_it_has_ended() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [Line(1, b"one")]
    assert splitter.feed(b"o\n") == [Line(2, b"two")]


def test_blank_lines_are_left_out_and_counted() -> None:
    assert split([b"\n \r\nthree\n"]) == [Line(3, b"three")]


def test_a_line_that_is_too_long_is_told_and_not_kept() -> None:
    chunks = [b"ok\n", b"x" * 60, b"x" * 60, b"x\nalso ok\n"]
    assert split(chunks, longest=100) == [Line(1, b"ok"), Line(2, None), Line(3, b"also ok")]


def test_input_without_newlines_does_not_fill_the_memory() -> None:
    splitter = LineSplitter(longest=100)
    for _ in range(50):
        splitter.feed(b"x" * 60)
        assert len(splitter._rest) <= 100


def test_a_last_line_that_is_too_long_is_told_too() -> None:
    assert split([b"x" * 101], longest=100) == [Line(1, None)]


async def test_a_pipe_that_trickles_is_read_as_it_trickles() -> None:
    reader, writer = os.pipe()
    try:
        chunks = read_chunks(reader)
        os.write(writer, b"first\n")
        assert await anext(chunks) == b"first\n"
        os.write(writer, b"second\n")
        assert await anext(chunks) == b"second\n"
    finally:
        os.close(writer)
    assert await anext(chunks, b"end") == b"end"
    os.close(reader)


async def test_waiting_for_a_silent_pipe_can_be_cancelled() -> None:
    reader, writer = os.pipe()
    waiting = asyncio.ensure_future(anext(read_chunks(reader)))
    await asyncio.sleep(0)
    waiting.cancel()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], BaseException)
    os.close(writer)  # lets the thread go
    await asyncio.to_thread(lambda: None)
    os.close(reader)


async def test_a_file_is_read_whole() -> None:
    content = b"line\n" * 200_000
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        assert b"".join([chunk async for chunk in read_chunks(file.fileno())]) == content
