"""Signals at any moment: Ctrl-C is prompt, tears no state, and leaves nothing."""

import os
import random
import re
import signal
import time

import pytest
from life_kit import SOON, alive, end, gone, has_line, line_of, program

from entangle.process import process
from entangle.task import gather

pytestmark = pytest.mark.process

HEADER = """
import os, signal, sys, time
from entangle.process import process
from entangle.thread import thread
from entangle.workflow import workflow
from entangle.task import as_completed, gather, shutdown
@process
def double(number): return 2 * number
@process
def stay(number):
    print("in", os.getpid(), flush=True)
    time.sleep(600)
@process
def stubborn(number):
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    stay.fn(number)
@thread
def stuck():
    print("in", os.getpid(), flush=True)
    time.sleep(1.5)
@workflow
def flow():
    return stay(1)
@workflow
def stuck_flow():
    stuck.fn()
    return double(1)
@process
def outer():
    return stay(1)()
@process
def outermost():
    return outer()()
@thread
def outer_thread():
    return gather(stay(1), outer())()
@process
def chain(number, before): return number
def long_chain():
    node = stay(0)
    for number in range(2000): node = chain(number, node)
    return node
@thread
async def coroutine():
    import asyncio
    print("in", os.getpid(), flush=True)
    await asyncio.sleep(600)
def fan():
    return gather(stay(0), *[double(number) for number in range(10_000)])
def interrupted(node):
    try:
        node()
    except KeyboardInterrupt:
        print("interrupted", time.monotonic(), flush=True)
        begun = time.monotonic()
        assert double.map(range(10))() == [*range(0, 20, 2)]
        print("fine", flush=True)
"""

GRAPHS = (
    "stay(1)",
    "stubborn(1)",
    "gather(stay(1), stay(2))",
    "fan()",
    "long_chain()",
    "flow()",
    "outer()",
    "outermost()",
    "outer_thread()",
    "gather(outer(), outermost())",
    "gather(stay(1), stuck())",
    "stuck()",
    "stuck_flow()",
    "coroutine()",
    "gather(coroutine(), stay(1))",
)
TWO = (
    "outer_thread()",
    "gather(outer(), outermost())",
    "gather(stay(1), stay(2))",
    "gather(stay(1), stuck())",
    "gather(coroutine(), stay(1))",
)


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_interrupt_during_a_run(graph):
    running = program(HEADER + f"interrupted({graph})")
    count = 2 if graph in TWO else 1
    pids = [int(line_of(running).split()[1]) for _ in range(count)]
    struck = time.monotonic()
    running.send_signal(signal.SIGINT)
    word, moment = line_of(running).split()
    assert word == "interrupted"
    # "At once": 0.2 s on an idle machine.
    assert float(moment) - struck < SOON / 2
    # All that could be ended is gone when KeyboardInterrupt is raised.
    assert not any(alive(pid) for pid in pids if pid != running.pid)
    status, out, err = end(running)
    assert (status, err) == (0, ""), err
    assert out.endswith("fine\n")


def test_an_interrupt_that_nobody_catches():
    running = program(HEADER + "stay(1)()")
    pid = int(line_of(running).split()[1])
    running.send_signal(signal.SIGINT)
    status, _, err = end(running)
    assert status == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert gone(pid)


def test_an_interrupt_from_a_terminal_reaches_the_caller_alone():
    """Ctrl-C goes to the whole foreground group; tasks are in none of it."""
    running = program(HEADER + "os.setpgid(0, 0)\ninterrupted(stay(1))")
    line_of(running)
    os.killpg(running.pid, signal.SIGINT)
    status, out, err = end(running)
    assert (status, err) == (0, "")
    assert out.endswith("fine\n")


def test_sigterm_ends_the_caller_and_all_it_started():
    running = program(HEADER + "outer()()")
    pid = int(line_of(running).split()[1])
    running.terminate()
    status, _, _ = end(running)
    assert status == -signal.SIGTERM
    assert gone(pid)


