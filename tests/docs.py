#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what the README and eghostbuster-audit(5) show, and writes what comes of it into them (root).

Everything happens in a network and with mounts of its own, where the service is as installed.
"""

import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "system"))

import audit  # noqa: E402
import machine  # noqa: E402
import shown  # noqa: E402
import sockets  # noqa: E402
from actors import Stage  # noqa: E402
from service import LAUNCHER, LIBEXEC, Service  # noqa: E402

CONFIG = pathlib.Path("/etc/eghostbuster/eghostbuster.conf")
WIDTH = 76


class Installed(Service):
    """The service where its files are when nobody says otherwise."""

    def __init__(self, folder, stage):
        shutil.rmtree("/var/log/eghostbuster", ignore_errors=True)
        super().__init__(folder, stage)
        self.config, self.log_folder = CONFIG, pathlib.Path("/var/log/eghostbuster")
        self.control = pathlib.Path("/run/eghostbuster/control.sock")
        self.log_folder.mkdir(mode=0o755)

    def command(self, *args):
        return [str(LAUNCHER), "--libexec", str(LIBEXEC), *args]


def machine_make(folder):
    """/etc to write to, and empty places for the log and the socket: they end with this process."""
    machine.become_subreaper()
    machine.own_namespaces()
    machine.run(f"mount -t tmpfs tmpfs {folder}")
    for name in ("etc", "work"):
        pathlib.Path(folder, name).mkdir()
    machine.run(f"mount -t overlay -o lowerdir=/etc,upperdir={folder}/etc,workdir={folder}/work overlay /etc")
    machine.run("mount -t tmpfs tmpfs /var/log")
    machine.run("mount -t tmpfs tmpfs /run")
    CONFIG.parent.mkdir(exist_ok=True)


class Show:
    """A folder, a stage and a service for one run."""

    def __init__(self, daemon=None, rules=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="eghostbuster-docs-"))
        self.folder.chmod(0o755)
        self.stage = Stage(self.folder)
        self.service = Installed(self.folder, self.stage)
        if daemon is None:
            shutil.copy(shown.ROOT / "dist/eghostbuster.conf", CONFIG)
        else:
            self.service.configure(rules, daemon)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.service.close()
        self.stage.close()
        shutil.rmtree(self.folder)

    def ghosts(self, group, count, sig=signal.SIGKILL, name=b"nginx"):
        actor, listener = self.stage.actor(), sockets.Listener()
        actor.comm(name)
        group.add(actor.pid)
        made = [sockets.connect(actor, listener) for _ in range(count)]
        for connection in made:
            connection.fill()
        actor.kill(sig)
        return made

    def stop(self):
        """Ends the run. Returns its records: bytes and object of each."""
        self.service.stop()
        lines = self.service.log_path.read_bytes().splitlines()
        return [(line.decode(), audit.parse(line)) for line in lines]


# ---- the README ----

def readme_write():
    printed, group = shown.Printed(), machine.Cgroup.unit("nginx.service")
    with Show() as show:
        shown.Scene(show.service, group, printed).play()
    group.remove()

    def fresh(block):
        command = block.group(1)
        return f"```\n$ {command}\n{printed.output[command]}```"
    shown.README.write_text(shown.BLOCK.sub(fresh, shown.README.read_text()))


# ---- the man page ----

RULES = """[rule killed]
exit = kill
action = destroy
[rule stopped]
exit = term
action = destroy
grace = 1s
require = stuck
[rule rest]
exit = clean error unknown
action = report
"""


def ordinary():
    group, loop = machine.Cgroup.unit("nginx.service"), machine.Cgroup.unit("looping.service")
    with Show("unit_limit = 3/min\nbreaker_hold = 1s", RULES) as show:
        service = show.service.run()
        service.wait(event__action="reconcile")
        kept = [show.ghosts(group, 1)]
        service.destroyed(kept[0][0])
        kept.append(show.ghosts(group, 1, signal.SIGTERM, b"worker"))
        service.destroyed(kept[1][0])
        kept.append(show.ghosts(loop, 5, name=b"looping"))
        service.wait(event__action="breaker", eghostbuster__breaker="closed")
        service.configure(RULES, "mode = good")
        service.reload()
        records = show.stop()
    group.remove()
    loop.remove()
    return records


def over_budget():
    group = machine.Cgroup.unit("nginx.service")
    with Show("record_budget = 4/min", RULES.replace("action = destroy\ngrace = 1s\nrequire = stuck",
                                                     "action = report")) as show:
        service = show.service.run()
        kept = [show.ghosts(group, 6), show.ghosts(group, 3, signal.SIGTERM)]
        service.wait(event__action="decide", eghostbuster__verdict="report",
                     eghostbuster__batch__budget="uid")
        records = show.stop()
        del kept
    group.remove()
    return records


def storm():
    group = machine.Cgroup.unit("nginx.service")
    with Show("mode = enforce", RULES) as show:
        service = show.service.run("--ring-bytes", "4096")
        actor = show.stage.actor()
        group.add(actor.pid)
        crowd = sockets.crowd(actor, 3000)
        actor.kill()
        service.wait(event__action="lost")
        records = show.stop()
        del crowd
    group.remove()
    return records


def pick(records, action, *members, **wanted):
    """The first record with that action and these members, as written."""
    wanted = {key.replace("__", "."): value for key, value in wanted.items()}
    return next(line for line, record in records if record["event.action"] == action
                and audit.matches(record, wanted) and all(name in record for name in members))


def chosen():
    """What is said of each, and the record."""
    run, budget, lost = ordinary(), over_budget(), storm()
    stuck = next(line for line, record in run if record.get("eghostbuster.proof", {}).get("stuck"))
    return [
        ("A run begins.", pick(run, "log-open")),
        (None, pick(run, "start")),
        (None, pick(run, "reconcile")),
        ("A process is killed, and its connection released.", pick(run, "exit")),
        (None, pick(run, "decide")),
        (None, pick(run, "destroy")),
        ("Another was asked to stop: its connection is released when it is proved stuck.", stuck),
        ("A unit over its limit.", pick(run, "breaker", eghostbuster__breaker="open")),
        (None, pick(run, "breaker", eghostbuster__breaker="closed")),
        ("A user over the budget of records: ghosts of one batch, what came of them, and ghosts that are left alone.",
         pick(budget, "decide", "eghostbuster.batch.ghosts")),
        (None, pick(budget, "destroy", "eghostbuster.batch.results")),
        (None, pick(budget, "decide", "eghostbuster.batch.first")),
        ("More events than the ring buffer had room for.", pick(lost, "lost")),
        ("A policy with an error.", pick(run, "config-reload")),
        ("The end.", pick(run, "stop")),
        (None, pick(run, "log-close")),
    ]


def broken(line):
    """Lines of a record, which are it again when they are put together."""
    lines = [""]
    for piece in re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^",])+,?', line):
        if len(lines[-1]) + len(piece) > WIDTH and lines[-1].strip():
            lines.append(" ")
        lines[-1] += piece
    assert "".join(text.strip() for text in lines) == line
    return "\n".join(lines)


def page_write():
    text = [".Sh EXAMPLES", "Lines are broken between members."]
    for title, line in chosen():
        if title:
            text += [".Pp", title]
        text += [".Bd -literal", broken(line).replace("\\", "\\e"), ".Ed"]
    page = shown.PAGE.read_text()
    begin, end = page.index(".Sh EXAMPLES\n"), page.index(".Sh SEE ALSO\n")
    shown.PAGE.write_text(page[:begin] + "\n".join(text) + "\n" + page[end:])


def main():
    if os.geteuid() != 0:
        sys.exit("docs: must be root, to start the service")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="eghostbuster-docs-") as folder, machine.own_cgroups():
        machine_make(folder)
        try:
            readme_write()
            page_write()
        finally:
            machine.run("umount -l /etc")
            machine.run(f"umount -l {folder}")


if __name__ == "__main__":
    main()
