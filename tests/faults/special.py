# SPDX-License-Identifier: Apache-2.0
"""Faults that are more than one call's error: clocks, memory, descriptors, deaths, and what stays broken."""

import os
import signal
import time

import machine
import sockets
from scene import WATCHDOG, Cell, Wrong

LOG_ERRORS = "ENOSPC EIO EROFS EDQUOT"
CLOCKS = {"realtime": (3600, -3600, -2000000000), "monotonic": (3600,)}
MEMORY_LAST = 5
LIMITS = (3, 6, 12, 24, 48)  # MiB of address space for each process
CPU_MOST = 0.5          # of a processor: more is a loop that does nothing else


def _lasting(role, call, error, detail=None, begin="run"):
    return ["--role", role, "--call", call, "--from", begin, "--effect", f"error:{error}",
            "--times", "0"] + (["--detail", detail] if detail else [])


def _memory_calls(seen, role):
    return sum(use.count for use in seen if (use.phase, use.role) == ("start", role) and
               use.call in ("brk", "mmap", "mremap"))


def cells(seen):
    """Every act below is a cell or several."""
    made = [Cell("all", "clock", f"- {clock} {seconds:+d} s", "run",
                 ["--clock", f"{clock}:{seconds}", "--from", "run"])
            for clock, jumps in CLOCKS.items() for seconds in jumps]
    made.append(Cell("all", "clock", "- monotonic stands still for 3 s", "run",
                     ["--clock", "monotonic:stall:3000", "--from", "run"]))
    made.append(Cell("all", "clock", "- paused for 3 s", "run", [], "pause"))
    made += [Cell("all", "memory", f"- RLIMIT_AS {size} MiB", "start", [], "",
                  ["prlimit", f"--as={size << 20}"]) for size in LIMITS]
    for role in ("tracker", "reaper", "broker"):
        # The first are the loader's, the last the role's own.
        count = _memory_calls(seen, role)
        made += [Cell(role, "memory", f"- none left from call {nth} on", "start",
                      _lasting(role, "memory", "ENOMEM", begin="start") + ["--nth", str(nth)])
                 for nth in (1, *range(count - MEMORY_LAST, count))]
        made += [Cell(role, "death", "- SIGKILL", "run", [], "kill")]
    made.append(Cell("sink", "death", "- SIGKILL", "run", [], "kill_sink"))
    # Tracker, reaper and sink ask for neither once they run.
    made += [Cell("broker", "memory", "- none left", "run", _lasting("broker", "memory", "ENOMEM"),
                  "crowds"),
             Cell("broker", "descriptors", "- none left", "run",
                  _lasting("broker", "descriptors", "EMFILE"), "descriptors")]
    made += [Cell("broker", "write", f"~/log/audit.jsonl {error} for long", "run",
                  _lasting("broker", "write", error, "~/log/audit.jsonl"), "broken_log")
             for error in LOG_ERRORS.split()]
    made.append(Cell("broker", "fdatasync", "~/log/audit.jsonl EIO for long", "run",
                     _lasting("broker", "fdatasync", "EIO", "~/log/audit.jsonl"), "broken_log"))
    made.append(Cell("broker", "pwrite64", "~/log/audit.jsonl.seal ENOSPC for long", "run",
                     _lasting("broker", "pwrite64", "ENOSPC", "~/log/audit.jsonl.seal"),
                     "broken_log"))
    made += [Cell("broker", "accept4", f"fd5 {error} for long", "run",
                  _lasting("broker", "accept4", error, "fd5"), "broken_accept")
             for error in ("ENFILE", "ENOMEM")]
    made.append(Cell("reaper", "writev", "fd4 ENOBUFS for long", "run",
                     _lasting("reaper", "writev", "ENOBUFS", "fd4"), "broken_netlink"))
    return made


def crowds(scene):
    """Work that needs more memory."""
    scene.crowd()
    scene.crowd()


def descriptors(scene):
    """Not one more, for a while: clients and a new log have to wait, ghosts have not."""
    with scene.waiting_client():
        scene.until(lambda: "no control client" in scene.service.stderr(), "a line about it")
        _idle(scene)
    scene.rotate()
    connection = scene.victim()
    scene.until(lambda: scene.result_of(connection), "a ghost without a descriptor")
    _heal(scene)


def pause(scene):
    """As a machine that is suspended, and goes on."""
    pids = scene.service.roles().values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    scene.acted = True
    end = time.monotonic() + 3
    scene.until(lambda: time.monotonic() > end, "time passes")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def kill(scene):
    scene.acted = True
    os.kill(scene.service.roles()[scene.cell.role], signal.SIGKILL)
    scene.until(lambda: False, "an end")


def _heal(scene):
    scene.tell(signal.SIGHUP, "healed")


def broken_log(scene):
    """Nothing is destroyed while it cannot be written down; and it is, when it can."""
    connections = [scene.victim(), scene.victim()]
    scene.until(lambda: (scene.status() or {}).get("audit_log", {}).get("writable") is False,
                "the status says so")
    connections.append(scene.victim())
    scene.until(lambda: scene.status()["pending"]["undecided"] >= 1, "it waits")
    before = scene.tries()
    scene.until(lambda: scene.tries() > before, "another try")
    for connection in connections:
        row = connection.row()
        if row is None or row.inode or row.state not in sockets.ORPHAN_STATES:
            raise Wrong(f"destroyed while the log could not be written: {row}")
    said = [line for line in scene.lines() if "cannot write the audit log" in line]
    if len(said) != 1:
        raise Wrong(f"said {len(said)} times: {said}")
    _heal(scene)
    for connection in connections:
        scene.until(lambda c=connection: scene.result_of(c), "it is released then")


def broken_accept(scene):
    """A client that cannot be taken is no reason to turn in circles."""
    with scene.waiting_client():
        scene.until(scene.fired, "the fault")
        _idle(scene)
        _heal(scene)


def _idle(scene, seconds=0.5):
    def used():
        with open(f"/proc/{scene.service.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before, end = used(), time.monotonic() + seconds
    scene.until(lambda: time.monotonic() > end, "time passes")
    if used() - before > CPU_MOST * seconds:
        raise Wrong(f"{used() - before:.2f} s of processor time in {seconds} s")


def broken_netlink(scene):
    """A result that says so, in time; the ghost is found again when the kernel answers."""
    connection = scene.victim()
    result = scene.until(lambda: scene.result_of(connection), "a result", WATCHDOG)
    if (result["eghostbuster.result"], result["error.code"]) != ("failed", "ENOBUFS"):
        raise Wrong(f"without an answer from the kernel: {result}")
    _heal(scene)


def kill_sink(scene):
    """The one that nobody needs."""
    scene.acted = True
    os.kill(scene.service.roles()["sink"], signal.SIGKILL)
    scene.until(lambda: "the sink is gone" in scene.service.stderr(), "a line about it")


ACTS = {function.__name__: function for function in
        (crowds, descriptors, pause, kill, kill_sink, broken_log, broken_accept, broken_netlink)}
