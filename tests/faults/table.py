# SPDX-License-Identifier: Apache-2.0
"""Which faults there are: per system call the errors that may happen to it, and what cannot."""

import collections

from scene import Cell

# What the manual or the kernel's source names for each call as it is used here. "=N": the call is
# made with a length of N at most; "0": it is answered with 0, the end of a file; "!E": made, and
# answered with E all the same.
FAULTS = {
    "accept4": "EMFILE ENFILE ENOMEM ENOBUFS ECONNABORTED EINTR",
    "access": "EACCES ENOMEM",
    "arch_prctl": "EPERM",
    "bind": "EADDRINUSE EACCES ENOMEM",
    "bpf": "EPERM ENOMEM EINVAL",
    "brk": "ENOMEM",
    "capget": "EPERM",
    "capset": "EPERM",
    "chdir": "EACCES ENOMEM",
    "clone": "EAGAIN ENOMEM",
    "close": "!EIO !EINTR",
    "close_range": "ENOMEM ENOSYS",
    "connect": "ECONNREFUSED EAGAIN ENOBUFS",
    "dup2": "EMFILE EBUSY",
    "dup3": "EBUSY EINTR",
    "epoll_create1": "EMFILE ENOMEM",
    "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR EBADF",
    "execve": "ENOMEM",
    "execveat": "EACCES ENOMEM ETXTBSY",
    "faccessat2": "EACCES",
    "fchmod": "EPERM EIO EROFS",
    "fchown": "EPERM EROFS EDQUOT",
    "fcntl": "EMFILE EINVAL",
    "fdatasync": "EIO ENOSPC EDQUOT EINTR",
    "flock": "EAGAIN ENOLCK EINTR",
    "fstat": "EIO ENOMEM",
    "getdents64": "ENOENT EIO",
    "getgroups": "EINVAL",
    "getpeername": "ENOBUFS ENOTCONN",
    "getpriority": "EPERM",
    "getrandom": "EAGAIN ENOSYS EINTR =4",
    "getresgid": "EFAULT",
    "getresuid": "EFAULT",
    "getsockname": "ENOBUFS",
    "getsockopt": "ENOBUFS ENOPROTOOPT",
    "ioctl": "ENOTTY",
    "landlock_add_rule": "ENOMEM EINVAL",
    "landlock_create_ruleset": "ENOMEM EMFILE ENOSYS EOPNOTSUPP",
    "landlock_restrict_self": "E2BIG ENOMEM EPERM",
    "listen": "EADDRINUSE",
    "lseek": "ESPIPE",
    "mlock": "ENOMEM EPERM EAGAIN",
    "mmap": "ENOMEM EAGAIN",
    "mprotect": "ENOMEM",
    "mremap": "ENOMEM",
    "munmap": "ENOMEM",
    "newfstatat": "EIO ENOMEM EACCES",
    "openat": "EMFILE ENFILE ENOMEM EACCES EIO",
    "pipe2": "EMFILE ENFILE",
    "poll": "EINTR ENOMEM",
    "ppoll": "EINTR ENOMEM",
    "prctl": "EINVAL EPERM",
    "pread64": "EIO EINTR =1 0",
    "prlimit64": "EPERM EINVAL",
    "pwrite64": "EIO ENOSPC EDQUOT EROFS EINTR",
    "readlink": "ENOMEM EACCES",
    "read": "EIO EINTR =1 0",
    "recvfrom": "ECONNRESET ENOMEM EINTR EAGAIN =1 0",
    "recvmmsg": "ENOBUFS ENOMEM EINTR EAGAIN =1",
    "recvmsg": "ENOBUFS ENOMEM EINTR EAGAIN =8",
    "rt_sigaction": "EINVAL",
    "rt_sigprocmask": "EINVAL",
    "rt_sigtimedwait": "EINTR EAGAIN",
    "seccomp": "EINVAL ENOMEM EACCES",
    "sendmsg": "ENOBUFS ENOMEM EAGAIN EINTR EPIPE ECONNREFUSED",
    "sendto": "ENOBUFS ENOMEM EAGAIN EINTR EPIPE =8",
    "setgid": "EAGAIN",
    "setgroups": "EPERM ENOMEM",
    "setpriority": "EPERM EACCES",
    "setresgid": "EPERM",
    "setresuid": "EPERM EAGAIN",
    "setsockopt": "EPERM ENOMEM",
    "setuid": "EAGAIN",
    "shutdown": "ENOTCONN EINTR",
    "signalfd4": "EMFILE ENOMEM",
    "socket": "EMFILE ENOBUFS EAFNOSUPPORT",
    "socketpair": "EMFILE ENFILE",
    "sysinfo": "EFAULT",
    "uname": "EFAULT",
    "unlink": "EACCES EROFS EBUSY",
    "wait4": "ECHILD EINTR",
    "write": "ENOSPC EIO EROFS EDQUOT EFBIG EINTR EAGAIN =1 =100",
    "writev": "ENOBUFS ENOMEM EAGAIN EINTR ECONNREFUSED",
}

