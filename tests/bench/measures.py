# SPDX-License-Identifier: Apache-2.0
"""What is measured. Each function returns plain numbers; report.py says what they mean."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import statistics
import time
import zlib

import scene
from scene import machine

ROLES = ("tracker", "broker", "reaper")


def spread(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def say(text):
    print(f"  {text}", flush=True)


# ---- latency: one ghost at a time ------------------------------------------------------------------


def latency(size):
    """The service in one network namespace, a relay that does nothing in another, by turns."""
    times = {"service": [], "relay": []}
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(scene.running())
        ghosts = {"service": stack.enter_context(scene.helper("single"))}
        machine.own_network()
        scene.network_prepare()
        stack.enter_context(scene.helper("relay"))
        ghosts["relay"] = stack.enter_context(scene.helper("single"))
        for single in ghosts.values():
            single.ask(5)  # caches are warm
        for _ in range(size.latency_rounds // size.latency_block):
            for name, single in ghosts.items():
                times[name].append(list(map(int, single.ask(size.latency_block).split())))
        found = _latency_result(times)
        found["stages"] = _latency_stages([json.loads(line) for line in service.log.read_bytes().splitlines()])
    return found


def _wall_ns(record):
    seconds, nanoseconds = record["@timestamp"].rstrip("Z").split(".")
    return int(datetime.datetime.fromisoformat(seconds + "+00:00").timestamp()) * 10**9 + int(nanoseconds)


def _latency_stages(records):
    """Where a ghost's time goes, by its records: medians, in ns."""
    decided = {r["eghostbuster.ghost"]: r for r in records if r["event.action"] == "decide"}
    ended = [r for r in records if r["event.action"] == "destroy" and r["eghostbuster.ghost"] in decided]
    from_decision = {r["eghostbuster.ghost"]: _wall_ns(r) - _wall_ns(decided[r["eghostbuster.ghost"]]) for r in ended}
    acting = statistics.median(r["eghostbuster.look_to_act_ns"] for r in ended)
    return {"decided_to_result": statistics.median(from_decision.values()), "look_to_act": acting,
            "born_to_look": statistics.median(r["eghostbuster.latency_ns"] - r["eghostbuster.look_to_act_ns"] for r in ended)}


def _latency_result(times):
    flat = {name: sum(blocks, []) for name, blocks in times.items()}
    result = {"rounds": len(flat["relay"]), "blocks": len(times["relay"])}
    for name, values in flat.items():
        result[name] = {"p50": percentile(values, .5), "p90": percentile(values, .9),
                        "p99": percentile(values, .99), "max": max(values)}
    result["p50_ratio_of_blocks"] = spread([
        statistics.median(a) / statistics.median(b) for a, b in zip(times["service"], times["relay"])])
    return result


# ---- storms ----------------------------------------------------------------------------------------

CONTENDERS = ("service", "shipped", "destroy", "ss", "iterator")


def _storm_of(service, *arguments):
    """One storm, ended by the service, which is stopped; what came of it."""
    os.sync()  # no storm waits for a disk that has the last one's log to write
    before = service.cpu_ns()
    result = json.loads(scene.output_of("storm", *arguments))
    after = service.cpu_ns()
    result["cpu_ns"] = {role: after[role] - before[role] for role in ROLES}
    stop = service.stop()
    result["destroyed"] = stop["eghostbuster.count.destroyed"]
    result["lost"] = stop["eghostbuster.lost.orphans"]
    return result


def _storm(contender, kind, cgroup):
    """One storm; what came of it, and what it cost whoever ended it."""
    arguments = [kind.processes, kind.connections // kind.processes,
                 contender if contender not in ("service", "shipped") else "none"]
    arguments += [cgroup] if cgroup else []
    if contender not in ("service", "shipped"):
        result = json.loads(scene.output_of("storm", *arguments))
        result["cpu_ns"] = {"all": result["rival_cpu_ns"]}
        return result
    with scene.running(limits=contender == "shipped") as service:
        return _storm_of(service, *arguments)


