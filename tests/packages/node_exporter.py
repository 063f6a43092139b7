#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What eghostctl writes for node_exporter's textfile collector, node_exporter takes and passes on, and its files' times
with it, which the alert rules ask for: node_exporter.py NODE_EXPORTER. In a network namespace of its own (root)."""

import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

from machine import TIMEOUT, eventually, run  # noqa: E402
from service import CTL, Service  # noqa: E402

PORT = 9100


def answers():
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", PORT)) == 0


def metrics_write(folder, to):
    """By a service that runs meanwhile."""
    service = Service(folder, None)
    service.configure(daemon="mode = observe")
    try:
        service.run()
        subprocess.run([CTL, "metrics", "--control", service.control, "--output", to], check=True)
    finally:
        status = service.close()
    assert status == 0, service.stderr()


def scraped(program, folder):
    exporter = subprocess.Popen([program, "--collector.disable-defaults", "--collector.textfile",
                                 f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{PORT}"],
                                stderr=subprocess.DEVNULL)
    try:
        eventually(answers, "node_exporter is up")
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=TIMEOUT) as answer:
            return answer.read().decode()
    finally:
        exporter.terminate()
        exporter.wait()


def names_in(text):
    return set(re.findall(r"^(eghostbuster_\w+)", text, re.MULTILINE))


def main(program):
    run("ip link set lo up")
    with tempfile.TemporaryDirectory(prefix="eghostbuster-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        (folder / "textfile").mkdir()
        wanted = folder / "textfile" / "eghostbuster.prom"
        metrics_write(folder, wanted)
        text, names = scraped(program, folder / "textfile"), names_in(wanted.read_text())
        assert re.search(r"^node_textfile_scrape_error 0$", text, re.MULTILINE), text
        assert f'node_textfile_mtime_seconds{{file="{wanted}"}}' in text, text
        missing = names - names_in(text)
        assert len(names) > 20 and not missing, f"node_exporter leaves out {missing}"
        print(f"node_exporter: {len(names)} kinds of samples, none left out")


main(sys.argv[1])