# They have no error to give, whatever state the machine is in.
FAULTLESS = {
    "clock_gettime": "a known clock and a good address",
    "exit_group": "does not return",
    "getegid": "always succeeds",
    "geteuid": "always succeeds",
    "getgid": "always succeeds",
    "getuid": "always succeeds",
    "gettid": "always succeeds",
    "rseq": "the C library does without",
    "set_robust_list": "the C library does without",
    "set_tid_address": "always succeeds",
    "umask": "always succeeds",
    "futex": "waking somebody has no error",
    "launcher rt_sigprocmask": "the machine's name service: no error for known signals",
    "fstatfs": "libcap-ng asks what /proc is, and reads on without an answer",
    "readlinkat": "the machine's name service",
}

# In a role's filter, and not made by it in any test: what for.
NOT_MADE = {
    "exit": "the end of a thread: roles have one",
    "exit_group": "the end, without an answer",
    "restart_syscall": "the kernel's, after a stop of the process",
    "rt_sigreturn": "the end of a handler: roles have none",
    "clock_gettime": "the vDSO answers; lies of the clock have cells of their own",
    "gettimeofday": "the vDSO answers",
    "futex": "a lock that is contended: roles have one thread",
    "madvise": "the allocator of another C library",
    "mprotect": "heaps other than the first",
    "mremap": "buffers of more than 128 KiB that grow",
    "mmap": "blocks of more than 128 KiB; memory that is refused has cells of its own",
    "munmap": "the same",
    "brk": "tracker, reaper and sink have all their memory by then; the limit has cells of its own",
    "close": "tracker, reaper and sink keep what they have",
    "config ppoll": "before a line on standard error, when there is something to say",
    "epoll_pwait": "epoll_wait(2) of other architectures and libraries",
    "epoll_pwait2": "the same",
    "fstat": "newfstatat(2) of other C libraries",
    "ppoll_time64": "ppoll(2) of 32-bit architectures",
    "waitid": "wait4(2) of other C libraries",
    "getuid": "the message of a failed open, which has a cell",
    "write": "tracker, reaper and sink write a line when there is something to say",
}

# Uses that are not all alike: so many of the first are cells of their own. The reaper's second
# question to the kernel is the act, where the first is the look; channels carry several messages.
OFTEN = {("reaper", "writev", "fd4"): 4, ("reaper", "recvmmsg", "fd4"): 4, ("reaper", "sendto", "fd3"): 4,
         ("broker", "sendto", "fd4"): 5, ("tracker", "sendto", "fd3"): 3,
         ("broker", "write", "~/log/audit.jsonl"): 4}

Seen = collections.namedtuple("Seen", "phase role call detail count")


def seen_parse(report):
    found = [line.split()[1:] for line in report if line.startswith("seen ")]
    return [Seen(phase, role, call, detail, int(count)) for phase, role, call, detail, count in found
            if role != "inject"]


