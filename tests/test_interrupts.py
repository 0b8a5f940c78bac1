"""Signals in a process of its own, at the moments in which Python alone loses them, shows them or ends otherwise."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

LINE = "drbench: error: interrupted\n"
START = """
import atexit, os, signal, sys, time
from drbench import interrupts
def interrupt(): os.kill(os.getpid(), signal.SIGINT)
"""


def run(body: str) -> tuple[int, str, str]:
    """`body` is what the command does: exit code, stdout, stderr."""
    command = "".join(f"    {line}\n" for line in body.strip().splitlines())
    script = f"{START}\ndef command():\n{command}\nsys.exit(interrupts.orderly(command))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_exit_code_and_output_of_a_command_that_nothing_happens_to() -> None:
    assert run("print('said')\nreturn 3") == (3, "said\n", "")


@pytest.mark.parametrize(
    ("number", "line"),
    [("SIGINT", "interrupted"), ("SIGTERM", "interrupted by SIGTERM"), ("SIGHUP", "interrupted by SIGHUP")],
)
def test_a_signal_ends_it_with_one_line_that_names_it(number: str, line: str) -> None:
    expected = (130, "", f"drbench: error: {line}\n")
    assert run(f"os.kill(os.getpid(), signal.{number})\ntime.sleep(60)") == expected


@pytest.mark.parametrize(
    "body",
    [
        "class Lost:\n    def __del__(self): interrupt()\nLost()\ntime.sleep(60)",
        "exec('interrupt()\\ntime.sleep(60)', globals())",
        "try:\n    interrupt(); time.sleep(60)\nexcept BaseException:\n    raise RuntimeError('from C')",
        "try:\n    interrupt(); time.sleep(60)\nexcept BaseException:\n    return 0",
        "try:\n    interrupt(); time.sleep(60)\nfinally:\n    interrupt(); time.sleep(0.1); interrupt()",
        "try:\n    interrupt(); time.sleep(60)\nexcept BaseException:\n    sys.exit(4)",
    ],
    ids=["in a destructor", "in an exec", "became another error", "swallowed", "three of them", "became an exit"],
)
def test_an_interrupt_is_neither_lost_nor_shown(body: str) -> None:
    assert run(body) == (130, "", LINE)


def test_a_shielded_block_is_done_first() -> None:
    body = """
with interrupts.shielded:
    with interrupts.shielded:
        interrupt()
        print("inner")
    print("outer", interrupts.asked())
print("not reached")
"""
    assert run(body) == (130, "inner\nouter True\n", LINE)


def test_a_second_signal_ends_what_is_in_native_code() -> None:
    body = """
import hashlib
print(flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
    script = f"{START}\ndef command():\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}\ninterrupts.orderly(command)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(2):
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.communicate(timeout=30)[1] == LINE
    assert process.returncode == 130
    assert 1.5 < time.monotonic() - began < 10


def test_a_signal_after_the_end_changes_nothing() -> None:
    assert run("atexit.register(interrupt)\natexit.register(interrupt)\nreturn 5") == (5, "", "")


def test_what_was_ignored_stays_ignored() -> None:
    script = START.replace("def interrupt", "signal.signal(signal.SIGHUP, signal.SIG_IGN)\ndef interrupt")
    script += "def command(): os.kill(os.getpid(), signal.SIGHUP); print('done'); return 0\n"
    script += "sys.exit(interrupts.orderly(command))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_other_errors_and_unraisable_ones_are_as_ever() -> None:
    code, _, errors = run("class Bad:\n    def __del__(self): 1 / 0\nBad()\nraise RuntimeError('own')")
    assert code == 1
    assert "ZeroDivisionError" in errors
    assert errors.endswith("RuntimeError: own\n")
