# SPDX-License-Identifier: Apache-2.0
"""Parts of the README that a target of make has measured, and writes itself."""

import re

END = "<!-- and ends here -->"


def put(path, target, section, text):
    """Puts text where `make target` has put it before, or at the end of that section."""
    begin = f"<!-- what make {target} writes begins here -->"
    block, page = "\n".join([begin, text, END]), path.read_text()
    if begin in page:
        page = re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: block, page, flags=re.DOTALL)
    else:
        head, found, rest = page.partition(f"\n## {section}\n")
        if not found:
            raise RuntimeError(f"{path} has no section {section}")
        own, following, tail = rest.partition("\n## ")
        page = head + found + own.rstrip() + "\n\n" + block + "\n" + following + tail
    path.write_text(page)