def merged(seen):
    """Each use once, with its largest count."""
    by_use = {}
    for use in sorted(seen, key=lambda use: use.count):
        by_use[use[:4]] = use
    return list(by_use.values())


def _is_library(detail):
    return ".so" in detail and "libc.so" not in detail


def _is_name_service(detail):
    return "userdb" in detail or detail.startswith(("/usr", "/lib", "/etc/group", "/run")) and \
        "libc.so" not in detail or detail in ("/", "etc", "run", "usr", "lib", "local", "host", "/etc")


# The first look at everything begins with READY: on which side of it is chance.
EITHER_PHASE = {("reaper", "fd5")}


def _settled(use):
    """One cell for uses that are alike."""
    if (use.role, use.detail) in EITHER_PHASE and use.call in ("writev", "recvmsg"):
        return use._replace(phase="run")
    if use.phase == "start":
        if use.call == "close" or use.call == "mmap" and use.detail == "file":
            return use._replace(detail="*")
        if use.role.startswith("child-") and use.call in ("openat", "read", "newfstatat"):
            return use._replace(detail="/proc/#/status")
    return use


def uses(seen):
    """What the matrix has cells for: each use of a call that a role makes, once a phase."""
    found = {}
    for use in seen:
        if use.call in FAULTLESS or f"{use.role} {use.call}" in FAULTLESS or _is_library(use.detail) or \
                use.role == "launcher" and _is_name_service(use.detail):
            continue
        use = _settled(use)
        key = use[:4]
        count = found[key].count if key in found else 0
        found[key] = use._replace(count=count + use.count)
    return list(found.values())


def _fault(use, what, nth):
    begin = "start" if (use.role, use.detail) in EITHER_PHASE else use.phase
    kind = {"=": "short:" + what[1:], "!": "after:" + what[1:], "0": "return:0"}.get(
        what[0], "error:" + what)
    fault = ["--role", use.role, "--call", use.call, "--from", begin, "--effect", kind,
             "--nth", str(nth)]
    return fault + ([] if use.detail == "*" else ["--detail", use.detail])


CHANNELS = {("tracker", "fd3"), ("reaper", "fd3"), ("sink", "fd3"), ("broker", "fd3"), ("broker", "fd4"),
            ("broker", "fd13")}


def _plausible(use, what):
    """An error that this use can have."""
    if use.call == "write" and "/stderr" in use.detail:
        return what in ("EIO", "EAGAIN", "ENOSPC", "=1")
    if use.call == "write" and use.detail == "fd1":
        return what in ("EPIPE", "EIO", "=1")
    if (use.role, use.detail) in CHANNELS:
        # They block but for the broker, keep packets whole, and have no peer while that lives.
        return what in ("ENOBUFS", "ENOMEM", "EINTR") or what == "=8" and use.call == "recvmsg" or \
            what == "EAGAIN" and use.role == "broker"
    return not (what == "=8" and use.detail == "fd11")  # a datagram


def cells(seen):
    made = []
    for use in uses(seen):
        for what in FAULTS[use.call].split():
            if not _plausible(use, what):
                continue
            for nth in range(1, (OFTEN.get(use[1:4], 1) if use.phase == "run" else 1) + 1):
                made.append(Cell(use.role, use.call,
                                 f"{use.detail} {what}" + ("" if nth == 1 else f" #{nth}"),
                                 use.phase, _fault(use, what, nth)))
    return made


def gaps(seen, filtered):
    """What is wrong with the tables here. filtered: (role, call) of each role's filter."""
    made = {(use.role, use.call) for use in seen if use.phase != "start" or use.role == "config"}
    wrong = [f"{use.role} makes {use.call}, for which there is no fault" for use in uses(seen)
             if use.call not in FAULTS]
    for role, call in sorted(filtered):
        if (role, call) not in made and call not in NOT_MADE and \
                f"{role} {call}" not in NOT_MADE:
            wrong.append(f"the {role}'s filter allows {call}, which no cell has seen it make")
    return sorted(set(wrong))
