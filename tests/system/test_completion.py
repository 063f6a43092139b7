# SPDX-License-Identifier: Apache-2.0
"""--help, completions and what the programs really take agree."""

import pathlib
import re
import shutil
import subprocess

import pytest

from machine import TIMEOUT
from service import CTL, LAUNCHER

VERBS = re.findall(r"^  ([a-z][\w-]*) +\S", subprocess.run([CTL, "--help"], capture_output=True,
                                                  text=True).stdout, re.MULTILINE)


def help_of(*command):
    ended = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == ""
    return ended.stdout


def options_of(*command):
    """{"--lines": takes an argument}"""
    return {name: bool(arg) for name, arg in
            re.findall(r"^  (?:-\w,|   ) (--[\w-]+)( [A-Z\[\]/]+)?", help_of(*command), re.MULTILINE)}


def completion(shell):
    return subprocess.run([CTL, "completion", shell], capture_output=True, text=True,
                          check=True).stdout


def bash(program, *words):
    """What bash would offer for the last of these words."""
    script = (f"{completion('bash')}\nCOMP_WORDS=({program} {' '.join(map(repr, words))}); "
              f"COMP_CWORD={len(words)}; _{program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                              check=True).stdout.split())


def test_there_are_verbs():
    assert {"scan", "status", "metrics", "log", "report", "explain", "verify", "seal-key",
            "completion"} <= set(VERBS)
    assert bash("eghostctl", "") == {*VERBS, "--help", "--version"}


@pytest.mark.parametrize("verb", VERBS)
def test_bash_offers_what_help_tells(verb):
    options = options_of(CTL, verb)
    assert "--help" in options
    assert bash("eghostctl", verb, "--") == set(options)


def test_bash_offers_what_eghostbuster_takes():
    assert bash("eghostbuster", "--") == set(options_of(LAUNCHER))


def test_bash_offers_words():
    assert bash("eghostctl", "log", "--output", "") == {"short", "full", "json", "csv"}
    assert bash("eghostctl", "completion", "z") == {"zsh"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_taken(verb):
    """One that takes an argument complains without one, one that takes none does not."""
    for name, takes in options_of(CTL, verb).items():
        ended = subprocess.run([CTL, verb, name], capture_output=True, text=True,
                               stdin=subprocess.DEVNULL, cwd="/", timeout=TIMEOUT)
        assert ("requires an argument" in ended.stderr) == takes, (name, ended.stderr)
        assert "unrecognized" not in ended.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_offer_the_same(shell):
    text = completion(shell)
    for verb in VERBS:
        for name in options_of(CTL, verb):
            assert (name if shell == "zsh" else f"-l {name[2:]} ") in text, (verb, name)
    for name in options_of(LAUNCHER):
        assert (name if shell == "zsh" else f"-l {name[2:]} ") in text, name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_syntax(shell, folder):
    assert shutil.which(shell), "the test dependencies install it"
    script = folder / "completion"
    script.write_text(completion(shell))
    subprocess.run([shell, "-n", script], check=True)


def man(page):
    root = pathlib.Path(__file__).parents[2]
    text = subprocess.run(["mandoc", "-T", "utf8", root / page], capture_output=True, text=True,
                          check=True).stdout
    return re.sub(".\b", "", text)  # bold and underlined, as for a terminal


@pytest.mark.parametrize("page, command, verbs", [
    ("ctl/eghostctl.1", CTL, VERBS), ("launcher/eghostbuster.8", LAUNCHER, [None])])
def test_the_man_page_tells_what_help_tells(page, command, verbs):
    text = man(page)
    told = set(re.findall(r"(?<![\w-])(--[a-z][\w-]+)", text))
    taken = set().union(*(options_of(command, *([verb] if verb else [])) for verb in verbs))
    assert taken - {"--help"} <= told, "the page leaves out"
    assert told <= taken | {"--version"}, "the page makes up"
    for verb in filter(None, verbs):
        assert re.search(rf"^ +{verb}$", text, re.MULTILINE), f"a section on {verb}"
