# SPDX-License-Identifier: Apache-2.0
"""What the measures mean: verdicts, a table, plots, and the README's part."""

import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from readme import put  # noqa: E402

# Budgets.
LATENCY_P50, LATENCY_P99 = 1.25, 2.0
STORM_GHOSTS, STORM_DESTROY, STORM_SS = 10000, 1.5, 1.3
OVERHEAD_PERCENT, STATE_NS, EXIT_NS = 2.0, 150, 100
GROWTH = 1.25
LOG_TIME, LOG_BYTES = 1.1, 1000
PSS_KIB, RING_KIB = 12 * 1024, 2 * 1024
# Of a minute: twelve heartbeats, each of which wakes tracker, broker and reaper, and the broker for the reaper's answer.
WAKEUPS = 48

NAMES = {"service": "eghostbuster", "shipped": "eghostbuster, limits as shipped",
         "destroy": "all cookies known, SOCK_DESTROY", "ss": "ss -K", "iterator": "BPF iterator, bpf_sock_destroy"}
LOOP_NAMES = {"connect": "connect, send, close", "exec": "fork and exec", "threads": "fork, eight threads, exit"}


def span(of, digits=0, unit=""):
    """12 (10-15) ms"""
    return f"{of['median']:.{digits}f} ({of['min']:.{digits}f}-{of['max']:.{digits}f}){unit}"


class Rows:
    """Lines of the table: what, how much, the budget, whether it is kept."""

    def __init__(self):
        self.rows = []

    def add(self, what, measured, budget="", kept=None):
        self.rows.append((what, measured, budget, "" if kept is None else "yes" if kept else "NO"))

    def at_most(self, what, value, budget, shown, unit=""):
        self.add(what, shown, f"<= {budget:g}{unit}", value <= budget)


def _latency(rows, found):
    service, relay = found["service"], found["relay"]
    for name, of in (("eghostbuster", service), ("bare relay", relay)):
        rows.add(f"latency, one ghost at a time, {name}: p50, p90, p99, max",
                 ", ".join(f"{of[p] / 1e3:.0f}" for p in ("p50", "p90", "p99", "max")) + " us")
    stages = found["stages"]
    rows.add("latency, by the records: birth to the look, look to the end; decision to its result known",
             ", ".join(f"{stages[s] / 1e3:.0f}" for s in ("born_to_look", "look_to_act", "decided_to_result")) + " us")
    for share, budget in (("p50", LATENCY_P50), ("p99", LATENCY_P99)):
        ratio = service[share] / relay[share]
        rows.at_most(f"latency, {share} to the relay's", ratio, budget, f"{ratio:.2f}", " x")


def _storm(rows, storm):
    of = storm["contenders"]
    for name, result in of.items():
        rows.add(f"storm, {storm['name']}: {NAMES[name]}",
                 f"{span(result['all_gone_ms'], 0, ' ms')}, {result['cpu_us_per_ghost']['median']:.1f} us "
                 "of processor each" + (f"; left {result['left']}" if result["left"] else ""))
    if "service" not in of:
        return
    ours = of["service"]["all_gone_ms"]["median"]
    if "destroy" in of:
        ratio = ours / of["destroy"]["all_gone_ms"]["median"]
        what = f"storm, {storm['name']}: to SOCK_DESTROY's"
        if storm["ghosts"] >= STORM_GHOSTS:
            rows.at_most(what, ratio, STORM_DESTROY, f"{ratio:.2f}", " x")
        else:  # it is over before all roles are warm
            rows.add(what, f"{ratio:.2f}")
    if "ss" in of:
        ratio = of["ss"]["all_gone_ms"]["median"] / ours
        rows.add(f"storm, {storm['name']}: faster than ss -K", f"{ratio:.2f}", f">= {STORM_SS} x", ratio >= STORM_SS)
    rows.add(f"storm, {storm['name']}: events lost, of {sum(of['service']['destroyed']) + of['service']['left']:,}",
             str(of["service"]["lost"]), "none", of["service"]["lost"] == 0)


def _log(rows, found):
    of, name = found["contenders"], f"log, storm of {found['ghosts']:,}"
    for which, result in of.items():
        rows.add(f"{name}: {which}", f"{span(result['all_gone_ms'], 0, ' ms')}, broker "
                 f"{span(result['broker_us'], 1, ' us')} of processor each")
    ratio = found["time_ratio"]
    rows.at_most(f"{name}: with the log to without", ratio["median"], LOG_TIME, span(ratio, 2), " x")
    rows.add(f"{name}: processor time of all roles, with the log to without", span(found["cpu_ratio"], 2))
    for which, budget in (("with the log", None), ("as shipped", LOG_BYTES)):
        each = of[which]
        shown = f"{each['bytes']['median']:.0f} bytes a ghost, {each['compressed_bytes']['median']:.0f} compressed"
        if budget:
            rows.at_most(f"{name}: {which}", each["bytes"]["median"], budget, shown, " bytes")
        else:
            rows.add(f"{name}: each ghost with records of its own", shown)


