# shellcheck shell=bash
# Which interpreters the stack has, and which of them the app gets. Sources, in order: /opt/python/X.Y/bin,
# /usr/local/bin, /usr/bin. The run image must have the same ones.

# Fills the map interpreters (3.13 to its path) and sets newest.
find_interpreters() {
  local path minor
  declare -gA interpreters=()
  for path in /opt/python/*/bin/python3.* /usr/local/bin/python3.* /usr/bin/python3.*; do
    minor=${path##*/python}
    if [[ "$minor" =~ ^3\.[0-9]+$ && -x "$path" && -z "${interpreters[$minor]:-}" ]]; then
      interpreters[$minor]=$path
    fi
  done
  if ((${#interpreters[@]} == 0)); then
    fail no-interpreter "The stack's build image has no Python interpreter." \
      "It is looked for as python3.X in /opt/python/3.X/bin, /usr/local/bin and /usr/bin."
  fi
  newest=$(available | head -n 1)
}

# The versions that can be had, newest first.
available() { printf '%s\n' "${!interpreters[@]}" | sort -rV; }

# Sets interpreter and python_version from requested and origin.
choose_interpreter() {
  local minor last rest=''
  if [[ "$origin" == runtime.txt ]]; then
    # It wins over .python-version as long as it is there.
    rest=' && git rm runtime.txt'
  fi
  if [[ -z "$requested" ]]; then
    last=$(cached_value python)
    minor=$(minor_of "${last:-$newest}")
    if [[ -n "$last" && -n "${interpreters[$minor]:-}" ]]; then
      heading "Using Python $minor, as in the last build"
    else
      minor=$newest
      heading "Using Python $minor, the newest of this stack"
    fi
    detail "To stay with it whatever comes, name it in .python-version: echo $minor > .python-version"
  else
    minor=$(minor_of "$requested")
    if [[ -z "${interpreters[$minor]:-}" ]]; then
      fail version-not-available "Python $requested, asked for in $origin, is not available on the stack ${STACK:-in use}." \
        "Versions that can be had: $(available | paste -sd ' ' | sed 's/ /, /g')" \
        "Change it: echo $newest > .python-version$rest"
    fi
    if [[ "$origin" == runtime.txt ]]; then
      warning "runtime.txt is deprecated; .python-version has taken its place." \
        "Replace it: echo $minor > .python-version$rest"
    fi
    heading "Using Python $minor, specified in $origin"
  fi
  interpreter=${interpreters[$minor]}
  python_version=$("$interpreter" -c 'import platform; print(platform.python_version())')
  if [[ "$requested" == *.*.* && "$requested" != "$python_version" ]]; then
    warning "Python $requested is asked for; the stack has Python $python_version, and that is what the app gets." \
      "Name the minor version only, to be told no more: echo $minor > .python-version$rest"
  fi
}
