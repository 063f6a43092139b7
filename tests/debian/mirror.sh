# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced: the mirror that this machine's apt already uses, and who has to have signed what comes from there.

export keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mirror_of() { # Debian or Debian-Security; fails where apt knows of none
	# shellcheck disable=SC2016 # apt's own variable
	apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Label: $1" | head -1 | grep . ||
		{ echo "apt has no list of a mirror for $1: apt-get update" >&2; return 1; }
}
