#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh BUILD-FOLDER: `make install DESTDIR=` puts every file in its place, and nothing else anywhere.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make --no-print-directory -s B="$1" install DESTDIR="$root" PREFIX=/usr
found=$(cd "$root" && find . -type f -printf '%m %P\n' | sort -k2)
expected='644 etc/apparmor.d/eghostbuster
644 etc/eghostbuster/eghostbuster.conf
644 etc/logrotate.d/eghostbuster
755 usr/bin/eghostctl
644 usr/lib/modules-load.d/eghostbuster.conf
644 usr/lib/systemd/catalog/eghostbuster.catalog
644 usr/lib/systemd/system/eghostbuster-metrics.service
644 usr/lib/systemd/system/eghostbuster-metrics.timer
644 usr/lib/systemd/system/eghostbuster.service
644 usr/lib/sysusers.d/eghostbuster.conf
644 usr/lib/tmpfiles.d/eghostbuster.conf
755 usr/libexec/eghostbuster/broker
755 usr/libexec/eghostbuster/reaper
755 usr/libexec/eghostbuster/sink
755 usr/libexec/eghostbuster/tracker
755 usr/sbin/eghostbuster
644 usr/share/bash-completion/completions/eghostbuster
644 usr/share/bash-completion/completions/eghostctl
644 usr/share/eghostbuster/audit.rules
644 usr/share/eghostbuster/audit.schema.json
644 usr/share/eghostbuster/grafana-dashboard.json
644 usr/share/eghostbuster/prometheus-alerts.yml
644 usr/share/fish/vendor_completions.d/eghostbuster.fish
644 usr/share/fish/vendor_completions.d/eghostctl.fish
644 usr/share/man/man1/eghostctl.1
644 usr/share/man/man5/eghostbuster-audit.5
644 usr/share/man/man5/eghostbuster.conf.5
644 usr/share/man/man7/eghostbuster.7
644 usr/share/man/man8/eghostbuster.8
644 usr/share/zsh/site-functions/_eghostctl'
if [ "$found" != "$expected" ]; then
	printf 'install: found\n%s\nexpected\n%s\n' "$found" "$expected" >&2
	exit 1
fi
/usr/bin/python3 -B tests/packages/lists.py "$root"
# The shipped configuration is what the built-in policy says.
"$root/usr/sbin/eghostbuster" --libexec "$root/usr/libexec/eghostbuster" --check-config \
	-c "$root/etc/eghostbuster/eghostbuster.conf" | grep -v '^audit_log' >"$root/shipped"
"$root/usr/sbin/eghostbuster" --libexec "$root/usr/libexec/eghostbuster" --check-config |
	grep -v '^audit_log' >"$root/built-in"
diff "$root/shipped" "$root/built-in"
