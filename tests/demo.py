#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Shows one ghost being made and busted, on one screen: demo.py BUILD-FOLDER (root)."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(sys.argv[1]).resolve()
PATIENCE = 10  # seconds: only a failure waits for it
BOLD, DIM, END = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def title(text):
    print(f"\n{BOLD}{text}{END}", flush=True)


def sockstat():
    words = pathlib.Path("/proc/net/sockstat").read_text().split("TCP:")[1].split()
    numbers = dict(zip(words[::2], words[1::2]))
    return int(numbers["orphan"]), int(numbers["mem"]) * os.sysconf("SC_PAGESIZE")


def show_sockstat(when):
    orphans, memory = sockstat()
    print(f"{when}: {orphans} orphans, {memory / 2**20:.1f} MiB of TCP memory")


def start(folder):
    """The service with its built-in policy; returns once it says READY."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(f"{folder}/notify")
    os.chmod(f"{folder}/notify", 0o777)
    notify.settimeout(PATIENCE)
    service = subprocess.Popen(
        [BUILD / "eghostbuster", "-c", f"{folder}/policy.conf", "--audit-log", f"{folder}/audit.jsonl",
         "--control", f"{folder}/control.sock"],
        env={"NOTIFY_SOCKET": f"{folder}/notify"}, stderr=subprocess.PIPE)
    try:
        while b"READY=1" not in notify.recv(4096):
            pass
    except TimeoutError:
        sys.exit("demo: the service did not become ready: " + stderr_lines(service, lambda line: False))
    return service


def stderr_lines(service, last):
    """Lines of the service up to one that last() takes, or as many as come in time."""
    lines, text = [], b""
    while select.select([service.stderr], [], [], PATIENCE)[0]:
        chunk = os.read(service.stderr.fileno(), 4096)
        text += chunk
        lines = text.decode(errors="replace").splitlines()
        if not chunk or any(last(line) for line in lines):
            break
    return "\n".join(line[3:] if line.startswith("<") else line for line in lines if last(line)) \
        or "\n".join(lines)


def victim_make(listener):
    """A child that has sent all a peer will take which reads nothing. Returns its pid."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        connection = socket.create_connection(listener.getsockname())
        connection.setblocking(False)
        listener.close()
        try:
            while True:
                connection.send(b"x" * 65536)
        except BlockingIOError:
            pass
        os.write(tell, b"!")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    return pid


def scan():
    return subprocess.run([BUILD / "eghostctl", "scan"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


def kill_and_show(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def unguarded():
    listener = socket.create_server(("127.0.0.1", 0))
    pid = victim_make(listener)
    peer, _ = listener.accept()
    title("1. Without the service: a process whose peer stopped reading is killed")
    show_sockstat("alive ")
    kill_and_show(pid)
    show_sockstat("killed")
    print(scan())
    print(f"{DIM}The process is gone, its socket stays for minutes, with all it holds.{END}")
    peer.close()  # with unread data: the peer's reset ends this ghost, before the second act


def guarded(folder):
    title("2. The same with the service running")
    service = start(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    pid = victim_make(listener)
    peer, _ = listener.accept()
    show_sockstat("alive ")
    kill_and_show(pid)
    line = stderr_lines(service, lambda text: "busted" in text)
    show_sockstat("killed")
    print(line)
    print(scan())
    try:
        while peer.recv(1 << 20):
            pass
    except ConnectionResetError:
        print("The peer was told: connection reset.")
    service.send_signal(signal.SIGTERM)
    service.wait(PATIENCE)
    return pid


def records(folder, pid):
    title("3. What the audit log says of it")
    ghosts = set()
    for line in pathlib.Path(f"{folder}/audit.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("process.pid") == pid and "eghostbuster.ghost" in record:
            ghosts.add(record["eghostbuster.ghost"])
        if record.get("process.pid") == pid or record.get("eghostbuster.ghost") in ghosts:
            print(line)
    return bool(ghosts)


def main():
    if os.geteuid() != 0:
        sys.exit("demo: must be root, to start the service")
    with tempfile.TemporaryDirectory(prefix="eghostbuster-demo-") as folder:
        os.chmod(folder, 0o755)
        pathlib.Path(folder, "policy.conf").write_text(
            "[rule killed]\nexit = crash kill oom\naction = destroy\n")
        unguarded()
        pid = guarded(folder)
        return 0 if records(folder, pid) else 1


if __name__ == "__main__":
    sys.exit(main())
