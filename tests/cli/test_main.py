"""What the command line does with a signal: one sentence, and the exit code that schedulers expect."""

import signal
import subprocess
import sys

import pytest

WAITS = """
import os, signal, sys, time
from hilum.cli import main

# tests may run where a shell has it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

@main.app.command()
def wait() -> None:
    os.kill(os.getpid(), {number})
    time.sleep(60)

sys.argv = ["hilum", "wait"]
main.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_with_a_sentence_and_its_code(number: signal.Signals, code: int) -> None:
    """The library of the command line would end Ctrl-C without a word."""
    words = [sys.executable, "-c", WAITS.format(number=int(number))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"hilum: stopped by signal {int(number)} before it was done")
