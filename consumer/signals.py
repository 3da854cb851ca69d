"""How a process is asked to end, and how it ends: signals, its last words, its exit code.

Imports next to nothing: it is the first that a command loads.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from consumer.errors import ConsumerError, ExitCode
from consumer.printable import printable_line

if TYPE_CHECKING:
    import asyncio

Result = TypeVar("Result")

LAST_WORDS_DEADLINE = 2.0
"""Seconds that the end of a process waits for whoever reads its standard error."""

BY_SIGNAL = 128
"""Plus the signal's number: how a process says that it was ended by one."""

_ENDING = (signal.SIGTERM, signal.SIGINT)


def handle_signals_early(*, serves: bool) -> None:
    """Answer the signals that end a process, until a command answers them itself.

    To be called before anything large is imported. The first process of a container has no
    default for signals, so one that is not handled yet would be lost, and any other process
    would die of it. Nothing has begun, so nothing is to be finished: where the command
    ``serves`` the process ends with 0 as after every stop, else as one that a signal ended.
    """

    def end(number: int, _frame: object) -> NoReturn:
        os._exit(ExitCode.DONE if serves else BY_SIGNAL + number)

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    if serves:  # else it would end the process while there is nothing to resume yet
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def restore_keyboard_interrupt() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` from now on, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_interruptible(main: Coroutine[Any, Any, Result]) -> Result:
    """Run ``main`` as ``asyncio.run`` does, where SIGTERM interrupts it as SIGINT does.

    It is cancelled, and may say what it has done; then the process ends as one that SIGTERM
    ended.
    """
    import asyncio  # noqa: PLC0415 -- large, and not needed before a loop runs

    before, terminated = signal.getsignal(signal.SIGTERM), False

    async def interruptible() -> Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        if before is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGTERM, terminate)
        return await main

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(BY_SIGNAL + signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_on_signal(
    stop: asyncio.Event, announce: Callable[[signal.Signals], None] | None = None
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, and ``announce`` it; the second ends it all."""
    import asyncio  # noqa: PLC0415 -- large, and not needed before a loop runs

    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        stop.set()
        for other in _ENDING:
            # Outside the loop: the second signal must work even where the loop is stuck.
            loop.remove_signal_handler(other)
            signal.signal(other, _second)
        if announce is not None:
            announce(number)

    for number in _ENDING:
        loop.add_signal_handler(number, first, number)


def _second(_number: int, _frame: object) -> NoReturn:
    os._exit(ExitCode.SECOND_SIGNAL)


def resume_on_signal(resume: Callable[[], None]) -> None:
    """Call ``resume`` in the running loop at every SIGUSR1; ignore the signal once that has ended.

    A handler of the loop's own would end with the loop, and what is left then is the signal's
    default: it would kill a process that has just been asked to stop.
    """
    import asyncio  # noqa: PLC0415 -- as above

    loop = asyncio.get_running_loop()

    def received(_number: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(resume)

    signal.signal(signal.SIGUSR1, received)


def run_command(app: Callable[..., object], name: str) -> NoReturn:
    """Run the command line of ``app`` to the end of the process."""
    _open_closed_streams()
    exit_process(*run_app(app, name))


def _open_closed_streams() -> None:
    """Let what was closed before the start lead nowhere: nobody wants to read it.

    Else the next socket or file would get its number, and with it what is written there.
    Standard input stays away: who reads it is refused.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # the lowest number that is free
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))


def run_app(app: Callable[..., object], name: str) -> tuple[int, str]:
    """Run the command line of ``app``; return its exit code and its last words.

    An error of ours is its message and its exit code; any other is a defect, told without what
    it may quote. Python would give a defect the exit code of a check that found something.
    """
    try:
        ended = app(prog_name=name, standalone_mode=False)
    except ConsumerError as error:
        return error.exit_code, "\n".join(_lines(error, name))
    except Exception as error:  # noqa: BLE001 -- the last who can say what it was
        return _last_words(error, name)
    return ended if isinstance(ended, int) else ExitCode.DONE, ""


def _lines(error: Exception, name: str) -> list[str]:
    return [printable_line(f"{name}: {line}") for line in str(error).split("\n") if line]


def _last_words(error: Exception, name: str) -> tuple[int, str]:
    """Return the exit code and the text for an error that is none of ours."""
    if hasattr(error, "format_message"):  # of the library that reads the options
        said, context = error.format_message(), getattr(error, "ctx", None)
        said += f" ({context.command_path} -h)" if said and context is not None else ""
        # Without any: nothing was asked for, and the help has been printed.
        return ExitCode.USAGE, "\n".join(_lines(ValueError(said), name))
    if isinstance(error, OSError):  # a disk that is full, a file that may not be read
        said = ValueError(str(error) or type(error).__name__)  # a time-out says nothing
        return ExitCode.PRECONDITION, "\n".join(_lines(said, name))
    if isinstance(error, RuntimeError) and type(error).__name__ == "Abort":
        return ExitCode.FOUND, f"{name}: given up"
    from consumer.observability.redaction import describe_failure  # noqa: PLC0415 -- as above

    return ExitCode.TASK_DIED, f"{name}: a defect ended it\n{describe_failure(error)}"


def exit_process(code: int, words: str = "") -> NoReturn:
    """Say ``words`` on standard error and end the process with ``code``, whatever becomes of them.

    Python's own end would wait for a pipe that nobody reads and for threads that look up a
    name, and end with a code of its own where standard error is closed.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # its reader has seen enough
    except (OSError, ValueError) as error:
        code = code or ExitCode.PRECONDITION  # what the command was asked for is not there
        words = words or f"standard output cannot be written: {error}"
    # The log first, which may hold back a line to count its repetitions: why the process ends is
    # the last that it says.
    atexit._run_exitfuncs()  # noqa: SLF001 -- nothing public runs them
    if words:
        from consumer.observability import log_writer  # noqa: PLC0415 -- as above

        writer = log_writer.LogWriter(log_writer.duplicate_descriptor(log_writer.STANDARD_ERROR))
        writer.write(words.removesuffix("\n"))
        writer.close(LAST_WORDS_DEADLINE)
    os._exit(code)
