# SPDX-License-Identifier: Apache-2.0
"""eghostctl metrics: OpenMetrics by the letter, and what the audit log of the same run says."""

import collections
import re
import signal
import socket
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import audit
import sockets
from hostile import ask
from machine import TIMEOUT, eventually
from service import CTL, RULE_PER_CLASS
from test_completion import man

OTHERS = ("since_start", "pending", "lost")


def metrics_text(service):
    ended = subprocess.run([CTL, "metrics", "--control", service.control], capture_output=True,
                           text=True, timeout=TIMEOUT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


class Metrics:
    """One answer, as a strict reader takes it."""

    def __init__(self, service):
        self.families = list(text_string_to_metric_families(metrics_text(service)))
        self.samples = {(sample.name.removeprefix("eghostbuster_"), *sorted(sample.labels.items())): sample.value
                        for family in self.families for sample in family.samples}

    def __call__(self, name, **labels):
        return self.samples[(name, *sorted(labels.items()))]

    def by(self, name, label):
        """{label's value: number}, without those that are 0"""
        found = {}
        for (sample, *labels), value in self.samples.items():
            if sample == name and value:
                found[dict(labels)[label]] = value
        return found


def ghosts_make(service, count, sig=signal.SIGKILL):
    """Ghosts of one process that ends so. Returns their peers, without which they would go."""
    victim, listener = service.stage.actor(), sockets.Listener()
    ghosts = [sockets.connect(victim, listener) for _ in range(count)]
    for ghost in ghosts:
        ghost.fill()
    victim.kill(sig)
    return ghosts, listener


def told(records):
    """What a log says in numbers, by the names of the metrics."""
    verdicts, results = collections.Counter(), collections.Counter()
    for record in audit.unbatched(records):
        if record["event.action"] == "decide":
            verdicts[record["eghostbuster.verdict"]] += \
                record["eghostbuster.batch.ghosts_count"] if "eghostbuster.batch.first" in record else 1
        elif record["event.action"] == "destroy":
            results[record["eghostbuster.result"]] += 1
    return verdicts, results


def assert_agrees(service):
    """When nothing moves any more."""
    metrics, records = Metrics(service), service.audit.read()
    verdicts, results = told(records)
    assert metrics.by("decisions_total", "verdict") == verdicts
    assert metrics.by("reaps_total", "result") == results
    for histogram in ("reap_latency_seconds", "look_to_act_seconds"):
        assert metrics(f"{histogram}_count") == results["destroyed"]
    assert metrics("audit_records_total", sink="file") == len(records)
    assert metrics("audit_chain_sequence") == records[-1]["event.sequence"]
    assert metrics("orphans_detected_total", object="tcp") == sum(verdicts.values())
    return metrics, records


def test_what_the_log_says(per_class):
    _peers = ghosts_make(per_class, 3), ghosts_make(per_class, 2, signal.SIGTERM)
    per_class.fence()
    metrics, records = assert_agrees(per_class)
    destroyed = [r for r in records if r.get("eghostbuster.result") == "destroyed"]
    assert len(destroyed) == 4 and metrics("decisions_total", verdict="report") == 2
    for name, member in (("reap_latency", "latency"), ("look_to_act", "look_to_act")):
        total = sum(record[f"eghostbuster.{member}_ns"] for record in destroyed)
        assert round(metrics(f"{name}_seconds_sum") * 1e9) == total
    slow = sum(record["eghostbuster.latency_ns"] > 1_000_000 for record in destroyed)
    assert metrics("reap_latency_seconds_bucket", le="0.001") == 4 - slow
    assert metrics("orphans_left_alone", object="tcp") == 2
    assert metrics.by("up", "role") == {"tracker": 1, "broker": 1, "reaper": 1}
    assert metrics.by("mode", "mode") == {"enforce": 1}
    assert len(metrics.by("self_test_ok", "check")) == 3
    # The other clients so far; one that has asked is counted when it has its answer.
    assert Metrics(per_class)("control_clients_total", outcome="answered") == \
        metrics("control_clients_total", outcome="answered") + 1


def test_batches_of_what_is_observed(prepared):
    """Of a record that speaks of many, each is counted."""
    prepared.configure(RULE_PER_CLASS, "record_budget = 4/min")
    service = prepared.run("--observe")
    _peers = ghosts_make(service, 6), ghosts_make(service, 2, signal.SIGTERM)
    eventually(lambda: Metrics(service).by("decisions_total", "verdict") ==
               {"destroy": 6, "report": 2}, "all are decided upon")
    metrics, records = assert_agrees(service)
    assert metrics.by("mode", "mode") == {"observe": 1}
    assert metrics.by("reaps_total", "result") == {"observed": 6}
    batches = [record for record in records if "eghostbuster.batch.id" in record
               and record["event.action"] == "decide"]
    assert metrics("batches_total") == len(batches) > 0
    assert metrics("batched_ghosts_total") == \
        sum(batch["eghostbuster.batch.ghosts_count"] for batch in batches)


def test_unit_limit(prepared):
    prepared.configure(daemon="unit_limit = 1/h")
    service = prepared.run()
    _peers = ghosts_make(service, 3)
    service.wait(event__action="breaker", eghostbuster__breaker="open")
    service.wait(event__action="destroy")
    metrics = Metrics(service)
    assert metrics("refusals_total", reason="unit-limit") == 2
    assert metrics("orphans_pending", object="tcp", phase="held-back") == 2
    assert metrics("breaker_open_units") == metrics("breaker_opened_total") == 1


def assert_status_and_the_man_page_tell_the_same(service, numbers):
    text = " ".join(man("ctl/eghostctl.1").split())
    for family in numbers.families:
        sample = family.samples[0]
        labels = [label for label in sample.labels if label != "le"]
        name = sample.name.removesuffix("_bucket")
        told_there = name + (f" ({', '.join(labels)})" if labels else "")
        assert f" {told_there} {family.documentation} " in text, told_there
    named = set(re.findall(r"\beghostbuster_\w+", text))
    assert named == {re.sub("_bucket$", "", family.samples[0].name) for family in numbers.families}
    status = ask(service)
    assert status["since_start"]["ghosts"] == numbers("orphans_detected_total", object="tcp")
    assert all(isinstance(value, int) for part in OTHERS for value in status[part].values())


def test_reloads_and_what_is_told_elsewhere(service):
    first = Metrics(service)
    assert_status_and_the_man_page_tell_the_same(service, first)
    service.configure(daemon="mode = good")
    service.reload()
    bad = Metrics(service)
    assert bad("config_last_reload_successful") == 0
    name = "config_last_reload_success_timestamp_seconds"
    assert bad(name) == first(name) == first("start_time_seconds")
    service.configure()
    service.reload()
    good = Metrics(service)
    assert good("config_last_reload_successful") == 1 and good(name) > first(name)


def test_without_a_service(folder):
    ended = subprocess.run([CTL, "metrics", "--control", folder / "nobody.sock"], capture_output=True,
                           text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "") and "is it running?" in ended.stderr


@pytest.mark.parametrize("answer", [b"", b"# EOF", b"a 1\n", b"a\x1b[31m 1\n# EOF\n", b'{"error":"no"}\n'])
def test_half_an_answer_is_none(folder, answer):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock"))
        listener.listen()
        asking = subprocess.Popen([CTL, "metrics", "--control", folder / "sock"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        client, _ = listener.accept()
        client.recv(64)
        client.sendall(answer)
        client.close()
        stdout, stderr = asking.communicate(timeout=TIMEOUT)
    assert (asking.returncode, stdout) == (1, b"") and stderr.count(b"\n") == 1