# A module's file that the interpreter was about to read.
INTERRUPTED_IMPORT = re.compile(
    r"Exception ignored in: <_io\.FileIO [^\n]*\n"
    r"Traceback [^\n]*\n(?: [^\n]*\n)*"
    r"ResourceWarning: unclosed file [^\n]*\n"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_a_signal_while_the_zygote_boots(number, delay):
    running = program(
        HEADER
        + """
# What an interrupted import leaves open is the interpreter's, and no matter here.
os.environ["ENTANGLE_DISABLE_PLUGINS"] = "1"
print("start", flush=True)
try:
    double(1)()
    time.sleep(600)
except KeyboardInterrupt:
    assert double(2)() == 4
    print("fine", flush=True)
"""
    )
    assert line_of(running) == "start\n"
    time.sleep(delay)
    children = descendants(running.pid)
    running.send_signal(number)
    status, out, err = end(running)
    if number == signal.SIGINT:
        assert (status, out, INTERRUPTED_IMPORT.sub("", err)) == (0, "fine\n", "")
    else:
        assert status == -number
    assert gone(*children)


def descendants(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(name), *descendants(int(name))]
    return found


LOOP = (
    HEADER
    + """
@process
def inner(number): return double.map(range(number))()
@workflow
def unfold(number): return double(number)
makers = [
    lambda: gather(*[double(number) for number in range(300)]),
    lambda: double(1),
    lambda: gather(*[thread(abs)(-number) for number in range(50)]),
    lambda: inner(3),
    lambda: gather(*[unfold(number) for number in range(5)]),
]
def values():
    found = [make()() for make in makers]
    for _, future in as_completed([double(number) for number in range(5)]):
        future.result()
    return found
right = values()
interrupts, count = 0, int(sys.argv[1])
while interrupts < count:
    try:
        print("go", flush=True)
        while True:
            assert values() == right
    except KeyboardInterrupt:
        interrupts += 1
assert values() == right
print("right", len(os.listdir("/proc/self/fd")), flush=True)
shutdown()
"""
)


def test_hundreds_of_interrupts_at_random_moments():
    count = 200
    running = program(LOOP, count)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    assert line_of(running) == "go\n"
    descriptors = len(os.listdir(f"/proc/{running.pid}/fd"))
    swallowed = 0
    for number in range(count):
        time.sleep(chance.random() * 0.03)
        running.send_signal(signal.SIGINT)
        while not has_line(running, SOON):
            # Python drops what a handler raises inside of a finalizer.
            swallowed += 1
            assert swallowed < 3, (seed, end(running, 0))
            running.send_signal(signal.SIGINT)
        line = line_of(running)
        assert line == "go\n" or number == count - 1, (seed, line)
    word, left = line.split()
    assert word == "right"
    # One of them reads the folder; a worker more or less may be there.
    assert int(left) <= descriptors + 10
    assert end(running) == (0, "", ""), seed


def test_no_interrupt_is_lost_on_the_way_into_a_wait():
    """One that strikes between Python's last look and the wait is seen soon."""
    running = program(
        HEADER
        + """
@process
def told(): print("in", flush=True); time.sleep(600)
for _ in range(int(sys.argv[1])):
    try:
        gather(told(), told())()
    except KeyboardInterrupt:
        print("out", flush=True)
""",
        100,
    )
    for _ in range(100):
        # The caller goes back to waiting while this is read.
        assert line_of(running) + line_of(running) == "in\nin\n"
        running.send_signal(signal.SIGINT)
        assert line_of(running, SOON) == "out\n"
    assert end(running) == (0, "", "")


def test_interrupts_while_modules_load_and_the_pool_starts():
    """From the first instruction on: each ends in KeyboardInterrupt or the value."""
    code = (
        "import signal\n"
        "try:\n"
        + "".join("    " + line + "\n" for line in HEADER.splitlines())
        + "    print('go', flush=True)\n"
        "    assert double(4)() == 8\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    chance = random.Random(7)
    for _ in range(8):
        running = program(code)
        assert line_of(running) == "go\n"
        time.sleep(chance.random() * 0.3)
        running.send_signal(signal.SIGINT)
        status, _, err = end(running)
        assert status in {0, 1, -signal.SIGINT}, err
        assert "please report" not in err


def test_the_handler_of_the_program_is_kept():
    """A program with its own handler gets its signals, also during a run."""
    running = program(
        HEADER
        + """
got = []
def handle(number, frame): got.append(number)
signal.signal(signal.SIGINT, handle)
signal.signal(signal.SIGUSR1, handle)
@process
def wait(path):
    print("in", flush=True)
    with open(path) as file: return file.read()
path = sys.argv[1]
os.mkfifo(path)
assert wait(path)() == "go"
assert got == [signal.SIGINT, signal.SIGUSR1], got
assert signal.getsignal(signal.SIGINT) is handle
os.unlink(path)
print("fine")
""",
        f"{os.environ['TMPDIR']}/handler-{os.getpid()}",
    )
    path = f"{os.environ['TMPDIR']}/handler-{os.getpid()}"
    assert line_of(running) == "in\n"
    for number in (signal.SIGINT, signal.SIGUSR1):
        running.send_signal(number)
        time.sleep(0.05)
    with open(path, "w") as file:
        file.write("go")
    assert end(running) == (0, "fine\n", "")


def test_a_handler_that_raises_ends_the_run():
    running = program(
        HEADER
        + """
class Alarm(Exception): pass
def handle(number, frame): raise Alarm
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.5)
begun = time.monotonic()
try:
    stay(1)()
except Alarm:
    assert time.monotonic() - begun < 2.5
assert double(2)() == 4
print("fine")
"""
    )
    out = end(running)
    assert out[0] == 0
    assert out[1].endswith("fine\n")
    assert out[2] == ""


def test_the_default_handler_is_back_after_a_run():
    assert gather(*map(process(abs), range(-5, 0)))() == [5, 4, 3, 2, 1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_of_as_completed():
    running = program(
        HEADER
        + """
try:
    for _ in as_completed([stay(1), stay(2)]): pass
except KeyboardInterrupt:
    assert double(2)() == 4
    print("fine")
"""
    )
    pid = int(line_of(running).split()[1])
    running.send_signal(signal.SIGINT)
    status, out, err = end(running)
    assert (status, err) == (0, "")
    assert out.endswith("fine\n")
    assert gone(pid)


def test_an_interrupt_of_an_event_loop():
    running = program(
        HEADER
        + """
import asyncio
async def main(): return await stay(1)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    assert double(2)() == 4
    print("fine")
"""
    )
    pid = int(line_of(running).split()[1])
    running.send_signal(signal.SIGINT)
    status, out, err = end(running)
    assert (status, err) == (0, "")
    assert out.endswith("fine\n")
    assert gone(pid)


def test_an_interrupt_of_a_future():
    running = program(
        HEADER
        + """
future = stay(1).submit()
try:
    future.result()
except KeyboardInterrupt:
    future.cancel()
    assert double(2)() == 4
    print("fine")
"""
    )
    pid = int(line_of(running).split()[1])
    running.send_signal(signal.SIGINT)
    status, out, err = end(running)
    assert (status, err) == (0, "")
    assert out.endswith("fine\n")
    assert gone(pid)
