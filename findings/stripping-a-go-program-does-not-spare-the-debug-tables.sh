#!/usr/bin/env bash
# `go build -ldflags='-s -w'` makes a program without symbols and without DWARF. One would think that the DWARF is not
# made at all.
#
# Versions: Go 1.26.8.
# Seen: -w is the linker's flag. The compiler does not know of it, makes the debuggers' tables of every package and puts
# them into the build cache, from which the linker then leaves them out. With -gcflags=all=-dwarf=false they are not
# made: net/http and what it uses, from an empty cache, cost 28 CPU seconds where they cost 33. The build cache is a
# quarter smaller, and the program has as many bytes. Stack traces keep their functions and lines, which are no part of
# DWARF.
# So: who strips turns both off. With other -gcflags every package is compiled anew, so all builds of a cache need the
# same ones.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >go.mod <<'MOD'
module finding

go 1.26.0
MOD

cat >main.go <<'GO'
package main

import "fmt"

func main() { fmt.Println("hello") }
GO

TIMEFORMAT='%U user, %S system'
for flag in -trimpath -gcflags=all=-dwarf=false; do
  echo "== -ldflags='-s -w' $flag"
  time GOCACHE="$folder/cache$flag" CGO_ENABLED=0 go build -trimpath "$flag" -ldflags='-s -w' -o "program$flag" .
  du --summarize --bytes "cache$flag" "program$flag"
done

with=$(du --summarize --bytes cache-trimpath | cut --fields=1)
without=$(du --summarize --bytes cache-gcflags=all=-dwarf=false | cut --fields=1)
if ((with * 9 / 10 < without)); then
  echo "this is no longer so; expected a build cache that is a quarter smaller without DWARF" >&2
  exit 1
fi
