#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command as systemd runs it for one of our units, as far as one process can do that to itself.

    unshare --mount unit.py UNIT STATE COMMAND...

Accounts are those of dist/systemd/sysusers.conf, in copies of /etc/passwd and /etc/group. STATE holds
what the command finds at /var/log/eghostbuster, /run/eghostbuster and /var/lib/eghostbuster-metrics, and
drop-in.conf, which is read behind the unit.
"""

import ctypes
import functools
import os
import pathlib
import pwd
import resource
import subprocess
import sys

SYSTEMD = pathlib.Path(__file__).resolve().parents[2] / "dist/systemd"
FOLDERS = {"log": "/var/log/eghostbuster", "run": "/run/eghostbuster", "metrics": "/var/lib/eghostbuster-metrics"}

CAPABILITIES = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_NET_ADMIN": 12,
                "CAP_AUDIT_WRITE": 29, "CAP_PERFMON": 38, "CAP_BPF": 39}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}

_libc = ctypes.CDLL(None, use_errno=True)


class Unit:
    """The lines of a unit, in which a name may come more than once."""

    def __init__(self, name, drop_in=""):
        text = (SYSTEMD / name).read_text() + drop_in
        self.lines = [line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] not in "#;["]

    def all(self, name):
        return [value for key, value in self.lines if key == name]

    def words(self, name):
        return " ".join(self.all(name)).split()

    def one(self, name):
        value, = self.all(name)
        return value

    def calls(self):
        """What SystemCallFilter= allows, the groups' members by their names."""
        allowed = set()
        for line in self.all("SystemCallFilter"):
            names = {call for word in line.lstrip("~").split() for call in members(word)}
            allowed = allowed - names if line.startswith("~") else allowed | names
        return allowed | members("@default")


@functools.cache
def groups():
    """systemd's groups of system calls: {name: members}"""
    found = {}
    for line in subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        if line.startswith("@"):
            found[line.strip()] = inner = []
        elif line.startswith("    ") and not line.strip().startswith("#"):
            inner.append(line.strip())
    return found


def members(word):
    """Of a group of system calls, and of the groups in it."""
    if not word.startswith("@"):
        return {word}
    return {call for inner in groups()[word] for call in members(inner)}


def checked(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def prctl(*args):
    checked(_libc.prctl(*args, *[0] * (5 - len(args))), f"prctl({args[0]})")


def run(*command):
    subprocess.run(command, check=True)


def accounts_make(etc):
    """What systemd-sysusers makes of our file, beside the accounts that this machine has."""
    for name in ("passwd", "group"):
        (etc / name).write_text(pathlib.Path("/etc", name).read_text())
    run("systemd-sysusers", f"--root={etc.parent}", str(SYSTEMD / "sysusers.conf"))


def state_make(state):
    """Before the first run of a unit: accounts, and what tmpfiles.d and the units' folders are."""
    etc = state / "etc"
    etc.mkdir()
    accounts_make(etc)
    for name in FOLDERS:
        (state / name).mkdir()


def folders_mount(state):
    """The mount points come with empty folders of their own: nothing of the machine's is changed."""
    for name in ("passwd", "group"):
        run("mount", "--bind", str(state / "etc" / name), f"/etc/{name}")
    for parent in ("/var/log", "/run", "/var/lib"):
        run("mount", "-t", "tmpfs", "tmpfs", parent)
    for name, path in FOLDERS.items():
        os.mkdir(path)
        run("mount", "--bind", str(state / name), path)


def folders_give(unit, state):
    """To whom PID 1 and tmpfiles.d would."""
    user = unit.one("User")
    run("systemd-tmpfiles", "--create", str(SYSTEMD / "tmpfiles.conf"))
    for setting, name in (("RuntimeDirectory", "run"), ("StateDirectory", "metrics")):
        if unit.all(setting):
            entry = pwd.getpwnam(user)
            os.chown(state / name, entry.pw_uid, entry.pw_gid)


def proc_mount(unit):
    for bind in unit.words("BindReadOnlyPaths"):
        source, target = bind.split(":")
        pathlib.Path(target).touch()
        run("mount", "--bind", source, target)
        run("mount", "-o", "remount,bind,ro", target)
    run("mount", "-t", "proc", "-o", f"hidepid={unit.one('ProtectProc')},subset={unit.one('ProcSubset')}", "proc", "/proc")


def strict_mount():
    """ProtectSystem=strict: what is not a mount of its own by now cannot be written."""
    run("mount", "-o", "remount,bind,ro", "/")
    run("mount", "-o", "remount,bind,ro", "/sys")


class Filter:
    def __init__(self, default):
        self.lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action, name, *conditions):
        number = self.lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # another architecture's
        array = (Condition * len(conditions))(*conditions)
        error = self.lib.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(conditions), array)
        if error != 0:
            raise OSError(-error, f"a rule for {name}")

    def load(self):
        error = self.lib.seccomp_load(self.context)
        if error != 0:
            raise OSError(-error, "seccomp_load")


