import gates, threading, time, gc
from entangle.workflow import workflow
from entangle.thread import thread
def spy():
    time.sleep(1)
    from entangle._run.run import Run
    for r in gc.get_objects():
        if isinstance(r,Run):
            print({getattr(k,'name',k):(v.state,v.attempt,v.flags) for k,v in r.items.items()}, r._alarms, r.finished, r.hub._agenda, r.hub._polling_until, time.monotonic())
def take(v): return v
def test_x(gate):
    threading.Thread(target=spy,daemon=True).start()
    slow=workflow(gates.through)(gate.path)
    workflow(take,wait=.1)(slow)()
def test_y(gate):
    threading.Thread(target=spy,daemon=True).start()
    slow=workflow(gates.through)(gate.path)
    workflow(wait=.1)(take)(slow)()
