# Workers by the container's own limits: one for each 256 MiB, and no more than two for each CPU and one.
# Without a limit nothing is set, and servers keep their defaults.
_slipway_bytes=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)
case $_slipway_bytes in
  '' | *[!0-9]*) ;;
  *)
    _slipway_mb=$((_slipway_bytes / 1048576))
    # Version 1 says "no limit" with a number beyond any machine.
    if [ "$_slipway_mb" -gt 0 ] && [ "$_slipway_mb" -lt 67108864 ]; then
      _slipway_cpus=$(nproc)
      if [ -r /sys/fs/cgroup/cpu.max ]; then
        read -r _slipway_quota _slipway_period </sys/fs/cgroup/cpu.max
      else
        _slipway_quota=$(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null)
        _slipway_period=$(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null)
      fi
      case $_slipway_quota in
        '' | *[!0-9]*) ;;
        *)
          _slipway_granted=$(((_slipway_quota + _slipway_period - 1) / _slipway_period))
          [ "$_slipway_granted" -lt "$_slipway_cpus" ] && _slipway_cpus=$_slipway_granted
          ;;
      esac
      _slipway_workers=$((_slipway_mb / 256))
      [ "$_slipway_workers" -gt $((2 * _slipway_cpus + 1)) ] && _slipway_workers=$((2 * _slipway_cpus + 1))
      [ "$_slipway_workers" -lt 1 ] && _slipway_workers=1
      export DYNO_RAM="${DYNO_RAM:-$_slipway_mb}"
      export WEB_CONCURRENCY="${WEB_CONCURRENCY:-$_slipway_workers}"
    fi
    ;;
esac
unset _slipway_bytes _slipway_mb _slipway_cpus _slipway_quota _slipway_period _slipway_granted _slipway_workers
