#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The alert rules and the dashboard ask for metrics and labels that there are (broker/metrics.c), and are what their
readers take. promtool says more: tests/packages/alerts_test.yml."""

import json
import pathlib
import re
import sys

# Of node_exporter, by whose textfile collector the metrics come.
OTHERS = {"node_textfile_mtime_seconds", "node_sockstat_TCP_orphan", "node_sockstat_TCP_mem"}

source = pathlib.Path("broker/metrics.c").read_text()
bad = []


def samples():
    """The names of all samples, and {label: its values}."""
    names = set()
    for name, kind in re.findall(r'{ "(eghostbuster_\w+)", (\w+),', source):
        ends = {"COUNTER": ["_total"], "HISTOGRAM": ["_bucket", "_sum", "_count"]}.get(kind, [""])
        names |= {name + end for end in ends}
    labels = {}
    for label, value in re.findall(r'(\w+)=\\"([^"\\%]+)\\"', source):
        labels.setdefault(label, set()).add(value)
    return names, labels


def check(where, expression, names, labels):
    asked = set(re.findall(r"\b((?:eghostbuster|node)_\w+)", re.sub(r'"[^"]*"', '""', expression)))
    bad.extend(f"{where}: there is no {name}" for name in sorted(asked - names - OTHERS))
    for label, value in re.findall(r'(\w+)=~?"([^"$]+)"', expression):
        if label not in ("instance", "file"):
            bad.extend(f"{where}: no {label} is {one}" for one in value.split("|") if one not in labels.get(label, ()))


def main():
    names, labels = samples()
    assert "eghostbuster_reaps_total" in names and "destroyed" in labels["result"], "metrics.c is not read right"
    dashboard = json.loads(pathlib.Path("dist/prometheus/dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) and all(panel["targets"] for panel in dashboard["panels"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            check(panel["title"], target["expr"], names, labels)
    alerts = pathlib.Path("dist/prometheus/alerts.yml").read_text()
    for name, expression in re.findall(r"- alert: (\w+)\n +expr: (?:>-)?((?:.|\n)*?)\n +(?:for|labels):", alerts):
        check(name, expression, names, labels)
    for line in bad:
        print(f"monitoring: {line}", file=sys.stderr)
    sys.exit(bool(bad))


main()
