#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What eghostctl writes for node_exporter's textfile collector, node_exporter takes and passes on, and its files' times
with it, which the alert rules ask for: node_exporter.py NODE_EXPORTER BUILD. In a network namespace of its own (root)."""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PORT = 9100


def eventually(condition, what):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"not within 20 s: {what}"
        time.sleep(0.05)


def answers():
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def metrics_write(build, folder, to):
    """By a service that runs meanwhile."""
    config, control = folder / "eghostbuster.conf", folder / "control.sock"
    config.write_text("[daemon]\nmode = observe\n[rule all]\nexit = crash kill oom\naction = destroy\n")
    service = subprocess.Popen([build / "eghostbuster", "-c", config, "--audit-log", folder / "audit.jsonl",
                                "--control", control, "--libexec", build / "libexec"])
    try:
        eventually(lambda: subprocess.run([build / "eghostctl", "status", "--control", control],
                                          capture_output=True).returncode == 0, "the service is up")
        subprocess.run([build / "eghostctl", "metrics", "--control", control, "--output", to], check=True)
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0


def scraped(program, folder):
    exporter = subprocess.Popen([program, "--collector.disable-defaults", "--collector.textfile",
                                 f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{PORT}"],
                                stderr=subprocess.DEVNULL)
    try:
        eventually(answers, "node_exporter is up")
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=20) as answer:
            return answer.read().decode()
    finally:
        exporter.terminate()
        exporter.wait()


def names_in(text):
    return set(re.findall(r"^(eghostbuster_\w+)", text, re.MULTILINE))


def main(program, build):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="eghostbuster-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        (folder / "textfile").mkdir()
        wanted = folder / "textfile" / "eghostbuster.prom"
        metrics_write(build, folder, wanted)
        text, names = scraped(program, folder / "textfile"), names_in(wanted.read_text())
        assert re.search(r"^node_textfile_scrape_error 0$", text, re.MULTILINE), text
        assert f'node_textfile_mtime_seconds{{file="{wanted}"}}' in text, text
        missing = names - names_in(text)
        assert len(names) > 20 and not missing, f"node_exporter leaves out {missing}"
        print(f"node_exporter: {len(names)} kinds of samples, none left out")


main(*map(pathlib.Path, sys.argv[1:]))
