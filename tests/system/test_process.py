# SPDX-License-Identifier: Apache-2.0
"""What the running processes may do and hold, read from the system, not from the sources."""

import errno
import os
import pathlib
import re
import subprocess

import pytest

from machine import BUILD, TIMEOUT, status_of
from service import CTL, LAUNCHER, LIBEXEC

CAP_NET_ADMIN, CAP_AUDIT_WRITE, CAP_BPF = 1 << 12, 1 << 29, 1 << 39
# role -> CapPrm = CapEff, CapBnd, CapAmb
CAPABILITIES = {
    "tracker": (CAP_BPF, CAP_BPF, 0),
    "broker": (0, 0, 0),
    "reaper": (CAP_NET_ADMIN, CAP_NET_ADMIN, CAP_NET_ADMIN),
    "sink": (CAP_AUDIT_WRITE, CAP_AUDIT_WRITE, CAP_AUDIT_WRITE),
}
ROLES = list(CAPABILITIES)

COMMON = r"/dev/null|anon_inode:\[(eventpoll|eventfd|timerfd|signalfd)\]"
# What each role may have open above standard error, by the target of /proc/PID/fd/N.
DESCRIPTORS = {
    "tracker": rf"{COMMON}|socket:\[\d+\]|anon_inode:(bpf-map|bpf-prog|bpf_link|btf)",
    "broker": rf"{COMMON}|socket:\[\d+\]|anon_inode:\[eventfd\]|pipe:\[\d+\]|{{folder}}(/log)?"
              rf"|{{folder}}/(log/audit.jsonl|eghostbuster.conf|control.sock.lock)",
    "reaper": rf"{COMMON}|socket:\[\d+\]",
    "sink": rf"{COMMON}|socket:\[\d+\]",
}
DESCRIPTORS_MAX = {"tracker": 32, "broker": 32, "reaper": 9, "sink": 6}
SOCKETS = {  # families, as in /proc/PID/net or by ss: how many of each
    "tracker": {"unix": 1},
    "reaper": {"unix": 1, "netlink": 2},
    "sink": {"unix": 1, "netlink": 1},
}

LIBC = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
HARDENING = LIBC | {"libseccomp.so.2", "libcap-ng.so.0"}
LIBRARIES = {
    LAUNCHER: LIBC | {"libcap-ng.so.0"},
    LIBEXEC / "tracker": HARDENING | {"libbpf.so.1"},
    LIBEXEC / "broker": HARDENING | {"libevent_core-2.1.so.7", "libinih.so.1",
                                      "libnettle.so.8"},
    LIBEXEC / "reaper": HARDENING | {"libmnl.so.0"},
    LIBEXEC / "sink": HARDENING,
    CTL: LIBC | {"libmnl.so.0", "libinih.so.1", "libjansson.so.4",
                 "libnettle.so.8", "libz.so.1"},
}

SANITIZERS = {"libasan.so.8", "libubsan.so.1", "libm.so.6", "libgcc_s.so.1", "libresolv.so.2"}


@pytest.fixture
def service(prepared):
    """The service with all the roles there can be."""
    prepared.configure(daemon="linux_audit = yes")
    return prepared.run()


def sanitized(program):
    return b"__asan_init" in program.read_bytes()


def needed(program):
    text = subprocess.run(["readelf", "-d", program], check=True, capture_output=True,
                          text=True).stdout
    return set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*?)\]", text))


def soname(library):
    text = subprocess.run(["readelf", "-d", library], check=True, capture_output=True,
                          text=True).stdout
    found = re.search(r"\(SONAME\)\s+Library soname: \[(.*?)\]", text)
    return found and found[1]


@pytest.mark.parametrize("program", LIBRARIES, ids=lambda program: program.name)
def test_libraries(program):
    libraries = needed(program)
    allowed = LIBRARIES[program] | (SANITIZERS if sanitized(program) else set())
    assert libraries <= allowed
    assert "libc.so.6" in libraries


@pytest.mark.parametrize("program", LIBRARIES, ids=lambda program: program.name)
def test_programs_are_hardened(program):
    text = subprocess.run(["readelf", "-lhd", program], check=True, capture_output=True,
                          text=True).stdout
    assert re.search(r"Type:\s+DYN", text), "position-independent"
    assert "GNU_RELRO" in text and re.search(r"FLAGS_1\).*\bNOW\b", text), "nothing bound late"
    assert re.search(r"GNU_STACK.*\n.*\bRW\s", text), "no executable stack"


