"""What the command line does with a signal: one sentence, and the exit code that schedulers expect."""

import os
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


ENDS = """
import sys
from hilum.cli import main
from hilum.core.errors import HilumError

@main.app.command()
def end() -> None:
    {what}

sys.argv = ["hilum", "end"]
main.main()
"""


@pytest.mark.parametrize(
    ("what", "code", "out", "err"),
    [
        ("raise MemoryError('Unable to allocate 8 GiB')", 2, "", "hilum: The memory does not suffice (Unable"),
        ("print('done in M\\udcfcller')", 0, "done in M\\udcfcller", ""),
        ("raise HilumError('HIL-X-01', 'a\\x1b[2Jb', 'Mend it')", 2, "", "hilum: a\\x1b[2Jb"),
    ],
)
def test_whatever_ends_a_command_is_a_sentence_that_can_be_read(what: str, code: int, out: str, err: str) -> None:
    """A path that is no UTF-8 once made an error of a training that was done."""
    words = [sys.executable, "-c", ENDS.format(what=what)]
    env = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(out) and done.stderr.startswith(err) and "Traceback" not in done.stderr


def test_d38_what_is_logged_is_one_line_that_steers_no_terminal() -> None:
    """A warning may quote what a header says of a patient."""
    what = "__import__('logging').getLogger('hilum.io').warning('HIL-D01: %s', 'a\\x1b[2Jb\\r\\nhilum: done\\u202e')"
    done = subprocess.run([sys.executable, "-c", ENDS.format(what=what)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "HIL-D01: a\\x1b[2Jb hilum: done\\u202e\n"