def _storm_check(kind, contender, result):
    """A storm is one only when all died of it. What is left, or lost, is shown."""
    if result["born"] != result["made"]:
        raise RuntimeError(f"{contender}, {kind.name}: of {result['made']} ghosts {result['born']} were born")
    if result.get("destroyed", result["gone"]) != result["gone"]:
        raise RuntimeError(f"{contender}, {kind.name}: {result['gone']} ghosts are gone, the log has "
                           f"{result['destroyed']} destroyed")


def storms(size):
    """Each kind of storm by all contenders in turn, so many rounds."""
    return [_storm_kind(kind) for kind in size.storms]


def _storm_kind(kind):
    done = {contender: [] for contender in kind.contenders}
    with contextlib.ExitStack() as stack:
        cgroup = None
        if kind.processes > 1:
            cgroup = machine.Cgroup.unit("egb-storm.service")
            stack.callback(cgroup.remove)
        if kind.live:
            stack.enter_context(scene.helper("live")).ask(kind.live)
        for number in range(kind.rounds):
            order = kind.contenders[number % len(kind.contenders):] + kind.contenders[:number % len(kind.contenders)]
            for contender in order:
                result = _storm(contender, kind, cgroup.path if cgroup else None)
                _storm_check(kind, contender, result)
                done[contender].append(result)
            say(f"{kind.name}, round {number + 1} of {kind.rounds}: " +
                ", ".join(f"{c} {_end(r[-1]) / 1e6:.0f} ms" for c, r in done.items()))
    return {"name": kind.name, "processes": kind.processes, "ghosts": kind.connections, "live": kind.live,
            "rounds": kind.rounds, "contenders": {c: _storm_result(r) for c, r in done.items()}}


def _end(result):
    return result["gone_at"][-1][1]