class Condition(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


ALLOW, EPERM, KILL = 0x7fff0000, 0x00050000 | 1, 0x80000000
EQUAL, MASKED = 4, 7


def families_rule(unit, wanted):
    """RestrictAddressFamilies="""
    for family in unit.words("RestrictAddressFamilies"):
        wanted.rule(ALLOW, "socket", Condition(0, EQUAL, FAMILIES[family], 0))


def memory_filter():
    """MemoryDenyWriteExecute= and RestrictNamespaces="""
    refused = Filter(ALLOW)
    for call in ("mmap", "mprotect", "pkey_mprotect"):
        bits = 6 if call == "mmap" else 4
        refused.rule(EPERM, call, Condition(2, MASKED, bits, bits))
    for call in ("unshare", "setns"):
        refused.rule(EPERM, call)
    refused.load()


def filter_load(unit):
    """A call that is not allowed kills here: nobody is to get along with an error by luck."""
    memory_filter()
    allowed = Filter(KILL)
    for call in unit.calls() - {"socket"}:
        allowed.rule(ALLOW, call)
    families_rule(unit, allowed)
    allowed.load()


def privileges_take(unit):
    """What is left after the change of ids: the ambient capabilities."""
    bounding = {CAPABILITIES[name] for name in unit.words("CapabilityBoundingSet")}
    ambient = {CAPABILITIES[name] for name in unit.words("AmbientCapabilities")}
    entry = pwd.getpwnam(unit.one("User"))
    others = unit.words("SupplementaryGroups")
    names = {name.split(":")[0]: int(name.split(":")[2]) for name in pathlib.Path("/etc/group").read_text().split()
             if name.count(":") == 3}
    os.setgroups([*os.getgrouplist(entry.pw_name, entry.pw_gid), *(names[name] for name in others)])
    for cap in range(64):
        if cap not in bounding and _libc.prctl(24, cap, 0, 0, 0) < 0:  # PR_CAPBSET_DROP
            break
    prctl(8, 1)  # PR_SET_KEEPCAPS
    os.setresgid(*[entry.pw_gid] * 3)
    os.setresuid(*[entry.pw_uid] * 3)
    caps_set(ambient)
    for cap in ambient:
        prctl(47, 2, cap)  # PR_CAP_AMBIENT_RAISE
    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS


def caps_set(caps):
    low, high = (sum(1 << cap % 32 for cap in caps if cap // 32 == half) for half in (0, 1))
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    checked(_libc.capset(head, data), "capset")


def limits_set(unit):
    for name in ("LimitMEMLOCK", "LimitCORE", "LimitNOFILE"):
        for value in unit.all(name):
            number = int(value.rstrip("M")) << (20 if value.endswith("M") else 0)
            limit = getattr(resource, name.replace("Limit", "RLIMIT_"))
            _, most = resource.getrlimit(limit)  # which the tests' own machine may not let us raise
            number = number if most == resource.RLIM_INFINITY else min(number, most)
            resource.setrlimit(limit, (number, number))
    os.umask(int(unit.one("UMask"), 8))


def main():
    unit, state, *command = sys.argv[1:]
    state = pathlib.Path(state)
    drop_in = state / "drop-in.conf"
    unit = Unit(unit, drop_in.read_text() if drop_in.exists() else "")
    run("mount", "--make-rprivate", "/")
    folders_mount(state)
    folders_give(unit, state)
    proc_mount(unit)
    strict_mount()
    limits_set(unit)
    calls_known = unit.calls()  # asks programs, which the filter would not let run
    unit.calls = lambda: calls_known
    privileges_take(unit)
    filter_load(unit)
    # Of sanitizer builds: what looks for leaks at the end traces the process, and waits for ever where it may not.
    os.execve(command[0], command, dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))


if __name__ == "__main__":
    main()
