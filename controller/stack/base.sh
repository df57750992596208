#!/usr/bin/env bash
# base.sh SUITE MIRROR DIR: a minimal Debian tree in DIR, without what only a machine needs.
set -euo pipefail
suite=$1 mirror=$2 dir=$3

debootstrap --variant=minbase "$suite" "$dir" "$mirror"

cat >"$dir/etc/apt/sources.list" <<LIST
deb $mirror $suite main
deb $mirror $suite-updates main
deb ${mirror%/debian}/debian-security $suite-security main
LIST

# Images keep no archives, translations, manuals or documentation; licences stay.
cat >"$dir/etc/apt/apt.conf.d/90image" <<'CONF'
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Acquire::Retries "5";
Acquire::GzipIndexes "true";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
CONF
cat >"$dir/etc/dpkg/dpkg.cfg.d/90image" <<'CONF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-include /usr/share/locale/locale.alias
path-include /usr/share/locale/en/*
path-exclude /usr/share/lintian/*
CONF
printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
chmod 0755 "$dir/usr/sbin/policy-rc.d"

find "$dir/usr/share/doc" -depth \( -type f -o -type l \) ! -name copyright -delete
find "$dir/usr/share/doc" -depth -type d -empty -delete
rm -rf "$dir"/usr/share/{man,info,lintian}/* "$dir"/var/lib/apt/lists/* "$dir"/var/cache/apt/* "$dir"/var/log/*
find "$dir/usr/share/locale" -mindepth 1 -maxdepth 1 -type d ! -name en -exec rm -rf {} +
rm -f "$dir/etc/machine-id" "$dir/etc/resolv.conf" "$dir/etc/hostname"
: >"$dir/etc/machine-id"