def _storm_result(results):
    ghosts = results[0]["made"]
    middle = sorted(results, key=_end)[len(results) // 2]
    found = {
        "all_gone_ms": spread([_end(r) / 1e6 for r in results]),
        "dead_ms": spread([r["dead_ns"] / 1e6 for r in results]),
        "cpu_us_per_ghost": spread([sum(r["cpu_ns"].values()) / ghosts / 1e3 for r in results]),
        "curve": [[n, round(ns / 1e6, 3)] for n, ns in middle["gone_at"]],
        "memory_mib": [[round(ns / 1e6, 3), round(pages / 256, 2)] for ns, pages in middle["memory_pages"]],
        "each_ms": [round(_end(r) / 1e6, 3) for r in results],
        "left": sum(r["made"] - r["gone"] for r in results),
    }
    if "destroyed" in results[0]:
        found["lost"] = sum(r["lost"] for r in results)
        found["destroyed"] = [r["destroyed"] for r in results]
        found["cpu_us_per_ghost_of"] = {
            role: statistics.median(r["cpu_ns"][role] / ghosts / 1e3 for r in results) for role in ROLES}
    return found


# ---- the audit log ---------------------------------------------------------------------------------

WITH, WITHOUT, SHIPPED = "with the log", "without", "as shipped"


def _logged_storm(which, ghosts):
    """As the service, every ghost with records of its own; the same with a broker that makes none;
    and with the limits as shipped."""
    libexec = scene.UNLOGGED if which == WITHOUT else scene.LIBEXEC
    with scene.running(limits=which == SHIPPED, libexec=libexec) as service:
        result = _storm_of(service, 1, ghosts, "none")
        if result["destroyed"] != result["gone"] or result["gone"] != ghosts:
            raise RuntimeError(f"{which}: of {ghosts} ghosts {result['gone']} are gone, the service says "
                               f"{result['destroyed']}")
        text = service.log.read_bytes()
    result["bytes"], result["compressed"] = len(text), len(zlib.compress(text))
    return result


def log(size):
    """What the log takes of a storm's time and of the disk, by turns with none."""
    found = {WITH: [], WITHOUT: [], SHIPPED: []}
    for number in range(size.log_rounds):
        for which in (WITH, WITHOUT, SHIPPED) if number % 2 else (WITHOUT, WITH, SHIPPED):
            found[which].append(_logged_storm(which, size.log_ghosts))
        say(f"round {number + 1} of {size.log_rounds}: " +
            ", ".join(f"{which} {_end(results[-1]) / 1e6:.0f} ms" for which, results in found.items()))
    ghosts = size.log_ghosts
    return {"rounds": size.log_rounds, "ghosts": ghosts,
            "time_ratio": spread([_end(a) / _end(b) for a, b in zip(found[WITH], found[WITHOUT])]),
            "cpu_ratio": spread([sum(a["cpu_ns"].values()) / sum(b["cpu_ns"].values())
                                 for a, b in zip(found[WITH], found[WITHOUT])]),
            "contenders": {which: {
                "all_gone_ms": spread([_end(r) / 1e6 for r in results]),
                "broker_us": spread([r["cpu_ns"]["broker"] / ghosts / 1e3 for r in results]),
                "bytes": spread([r["bytes"] / ghosts for r in results]),
                "compressed_bytes": spread([r["compressed"] / ghosts for r in results]),
            } for which, results in found.items()}}


# ---- what the innocent pay -------------------------------------------------------------------------

LOOPS = ("connect", "exec", "threads")
TOOLS = ("tcpstates", "tcplife", "exitsnoop")


def _loop(name, count):
    """Nanoseconds for one turn: by the clock, and of processor time."""
    wall, cpu = map(int, scene.output_of("loops", name, count).split())
    return wall / count, cpu / count


def _loops(counts):
    return {name: _loop(name, count) for name, count in counts.items()}


def _counts(size):
    """So many turns that one run takes about size.loop_seconds."""
    return {name: max(20, int(size.loop_seconds * 1e9 / _loop(name, 100)[0])) for name in LOOPS}


@contextlib.contextmanager
def _beside(what):
    if what == "nothing":
        yield
    elif what == "service":
        with scene.running():
            yield
    else:
        with scene.tool(scene.tool_find(what)):
            yield


def overhead(size):
    """With nothing, with the service, with nothing ...: each is compared with the nothings around
    it, and these with one another."""
    counts = _counts(size)
    nothing, others = [_loops(counts)], []
    tools = [tool for tool in TOOLS if scene.tool_find(tool)]
    for number in range(size.overhead_rounds):
        for what in ("service", *(tools if number < size.tool_rounds else ())):
            with _beside(what):
                others.append((what, len(nothing) - 1, _loops(counts)))
            nothing.append(_loops(counts))
        say(f"round {number + 1} of {size.overhead_rounds}")
    return {"turns": counts, "rounds": size.overhead_rounds,
            "loops": {name: _overhead_result(name, nothing, others) for name in LOOPS},
            "programs": _program_times(counts)}


def _overhead_result(name, nothing, others):
    result = {"nothing_us": spread([run[name][0] / 1e3 for run in nothing])}
    for clock, which in (("wall", 0), ("cpu", 1)):
        of = [run[name][which] for run in nothing]
        noise = [100 * (b / a - 1) for a, b in zip(of, of[1:])]
        result[f"{clock}_noise_percent"] = {**spread(noise), "typical": statistics.median(map(abs, noise))}
        result[f"{clock}_percent"] = {}
        for what in dict.fromkeys(what for what, _, _ in others):
            result[f"{clock}_percent"][what] = spread([
                100 * (run[name][which] / ((of[at] + of[at + 1]) / 2) - 1)
                for other, at, run in others if other == what])
    return result


def _program_times(counts):
    """What the kernel's statistics say of each of our programs, loop by loop."""
    found = {}
    with scene.running() as service, scene.helper("stats", *service.programs(), greets=False) as stats:
        for loop, count in counts.items():
            before = json.loads(stats.ask())
            _loop(loop, count)
            for then, now in zip(before, json.loads(stats.ask())):
                calls = now["calls"] - then["calls"]
                # What others do beside it is not this loop's.
                if calls >= count // 2:
                    found.setdefault(now["name"], {"xlated": now["xlated"], "jited": now["jited"], "ns_per_call": {}})
                    found[now["name"]]["ns_per_call"][loop] = (now["ns"] - then["ns"]) / calls
    return found


# ---- growth ----------------------------------------------------------------------------------------


def growth(size):
    """One ghost at a time beside more and more connections that live, and again from the start."""
    blocks = {level: [] for level in size.levels}
    with scene.running() as service, scene.helper("live") as live, scene.helper("single") as single:
        single.ask(5)
        for number in range(size.growth_rounds):
            for level in size.levels:
                live.ask(level)
                before = service.cpu_ns()
                times = list(map(int, single.ask(size.growth_block).split()))
                after = service.cpu_ns()
                blocks[level].append((statistics.median(times),
                                      sum(after[r] - before[r] for r in ROLES) / size.growth_block, times))
            live.ask(0)
            say(f"round {number + 1} of {size.growth_rounds}")
    none = blocks[size.levels[0]]
    return {"rounds": size.growth_rounds, "block": size.growth_block, "levels": {
        str(level): {
            "p50_us": spread([p50 / 1e3 for p50, _, _ in found]),
            "p99_us": percentile(sum((times for _, _, times in found), []), .99) / 1e3,
            "cpu_us": spread([cpu / 1e3 for _, cpu, _ in found]),
            "p50_ratio": spread([a[0] / b[0] for a, b in zip(found, none)]),
            "cpu_ratio": spread([a[1] / b[1] for a, b in zip(found, none)]),
        } for level, found in blocks.items()}}


# ---- idle ------------------------------------------------------------------------------------------


def _wakeups(pid):
    return int(machine.status_of(pid)["voluntary_ctxt_switches"])


def _memory(pid):
    """KiB: what the process has in memory alone and its part of what it shares; without the ring."""
    pss = ring = rss = 0
    name = ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) > 5 else ""
        elif line.startswith("Pss:"):
            pss += int(line.split()[1])
            ring += int(line.split()[1]) if name == "anon_inode:bpf-map" else 0
        elif line.startswith("Rss:"):
            rss += int(line.split()[1])
    return {"pss_kib": pss, "rss_kib": rss, "mapped_maps_pss_kib": ring, "pss_without_maps_kib": pss - ring}


