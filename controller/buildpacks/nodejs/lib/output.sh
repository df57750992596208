# shellcheck shell=bash
# What a user reads, and what bin/report tells afterwards.

heading() { printf -- '-----> %s\n' "$*"; }

detail() { printf '       %s\n' "$*"; }

# Indents what a program says; empty lines stay empty.
indent() { sed -u 's/^\(.\)/       \1/'; }

# One argument a line. Not on stdout, which a caller may be reading.
warning() { { printf '\n' && printf ' !     %s\n' "$@" && printf '\n'; } >&2; }

# fail REASON LINE...: ends the build. REASON is for machines.
fail() {
  record failure_reason "$1"
  shift
  record failure_detail "$1"
  warning "$@"
  exit 1
}

# record KEY VALUE: remembered for bin/report.
record() { printf '%s=%s\n' "$1" "${2//$'\n'/ }" >>"$report"; }
