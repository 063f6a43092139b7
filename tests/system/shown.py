# SPDX-License-Identifier: Apache-2.0
"""What the documentation shows: the scene in which the README's commands are run, and its records."""

import os
import pathlib
import re
import subprocess

import sockets
from machine import BUILD, eventually

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
PAGE = ROOT / "broker/eghostbuster-audit.5"
LOG = "/var/log/eghostbuster/audit.jsonl"

# A block of the README that begins with such a line shows what it prints.
BLOCK = re.compile(r"^```\n\$ (eghostctl .*)\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks():
    """{command: what the README says it prints}"""
    return dict(BLOCK.findall(README.read_text()))


class Scene:
    """A web server with a peer that has stopped reading is killed, a worker beside it ends in good
    order. run(command) is called when there is something to see for it. group: where its processes are, nginx.service."""

    def __init__(self, service, group, run):
        self.service, self.stage, self.group, self.run = service, service.stage, group, run
        self.kept = []  # peers: without them ghosts go

    def ghost(self, name, die):
        actor = self.stage.actor()
        actor.comm(name)
        self.group.add(actor.pid)
        connection = sockets.connect(actor, sockets.Listener())
        connection.fill()
        self.kept.append(connection)
        die(actor)
        return connection

    def without_service(self):
        connection = self.ghost(b"nginx", lambda actor: actor.kill())
        eventually(lambda: connection.row().state == "fin-wait-1", "a ghost")
        self.run("scan")
        connection.peer.close()  # with unread data: a reset
        eventually(lambda: connection.row() is None, "it is gone")

    def with_service(self):
        service = self.service.run()
        service.wait(event__action="reconcile")
        service.destroyed(self.ghost(b"nginx", lambda actor: actor.kill()))
        service.reported(self.ghost(b"worker", lambda actor: actor.die("exit", 0)))
        for verb in ("status", "metrics", "log", "report", "explain"):
            self.run(verb)
        assert service.stop() == 0
        self.run("verify")

    def play(self):
        self.without_service()
        self.with_service()


class Printed:
    """Runs the README's commands when a scene says so. located: puts in where this service has its
    files, for one that has them elsewhere than installed."""

    def __init__(self, located=lambda command: command):
        self.located, self.output = located, {}

    def __call__(self, verb):
        for command in blocks():
            if command.split()[1] == verb:
                ended = subprocess.run(["sh", "-c", self.located(command)], capture_output=True, text=True,
                                       env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}"},
                                       check=False)
                assert ended.stderr == "", ended.stderr
                self.output[command] = ended.stdout


def shape(text):
    """What is the same each time: words and columns, but no numbers, times and sizes."""
    text = re.sub(r"[A-Z][a-z][a-z] \d\d \d\d:\d\d:\d\d\.\d{3}", "TIME", text)
    text = re.sub(r"/[\w./-]+", "PATH", text)
    text = re.sub(r"\b[0-9a-f]{32,}\b|0x[0-9a-f]+", "N", text)
    text = re.sub(r"\d+(\.\d+)* (bytes|KiB|MiB)\b", "SIZE", text)
    text = re.sub(r"\d+(\.\d+)? ?(ns|us|ms|s)\b", "SPAN", text)
    text = re.sub(r"\d[\d.a-z-]*", "N", text)
    return [" ".join(line.split()) for line in text.splitlines()]


# ---- the man page's examples ----

EXAMPLE = re.compile(r'^ *(\{"@timestamp".*?"event\.hash":"[0-9a-f]{64}"\})$', re.MULTILINE | re.DOTALL)


def examples(rendered):
    """The records in the text of a man page: their lines are broken between members."""
    return ["".join(line.strip() for line in text.splitlines()) for text in EXAMPLE.findall(rendered)]
