"""What tasks print appears here: whole lines, live, and all of it before the return."""

import contextlib
import io
import os
import subprocess
import sys
import time

import pytest
from life_kit import end, line_of, output_of, program, until, within

from entangle.errors import ProcessTerminatedException
from entangle.process import process
from entangle.task import gather, task
from entangle.testing import FakeExecutor
from entangle.thread import thread

pytestmark = pytest.mark.process


@process
def say(*texts, end="\n", stream="stdout"):
    for text in texts:
        print(text, end=end, file=getattr(sys, stream))


def test_output_is_here_before_the_return(capfd):
    for number in range(20):
        say(number)()
        assert capfd.readouterr() == (f"{number}\n", "")


def test_output_and_errors_keep_to_their_streams(capfd):
    say("one")()
    say("two", stream="stderr")()
    assert capfd.readouterr() == ("one\n", "two\n")


def test_redirected_output():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        say("one")()
        say("two", stream="stderr")()
        thread(print)("three")()
    assert out.getvalue() == "one\nthree\n"
    assert err.getvalue() == "two\n"


def test_a_line_without_an_end(capfd):
    say("no end", end="")()
    assert capfd.readouterr().out == "no end"
    say("", "next")()
    out = capfd.readouterr().out
    assert out.endswith("next\n")


def test_lines_of_several_tasks_are_never_mixed(capfd):
    @process
    def many(letter):
        for _ in range(200):
            print(letter * 20, end="")
            print(letter * 20)

    gather(*[many(letter) for letter in "abcd"])()
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == sorted([letter * 40 for letter in "abcd"] * 200)


def test_open_lines_of_several_tasks_stay_in_one_piece(capfd):
    gather(*[say(*letter * 10, end="") for letter in "abcdefgh"])()
    out = capfd.readouterr().out
    assert all(letter * 10 in out for letter in "abcdefgh")


def test_characters_that_reads_cut_in_two(capfd):
    @process
    def write():
        for part in ("ä€😀" * 3).encode():
            os.write(1, bytes([part]))
            time.sleep(0.001)
        os.write(1, b"\n")

    write()()
    assert capfd.readouterr().out == "ä€😀" * 3 + "\n"


def test_bytes_that_are_no_characters(capfd):
    @process
    def write():
        os.write(1, b"a\xff\xfeb\n")

    write()()
    assert capfd.readouterr().out == "a��b\n"


def test_ten_megabytes(capfd):
    @process
    def flood(count):
        for number in range(count):
            print(f"{number:09}")

    with within(20):
        flood(1_000_000)()
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 1_000_000
    assert lines[-1] == "000999999"
    assert lines == sorted(lines)


def test_one_long_line(capfd):
    say("x" * 3_000_000)()
    assert len(capfd.readouterr().out) == 3_000_001


def test_output_below_python(capfd):
    @process
    def write():
        os.write(1, b"raw\n")
        os.write(2, b"raw error\n")
        subprocess.run(["echo", "child"], check=True)
        os.system("echo shell >&2")

    write()()
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["child", "raw"]
    assert err.splitlines() == ["raw error", "shell"]


@pytest.mark.parametrize("end", ["\n", ""])
def test_output_before_a_death(capfd, end):
    @process
    def die(end):
        print("last words", end=end, flush=True)
        os.kill(os.getpid(), 9)

    with pytest.raises(ProcessTerminatedException):
        die(end)()
    assert capfd.readouterr().out.strip() == "last words"


def test_output_before_an_exception(capfd):
    @process
    def fail():
        print("last words", end="")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()()
    assert capfd.readouterr().out.strip() == "last words"


def test_what_a_place_reports_appears_at_once(capfd):
    """Also when nothing else happens in the run, and nobody waits for it."""
    with FakeExecutor() as place:
        future = task(executor=place)(len)("abc").submit()
        call = place.next()
        call.output("stdout", "so far\n")
        until(lambda: "so far\n" in capfd.readouterr().out)
        call.succeeded(3)
        assert future.result(30) == 3


def test_output_appears_while_the_task_runs(tmp_path):
    running = program(
        """
import sys
from entangle.process import process
@process
def talk(path):
    print("before")
    with open(path) as file: file.read()
    print("after")
talk(sys.argv[1])()
print("returned")
""",
        _fifo(tmp_path),
    )
    assert line_of(running) == "before\n"
    (tmp_path / "fifo").write_text("go")
    assert line_of(running) == "after\n"
    assert line_of(running) == "returned\n"
    assert end(running)[0] == 0


