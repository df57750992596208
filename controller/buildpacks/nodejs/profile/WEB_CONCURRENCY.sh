# Processes by the container's own memory limit: one for each WEB_MEMORY megabytes, which an app may set itself.
_slipway_bytes=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)
_slipway_mb=512
case $_slipway_bytes in
  '' | *[!0-9]*) ;;
  *)
    # Version 1 says "no limit" with a number beyond any machine.
    if [ "$((_slipway_bytes / 1048576))" -gt 0 ] && [ "$((_slipway_bytes / 1048576))" -lt 67108864 ]; then
      _slipway_mb=$((_slipway_bytes / 1048576))
    fi
    ;;
esac
export MEMORY_AVAILABLE="${MEMORY_AVAILABLE:-$_slipway_mb}"
if [ -z "${WEB_MEMORY:-}" ]; then
  WEB_MEMORY=512
  [ "$MEMORY_AVAILABLE" -gt 16384 ] && WEB_MEMORY=2048
fi
export WEB_MEMORY
if [ -z "${WEB_CONCURRENCY:-}" ]; then
  WEB_CONCURRENCY=$((MEMORY_AVAILABLE / WEB_MEMORY))
  if [ "$WEB_CONCURRENCY" -lt 1 ] || [ "$WEB_CONCURRENCY" -gt 200 ]; then
    WEB_CONCURRENCY=1
  fi
fi
export WEB_CONCURRENCY
if [ "${LOG_CONCURRENCY:-}" = true ]; then
  echo "Detected $MEMORY_AVAILABLE MB available memory, $WEB_MEMORY MB limit per process (WEB_MEMORY)"
  echo "Recommending WEB_CONCURRENCY=$WEB_CONCURRENCY"
fi
unset _slipway_bytes _slipway_mb