def idle(size):
    with scene.running() as service:
        time.sleep(size.settle_seconds)  # what the start has left to do
        service.notifications_drop()
        cpu, woken, begun = service.cpu_ns(), {r: _wakeups(p) for r, p in service.roles.items()}, time.monotonic()
        time.sleep(size.idle_seconds)
        seconds = time.monotonic() - begun
        after = service.cpu_ns()
        return {"seconds": seconds, "ring_kib": _ring_kib(service.roles["tracker"]), "roles": {
            role: {"wakeups_per_minute": 60 * (_wakeups(pid) - woken[role]) / seconds,
                   "cpu_ms_per_minute": 60 * (after[role] - cpu[role]) / 1e6 / seconds, **_memory(pid)}
            for role, pid in service.roles.items()}, "sizes": scene.Sizes.all()}


def _ring_kib(tracker):
    """The ring's size by the map's own account: it is mapped twice, one behind the other."""
    for info in pathlib.Path(f"/proc/{tracker}/fdinfo").iterdir():
        text = info.read_text()
        if re.search(r"^map_type:\s*27$", text, re.MULTILINE):
            return int(re.search(r"^max_entries:\s*(\d+)$", text, re.MULTILINE)[1]) // 1024
    raise RuntimeError("the tracker has no ring buffer")