def _overhead(rows, found):
    for loop, of in found["loops"].items():
        name = LOOP_NAMES[loop]
        rows.add(f"{name}: with nothing", span(of["nothing_us"], 1, " us"))
        rows.add(f"{name}: two runs with nothing differ by", f"{of['wall_noise_percent']['typical']:.1f} %")
        for what, percent in of["wall_percent"].items():
            shown = f"{span(percent, 1, ' %')}, of processor time {of['cpu_percent'][what]['median']:.1f} %"
            if what == "service":
                rows.at_most(f"{name}: slower with eghostbuster", percent["median"], OVERHEAD_PERCENT, shown, " %")
            else:
                rows.add(f"{name}: slower with {what}", shown)
    for name, program in found["programs"].items():
        for loop, ns in program["ns_per_call"].items():
            what = f"BPF program {name}, {LOOP_NAMES[loop]}"
            if name.startswith("no_"):
                rows.add(f"{what} (one that does nothing)", f"{ns:.0f} ns a call")
            else:
                rows.at_most(what, ns, STATE_NS if "state" in name else EXIT_NS, f"{ns:.0f} ns a call", " ns")


def _growth(rows, found):
    for level, of in found["levels"].items():
        rows.add(f"{int(level):,} live connections: latency p50, p99; processor time a ghost",
                 f"{of['p50_us']['median']:.0f}, {of['p99_us']:.0f}; {of['cpu_us']['median']:.0f} us")
    level, of = list(found["levels"].items())[-1]
    for what, name in (("p50_ratio", "latency"), ("cpu_ratio", "processor time")):
        rows.at_most(f"{int(level):,} live connections: {name} to that with none", of[what]["median"], GROWTH,
                     span(of[what], 2), " x")


