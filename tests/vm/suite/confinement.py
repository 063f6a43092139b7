# SPDX-License-Identifier: Apache-2.0
"""Whether the roles were confined while the tests ran, and what AppArmor has denied them."""

import collections
import contextlib
import glob
import os
import pathlib
import re

import guest

ROLES = ("tracker", "broker", "reaper", "sink")
PROFILES = ("eghostbuster", *(f"eghostbuster-{role}" for role in (*ROLES, "metrics")))
FORBIDDEN = "/etc/shadow"  # to every one of them
# By the shipped programs, and by those that take their places, which the launcher starts as it starts them.
PROGRAM = re.compile(r"(?:/usr/libexec/eghostbuster|/tmp/eghostbuster-\w+/libexec)/(\w+)")


class Roles:
    """Looks at each process of the service that is there when a test's own part is over."""

    def __init__(self):
        self.labels, self.controls = collections.Counter(), []

    def pytest_runtest_teardown(self):
        for folder in glob.glob("/proc/[0-9]*"):
            with contextlib.suppress(OSError):
                program = PROGRAM.fullmatch(os.readlink(f"{folder}/exe"))
                if program:
                    label = pathlib.Path(folder, "attr/current").read_text(encoding="utf-8").strip("\n\0")
                    self.labels[program[1], label] += 1

    def tests(self):
        return self.enforced, self.control, self.nothing_denied

    def enforced(self):
        """each role had its profile, in enforce mode, stacked upon the launcher's"""
        wanted = {(role, f"eghostbuster//&eghostbuster-{role} (enforce)") for role in ROLES}
        assert set(self.labels) <= wanted, self.labels
        missing = {role for role, _ in wanted - set(self.labels)}
        assert missing <= {"sink"}, missing  # it is in some of the files only
        return ", ".join(f"{role} {count} times" for (role, _), count in sorted(self.labels.items()))

    def control(self):
        """what a profile forbids is denied, and found by the same search"""
        self.controls = [trespass(profile) for profile in PROFILES]
        wanted = [f'profile="{profile}" name="{FORBIDDEN}" pid={pid} ' for profile, pid in zip(PROFILES, self.controls)]
        # Messages keep their order: with these, all that was before is there.
        guest.eventually(lambda: all(any(words in line for line in denials()) for words in wanted), "a message for each")
        return f"{len(PROFILES)} profiles"

    def nothing_denied(self):
        """nothing else was denied, and no message of the kernel's was lost"""
        denied = [line for line in denials() if not any(f" pid={pid} " in line for pid in self.controls)]
        assert not denied, "\n".join(denied)
        lost = re.search(r"^lost (\d+)", guest.run("auditctl -s"), re.MULTILINE)[1]
        assert lost == "0", f"lost {lost}"
        return "0"


def denials():
    """What auditd has written, and the kernel where there was no auditd."""
    lines = [line for path in sorted(glob.glob("/var/log/audit/audit.log*"))
             for line in pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()]
    return [line for line in lines + guest.run("dmesg").splitlines() if 'apparmor="DENIED"' in line]


def trespass(profile):
    """A process enters this profile by itself, and is not let read what it may not. Returns its pid."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            pathlib.Path("/proc/self/attr/current").write_text(f"changeprofile {profile}", encoding="utf-8")
            pathlib.Path(FORBIDDEN).read_bytes()
            status = 1
        except PermissionError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, profile
    return child