def test_output_of_a_submitted_run_appears_while_nobody_waits(tmp_path):
    running = program(
        """
import sys, time
from entangle.process import process
@process
def talk(path):
    print("before")
    with open(path) as file: file.read()
future = talk(sys.argv[1]).submit()
while not future.done():
    time.sleep(0.01)
""",
        _fifo(tmp_path),
    )
    assert line_of(running) == "before\n"
    (tmp_path / "fifo").write_text("go")
    assert end(running)[0] == 0


def _fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_the_order_of_one_task_is_kept(capfd):
    @process
    def both():
        for number in range(100):
            print(number)

    both()()
    assert capfd.readouterr().out.split() == [str(number) for number in range(100)]


def test_output_of_nested_runs(capfd):
    @process
    def outer():
        print("outer")
        say("inner")()
        thread(print)("thread")()
        print("end")

    outer()()
    assert capfd.readouterr().out == "outer\ninner\nthread\nend\n"


def test_output_of_retried_attempts(capfd, tmp_path):
    @process(retry=2)
    def again(folder):
        number = len([*folder.iterdir()])
        (folder / str(number)).touch()
        print("attempt", number)
        if number < 2:
            raise ValueError

    again(tmp_path)()
    assert capfd.readouterr().out == "attempt 0\nattempt 1\nattempt 2\n"


CLOSING = """
import os, sys
from entangle.process import process
@process
def say(text):
    print(text)
    print(text, file=sys.stderr)
    return text
{how}
assert say("one")() == "one"
assert say.map(["two"] * 20)() == ["two"] * 20
os.write({descriptor}, b"fine\\n")
os._exit(0)
"""


@pytest.mark.parametrize(
    "how",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "os.close(1)",
        "os.close(0); os.close(1)",
        "sys.stdin.close(); sys.stdout.close()",
        "sys.stdout = object()",
    ],
)
def test_a_caller_whose_standard_output_is_closed(how):
    running = program(CLOSING.format(how=how, descriptor=2))
    status, _, err = end(running)
    assert status == 0, err
    assert err.endswith("fine\n")
    assert err.startswith("one\n")


def test_a_caller_without_any_standard_stream():
    read, write = os.pipe()
    os.set_inheritable(write, True)
    running = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import os; os.closerange(0, 3);"
                f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {_no_streams(write)!r}])"
            ),
        ],
        pass_fds=[write],
    )
    os.close(write)
    with open(read) as file:
        assert file.read() == "fine"
    assert running.wait(20) == 0


def _no_streams(write):
    return f"""
import os, sys
from entangle.process import process
@process
def say(text):
    print(text)
    return text
assert say("one")() == "one"
assert say.map(["two"] * 20)() == ["two"] * 20
os.write({write}, b"fine")
"""


def test_a_caller_whose_standard_output_is_a_broken_pipe():
    code = CLOSING.format(how="print('start', flush=True)", descriptor=2)
    running = program(code)
    assert line_of(running) == "start\n"
    running.stdout.close()
    with running, running.stderr as stream:
        err = stream.read().decode()
    assert running.returncode == 0, err
    assert err.endswith("fine\n")


def test_a_stream_whose_write_raises():
    class Bad(io.StringIO):
        def write(self, text):
            raise RuntimeError("no")

    with contextlib.redirect_stdout(Bad()):
        try:
            say("lost")()
        except RuntimeError as error:
            assert str(error) == "no"
    say("kept")()


def test_output_that_the_stream_cannot_encode():
    out = output_of(
        """
import os
from entangle.process import process
@process
def say(): os.write(1, "ä".encode() + b"\\n")
say()()
print("fine")
""",
        PYTHONIOENCODING="ascii",
    )
    assert out.endswith("fine\n")


def test_a_daemon_that_keeps_the_pipe_open_delays_nothing(tmp_path, capfd):
    @process
    def leave(path):
        print("said")
        if not os.fork():
            os.setsid()
            path.write_text(str(os.getpid()))
            time.sleep(600)
        until(lambda: path.exists() and path.read_text())

    with within(3):
        leave(tmp_path / "pid")()
    assert capfd.readouterr().out == "said\n"


@pytest.mark.parametrize("ended", ["", "\n"])
def test_what_c_code_prints_is_there_before_the_value(ended, capfd):
    @process
    def speak(number):
        import ctypes

        text = f"from C {number}{ended}"
        ctypes.CDLL(None).printf(b"%s", text.encode())

    for number in range(3):
        speak(number)()
        assert capfd.readouterr().out.strip() == f"from C {number}"