def _idle(rows, found):
    roles = found["roles"]
    for role, of in roles.items():
        rows.add(f"idle {role}: wake-ups, processor time, PSS, RSS",
                 f"{of['wakeups_per_minute']:.0f} a minute, {of['cpu_ms_per_minute']:.1f} ms a minute, "
                 f"{of['pss_kib'] / 1024:.1f} MiB, {of['rss_kib'] / 1024:.1f} MiB")
    woken = sum(of["wakeups_per_minute"] for of in roles.values())
    rows.at_most("idle: wake-ups of all roles, a minute", woken, WAKEUPS, f"{woken:.0f}")
    pss = sum(of["pss_without_maps_kib"] for of in roles.values())
    rows.at_most("idle: PSS of all roles without the ring", pss / 1024, PSS_KIB / 1024, f"{pss / 1024:.1f} MiB", " MiB")
    rows.at_most("ring of events", found["ring_kib"] / 1024, RING_KIB / 1024, f"{found['ring_kib'] / 1024:.0f} MiB", " MiB")
    rows.add("size of the programs and of the BPF object, stripped",
             ", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in found["sizes"].items()))


def _rows(found):
    rows = Rows()
    if "latency" in found:
        _latency(rows, found["latency"])
    for storm in found.get("storms", ()):
        _storm(rows, storm)
    for name, add in (("log", _log), ("overhead", _overhead), ("growth", _growth), ("idle", _idle)):
        if name in found:
            add(rows, found[name])
    return rows.rows


def about(found):
    of = found["about"]
    return (f"{of['command']}, {of['date']}, Linux {of['kernel']}, {of['cpus']} CPUs ({of['cpu']}), "
            f"load {of['load_before']} before" + (f", commit {of['commit']}" if of["commit"] else ""))


def table(found):
    rows = [("what", "measured: median (least-most)", "budget", "kept"), *_rows(found)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [about(found), ""]
    lines += ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip() for row in rows]
    return "\n".join(lines)


def markdown(found):
    lines = [f"`{about(found)}`", "", "| what | measured: median (least-most) | budget | kept |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in _rows(found)])


# ---- plots -----------------------------------------------------------------------------------------

COLOURS = {"service": "#0b6e4f", "shipped": "#57a773", "destroy": "#1f4e9c", "ss": "#b3261e", "iterator": "#8a5a00"}
STYLE = """set encoding utf8
set terminal svg size 900,{height} dynamic background rgb "white" noenhanced font "sans-serif,14"
set output "{output}"
set border 3 lc rgb "#444444"
set grid lc rgb "#dddddd" lt 1
set tics nomirror
set title "{title}" font ",16"
"""


def _gnuplot(script):
    subprocess.run([shutil.which("gnuplot") or "gnuplot-nox"], input=script, text=True, check=True)


def _block(name, points):
    return f"${name} << END\n" + "\n".join(" ".join(map(str, p)) for p in points) + "\nEND\n"


def _left(ghosts, curve):
    return [[0, ghosts], *([ms, ghosts - gone] for gone, ms in curve)]


def storm_plot(found, output):
    """Ghosts left over time, and the kernel's memory for TCP, of the largest storm."""
    storm = max(found["storms"], key=lambda s: (s["ghosts"], -s["live"]))
    of = storm["contenders"]
    script = STYLE.format(height=760, output=output, title="")
    script += "".join(_block(f"{n}_left", _left(storm["ghosts"], r["curve"])) + _block(f"{n}_memory", r["memory_mib"])
                      for n, r in of.items())
    script += "unset title\nset multiplot layout 2,1 margins 0.11,0.97,0.08,0.83 spacing 0.15\n"
    script += "set key at screen 0.97,0.985 right top vertical maxrows 3\n"
    for what, label, title in (("left", "ghosts left", f"{storm['ghosts']:,} ghosts of {storm['processes']} "
                                "killed process" + "es" * (storm["processes"] > 1)),
                               ("memory", "TCP memory, MiB", "Memory the kernel holds for TCP meanwhile")):
        script += f'set title "{title}"\nset xlabel "ms since the kill"\nset ylabel "{label}"\n'
        script += 'set format y "%\'.0f"\nset yrange [0:*]\nset xrange [0:*]\nplot ' + ", ".join(
            f'${n}_{what} using 1:2 with lines lw 2.5 lc rgb "{COLOURS[n]}" title "{NAMES[n]}"' for n in of) + "\n"
        script += "unset key\n"
    _gnuplot(script + "unset multiplot\n")


def overhead_plot(found, output):
    loops = found["overhead"]["loops"]
    whats = list(next(iter(loops.values()))["wall_percent"])
    colours = {"service": COLOURS["service"], "tcpstates": "#b3261e", "tcplife": "#d9822b", "exitsnoop": "#7d6b91"}
    rows = [[f'"{LOOP_NAMES[loop]}"', *(of["wall_percent"][w]["median"] for w in whats)] for loop, of in loops.items()]
    top, least = (most(most(row[1:]) for row in rows) for most in (max, min))
    script = STYLE.format(height=460, output=output, title="Time the innocent lose; by the clock, with the run's own noise of up to "
                          f"{max(of['wall_noise_percent']['typical'] for of in loops.values()):.1f} %")
    script += _block("bars", rows)
    script += ('set style data histograms\nset style histogram clustered gap 1.5\nset style fill solid\n'
               f'set boxwidth 0.9\nset ylabel "slower than with nothing, %"\nset yrange [{min(least * 1.15, 0)}:{max(top * 1.15, 3)}]\n'
               'set key top right\nunset xtics\nset xtics nomirror\nset grid noxtics\nplot ')
    script += ", ".join(f'$bars using {i + 2}:xtic(1) lc rgb "{colours[w]}" title "{NAMES.get(w, w)}"'
                        for i, w in enumerate(whats))
    script += "".join(f', $bars using ($0 + {(i - (len(whats) - 1) / 2) * (1 / (len(whats) + 1.5)):.3f}):'
                      f'(${i + 2} > 0 ? ${i + 2} : 0):(sprintf("%.1f", ${i + 2})) with labels offset 0,0.6 font ",12" notitle'
                      for i in range(len(whats)))
    _gnuplot(script + "\n")


PLOTS = {"storms": ("bench-storm.svg", storm_plot), "overhead": ("bench-overhead.svg", overhead_plot)}


def plots(found, folder):
    for section, (name, plot) in PLOTS.items():
        if section in found:
            plot(found, folder / name)


# ---- the README ------------------------------------------------------------------------------------


def readme(found, folder, path):
    """Table and plots."""
    images = path.parent / "tests/bench"
    lines = [markdown(found), ""]
    for section, (name, _) in PLOTS.items():
        if section in found:
            shutil.copyfile(folder / name, images / name)
            lines.append(f"![{section}](tests/bench/{name})")
    put(path, "bench-readme", "Benchmarks", "\n".join(lines))