def test_programs_resist(program_code):
    """What the compiler was told shows in the code."""
    program, code = program_code
    main = re.search(r"<main>:\n.*\t(\w+) *\n", code)
    assert main and main[1] == "endbr64", "control-flow protection"
    if not sanitized(program):
        frames = re.findall(r"sub +\$0x(\w+),%rsp.*\n.*\t(.*?) *\n", code)
        large = [(int(size, 16), after) for size, after in frames if int(size, 16) >= 0x1000]
        assert frames and not [f for f in large if not re.match(PAGE_TOUCHED, f[1]) or
                               f[0] != 0x1000], "a stack frame can jump over the guard page"
        assert large or program.name != "broker", "it has buffers of some pages"


PAGE_TOUCHED = r"(or|mov)q +\$0x0,\(%rsp\)"


@pytest.fixture(params=[LIBEXEC / role for role in ROLES], ids=ROLES)
def program_code(request):
    if os.uname().machine != "x86_64":
        pytest.skip("reads x86-64 code")
    return request.param, subprocess.run(["objdump", "-d", "--no-show-raw-insn", request.param],
                                         check=True, capture_output=True, text=True).stdout


# What would bring code or somebody else's answers in after the start.
LATE = re.compile(r"dl(open|mopen|sym|vsym)|get(pw|gr)(nam|uid|gid|ent)\w*|"
                  r"get(host|serv|proto|net)by\w*|get(addr|name)info|"
                  r"initgroups|system|popen|exec\w*|posix_spawnp?|fork|localtime\w*|setlocale")


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_loaded_late(role):
    text = subprocess.run(["readelf", "-W", "--dyn-syms", LIBEXEC / role], check=True,
                          capture_output=True, text=True).stdout
    imported = set(re.findall(r" UND (\w+)", text))
    assert "prctl" in imported
    assert not {name for name in imported if LATE.fullmatch(name)}


def test_no_test_code_in_what_is_shipped():
    for program in LIBRARIES:
        assert b"intruder" not in program.read_bytes(), program


def test_every_role_has_a_uid_of_its_own_and_none_is_root(service):
    uids = set()
    for pid in service.roles().values():
        status = status_of(pid)
        real, effective, saved, fs = status["Uid"].split()
        assert real == effective == saved == fs != "0"
        assert "0" not in status["Gid"].split()
        assert status["Groups"] == ""
        uids.add(real)
    assert set(service.roles()) == set(ROLES)
    assert len(uids) == len(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_capabilities(service, role):
    status = status_of(service.roles()[role])
    effective, bounding, ambient = CAPABILITIES[role]
    found = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb",
                                                      "CapInh")}
    assert found == {"CapPrm": effective, "CapEff": effective, "CapInh": effective,
                     "CapBnd": bounding, "CapAmb": ambient}


def test_the_tracker_goes_first(service):
    """Its ring fills while those who die use the processors."""
    nice = {role: os.getpriority(os.PRIO_PROCESS, pid) for role, pid in service.roles().items()}
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice.pop("tracker") == min(mine, -10)
    assert set(nice.values()) == {mine}


@pytest.mark.parametrize("role", ROLES)
def test_locked_down(service, role):
    pid = service.roles()[role]
    status = status_of(pid)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    # A process that is not dumpable belongs to root in /proc.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0
    assert pathlib.Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0") == b""
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    assert re.search(r"Max processes\s+0\s+0", limits)
    assert re.search(rf"Max open files\s+{DESCRIPTORS_MAX[role]}\s+{DESCRIPTORS_MAX[role]}", limits)


@pytest.mark.parametrize("role", ROLES)
def test_no_memory_is_writable_and_executable(service, role):
    maps = pathlib.Path(f"/proc/{service.roles()[role]}/maps").read_text()
    assert maps and not [line for line in maps.splitlines() if re.match(r"\S+ .wx", line)]


@pytest.mark.parametrize("role", ROLES)
def test_what_can_be_executed_is_what_was_linked(service, role):
    """After the start: the program and the libraries it needs, directly or through one another."""
    maps = pathlib.Path(f"/proc/{service.roles()[role]}/maps").read_text()
    executable = {line.split(maxsplit=5)[5] for line in maps.splitlines()
                  if re.match(r"\S+ ..x", line)} - {"[vdso]", "[vsyscall]"}
    libraries = {soname(path) or role: path for path in executable}
    assert libraries[role] == str(LIBEXEC / role)
    wanted, todo = {role}, [role]
    while todo:
        fresh = needed(libraries[todo.pop()]) - wanted
        wanted |= fresh
        todo += fresh
    assert set(libraries) == wanted


