# SPDX-License-Identifier: Apache-2.0
"""The README and eghostbuster-audit(5) show what there is: `make docs` writes it there."""

import json
import re
import shutil

import audit
import shown
from machine import Cgroup, run
from test_completion import man

PAGE = man(shown.PAGE)
SCHEMA = json.loads((shown.ROOT / "broker/audit.schema.json").read_text())


def test_the_page_has_an_example_of_each_kind_of_record():
    records = [audit.parse(line.encode()) for line in shown.examples(PAGE)]
    assert len(records) == PAGE.count('{"@timestamp"'), "all of them are read"
    assert {record["event.action"] for record in records} == audit.ACTIONS
    for name, kind in SCHEMA["definitions"].items():
        if "event.action" not in kind["properties"]:
            continue
        required = set(kind["required"]) | {kind["properties"]["event.action"]["const"]}
        assert any(required <= {*record, record["event.action"]} for record in records), name


def members(kind):
    """All names in a definition, also those within objects and arrays of objects."""
    for name, member in kind.get("properties", {}).items():
        yield name
        yield from members(member)
        yield from members(member.get("items", {}))


def names_on(page):
    """Those that the page tells of. "a.b.c, .d" are a.b.c and a.b.d."""
    text = " ".join(page.split())
    names = set(re.findall(r"@?\b\w+(?:\.\w+)*", text))
    for first, others in re.findall(r"\b(\w+(?:\.\w+)+)((?:,(?: and)? \.\w+)+)", text):
        names |= {first.rpartition(".")[0] + other for other in re.findall(r"\.\w+", others)}
    return names


def test_the_page_tells_of_every_member():
    before = PAGE[:PAGE.index("\nEXAMPLES\n")]
    known = {name for kind in SCHEMA["definitions"].values() for name in members(kind)}
    classes = set(SCHEMA["definitions"]["decide"]["properties"]["eghostbuster.exit.class"]["enum"])
    hexed = {name for name in known if name.endswith("_hex")}
    assert "‘_hex’" in before and hexed
    assert known - hexed - classes - names_on(before) == set()


class Located:
    """The README's commands, for a service that has its files elsewhere than installed."""

    def __init__(self, service):
        log = str(service.log_path)
        self.behind = {"scan": f"-c {service.config}", "status": f"--control {service.control}",
                       "metrics": f"--control {service.control}", "log": log, "report": log,
                       "explain": log, "verify": ""}
        self.log = log

    def __call__(self, command):
        first, pipe, rest = command.partition(" | ")
        first = f"{first} {self.behind[first.split()[1]]}".replace(shown.LOG, self.log)
        return first + pipe + rest


def test_the_readme_shows_what_the_commands_print(prepared, cgroup):
    run("ss --kill --tcp state fin-wait-1 state fin-wait-2")  # what other tests have left for a minute
    shutil.copy(shown.ROOT / "dist/eghostbuster.conf", prepared.config)
    printed = shown.Printed(Located(prepared))
    shown.Scene(prepared, cgroup(Cgroup.unit, "nginx.service"), printed).play()
    blocks = shown.blocks()
    verbs = {command.split()[1] for command in blocks}
    assert verbs == {"scan", "status", "metrics", "log", "report", "explain", "verify"}
    for command, text in blocks.items():
        assert shown.shape(text) == shown.shape(printed.output[command]), command
