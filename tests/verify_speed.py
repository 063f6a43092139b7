#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How fast eghostctl verify reads a log on one core: as it is, and sealed, with the key.

    verify_speed.py BUILD [RECORDS]

The least CPU time of three runs each, which is what one core needs that has nothing else to do. Exit
status 1 below 200 MB/s and 300,000 records/s.
"""

import hashlib
import hmac
import os
import pathlib
import subprocess
import sys
import tempfile

MEGABYTES, RECORDS = 200, 300_000  # a second
RUNS = 3
HEAD = '{"@timestamp":"2026-11-22T08:01:02.%09dZ","event.sequence":%d,"event.action":'
OPEN = HEAD + ('"log-open","event.reason":"start","eghostbuster.log.previous":null,'
               '"eghostbuster.log.unclean":false,"eghostbuster.log.sealed":true')
DECIDE = HEAD + (
    '"decide","event.reason":"owner-killed","rule.name":"killed","eghostbuster.verdict":"destroy",'
    '"eghostbuster.ghost":%d,"process.pid":812,"process.entity_id":"de0a0cf603830c16",'
    '"process.name":"nginx","user.id":"33","eghostbuster.unit":"nginx.service",'
    '"eghostbuster.exit.class":"kill","eghostbuster.exit.signal":9,"network.transport":"tcp",'
    '"network.type":"ipv4","source.ip":"127.0.0.1","source.port":5555,'
    '"destination.ip":"127.0.0.1","destination.port":48670,"eghostbuster.socket.cookie":"0x1007",'
    '"eghostbuster.socket.state":"fin-wait-1","eghostbuster.socket.netns":4026531840,'
    '"eghostbuster.socket.send_queue":3782145,'
    '"eghostbuster.proof":{"inode":0,"age_ms":0,"stuck":null}')
DESTROY = HEAD + (
    '"destroy","event.outcome":"success","eghostbuster.ghost":%d,"eghostbuster.result":"destroyed",'
    '"eghostbuster.peer_notice":"rst","eghostbuster.latency_ns":84000,'
    '"eghostbuster.look_to_act_ns":41000,"eghostbuster.socket.state":"fin-wait-1"')
CLOSE = HEAD + '"log-close","event.reason":"stop"'


def body(number, last):
    head = (number, number)
    if number == 1:
        return OPEN % head
    if number == last:
        return CLOSE % head
    return (DESTROY if number % 2 else DECIDE) % (*head, number // 2)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts))


def write(path, records, root):
    """Decisions and results by turns; with a root each has a seal of its own: more a log cannot have."""
    previous = b"0" * 64
    key, epoch = root and sha256(b"eghostbuster seal key of a root", root).digest(), 0
    with open(path, "wb", 1 << 20) as log:
        for number in range(1, records + 1):
            line = body(number, records).encode()
            if root:
                bare = sha256(previous, line).hexdigest()
                mac = hmac.digest(key, f"{epoch}:{bare}".encode(), "sha256").hex()
                line += f',"eghostbuster.seal":"{epoch}:{mac}"'.encode()
                epoch += 1
                if epoch % 262144:
                    key = sha256(b"eghostbuster seal key", key).digest()
                else:
                    root = sha256(b"eghostbuster seal root", root).digest()
                    key = sha256(b"eghostbuster seal key of a root", root).digest()
            previous = sha256(previous, line).hexdigest().encode()
            log.write(line + b',"event.hash":"' + previous + b'"}\n')


def cpu_seconds(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(what, path, records, command):
    seconds = min(cpu_seconds([*command, path]) for _ in range(RUNS))
    megabytes = path.stat().st_size / 1e6
    print(f"{what}: {records} records, {megabytes:.0f} MB in {seconds:.2f} s: "
          f"{megabytes / seconds:.0f} MB/s, {records / seconds:.0f} records/s", flush=True)
    return megabytes / seconds >= MEGABYTES or records / seconds >= RECORDS


def main():
    verify = [pathlib.Path(sys.argv[1]) / "eghostctl", "verify"]
    records = int(sys.argv[2]) if len(sys.argv) > 2 else 400_000
    root = os.urandom(32)
    good = True
    with tempfile.TemporaryDirectory(prefix="eghostbuster-speed-") as folder:
        folder = pathlib.Path(folder)
        (folder / "key").write_text(root.hex())
        for what, sealed in (("chain", None), ("chain and seals", root)):
            write(folder / "log", records, sealed)
            good &= measure(what, folder / "log", records,
                            verify + (["--seal-key", folder / "key"] if sealed else []))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