PTRACE_SEIZE = """
import ctypes, os, sys
uid, pid = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
result = libc.ptrace(0x4206, pid, None, None)
print(ctypes.get_errno() if result else "seized", flush=True)
"""


def seize(uid, pid):
    """What a process of that uid is told when it tries to trace pid."""
    return subprocess.run(["/usr/bin/python3", "-c", PTRACE_SEIZE, str(uid), str(pid)], check=True,
                          capture_output=True, text=True, timeout=TIMEOUT).stdout.strip()


@pytest.mark.parametrize("role", ROLES)
def test_not_traceable_by_its_own_uid(service, role):
    pid = service.roles()[role]
    uid = int(status_of(pid)["Uid"].split()[0])
    with subprocess.Popen(["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups",
                           "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ordinary:
        ordinary.stdin.write(b"\n")
        ordinary.stdin.flush()
        ordinary.stdout.readline()  # it is cat(1) by now
        assert seize(uid, ordinary.pid) == "seized", "another of its processes can be traced"
        ordinary.stdin.close()
    assert seize(uid, pid) == str(errno.EPERM)


def test_no_descriptor_is_inherited(prepared):
    """Whoever starts the service may have left files open in it, at any number."""
    numbers = [3, 7, 12, 16, 31, 50, 64, 200, 1000]
    secret = os.memfd_create("inherited")
    for number in numbers:
        os.dup2(secret, number + 1100, inheritable=True)
    moves = "".join(f" {number}<&{number + 1100} {number + 1100}<&-" for number in numbers)
    try:
        prepared.start(prefix=["bash", "-c", f'exec{moves} "$0" "$@"'],
                       pass_fds=[number + 1100 for number in numbers])
        prepared.wait_notification(b"READY=1")
    finally:
        for number in numbers:
            os.close(number + 1100)
    for role, pid in prepared.roles().items():
        assert not [fd for fd, target in descriptors(pid).items() if "inherited" in target], role


def descriptors(pid):
    folder = f"/proc/{pid}/fd"
    return {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}


@pytest.mark.parametrize("role", ROLES)
def test_descriptors(service, role):
    pid = service.roles()[role]
    open_now = descriptors(pid)
    assert open_now[0] == open_now[1] == "/dev/null"
    assert open_now[2] == str(service.stderr_path)
    allowed = DESCRIPTORS[role].format(folder=re.escape(str(service.folder)))
    unexpected = {fd: target for fd, target in open_now.items()
                  if fd > 2 and not re.fullmatch(allowed, target)}
    assert not unexpected


@pytest.mark.parametrize("role", SOCKETS)
def test_sockets(service, role):
    pid = service.roles()[role]
    inodes = {match[1] for target in descriptors(pid).values()
              if (match := re.fullmatch(r"socket:\[(\d+)\]", target))}
    found = {}
    for family, column in (("unix", 6), ("netlink", 9), ("tcp", 9), ("tcp6", 9), ("udp", 9)):
        table = pathlib.Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]
        count = sum(line.split()[column] in inodes for line in table)
        if count:
            found[family] = count
    assert found == SOCKETS[role] and sum(found.values()) == len(inodes)


@pytest.mark.parametrize("role", ROLES)
def test_not_to_be_started_by_hand(role):
    """As an ordinary user: as root it would be the same, but this is who tries."""
    ended = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                            str(LIBEXEC / role)], capture_output=True, text=True, timeout=TIMEOUT,
                           stdin=subprocess.DEVNULL)
    assert ended.returncode in (1, 2)
    assert len(ended.stderr.splitlines()) == 1
    assert "not to be started by hand" in ended.stderr


@pytest.mark.parametrize("role", ROLES)
def test_not_to_be_started_by_hand_as_root(role):
    ended = subprocess.run([str(LIBEXEC / role)], capture_output=True, text=True, timeout=TIMEOUT,
                           stdin=subprocess.DEVNULL)
    assert ended.returncode in (1, 2)
    assert "not to be started by hand" in ended.stderr


def test_build_folder_holds_what_the_contract_names():
    for name in ("eghostbuster", "eghostctl", *(f"libexec/{role}" for role in ROLES)):
        assert os.access(BUILD / name, os.X_OK), name
