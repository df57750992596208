# shellcheck shell=bash
# The app's configuration: kept apart from the buildpack's own variables, and given to what npm runs.

# What the app may not set for its build: the programs that build it would go astray.
denied='^(PATH|GIT_DIR|CPATH|CPPATH|LD_PRELOAD|LIBRARY_PATH|LANG|BUILD_DIR|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|IFS)$'

# Fills app_env (NAME=VALUE) and the map config from ENV_DIR.
load_config() {
  local file name value
  declare -gA config=()
  app_env=()
  if [[ ! -d "$env_dir" ]]; then
    return
  fi
  for file in "$env_dir"/*; do
    name=${file##*/}
    if [[ -f "$file" && "$name" =~ ^[A-Za-z_][A-Za-z0-9_]*$ && ! "$name" =~ $denied ]]; then
      # Command substitution drops line ends at the end; the value is wanted to the byte.
      value=$(cat "$file" && printf x)
      config[$name]=${value%x}
      app_env+=("$name=${value%x}")
    fi
  done
}

# setting NAME DEFAULT: the app's value, or the one in the build's own environment.
setting() {
  if [[ -n "${config[$1]+set}" ]]; then
    printf '%s\n' "${config[$1]}"
  else
    printf '%s\n' "${!1:-$2}"
  fi
}

# npm's settings: defaults that the app may change, the app's own, and what this buildpack needs.
npm_environment() {
  environment=(
    NODE_ENV=production NODE_MODULES_CACHE=true
    "NODE_OPTIONS=--max_old_space_size=$(heap_size)"
    NPM_CONFIG_LOGLEVEL=error NPM_CONFIG_AUDIT=false NPM_CONFIG_FUND=false
    "${app_env[@]}"
    NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_PROGRESS=false
    "NPM_CONFIG_CACHE=$npm_cache"
    # Native add-ons are compiled against the headers at hand, not against downloaded ones. In lower case: npm passes
    # the variable on as it is, and node-gyp reads no other.
    "npm_config_nodedir=$headers"
    # node-gyp is Python in part, and writes the members of sets into what is compiled.
    PYTHONHASHSEED=0
    "PATH=$node_dir/bin:$build_dir/node_modules/.bin:$PATH"
  )
  # npm 6 fails with that; its logs are removed at the end.
  if modern_npm; then
    environment+=(NPM_CONFIG_LOGS_MAX=0)
  fi
}

# Megabytes for Node.js during the build: what most builds need, and no more than three quarters of the limit.
heap_size() {
  local bytes size=2560
  bytes=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true)
  if [[ "$bytes" =~ ^[0-9]{1,15}$ ]] && ((bytes / 1048576 * 3 / 4 < size)); then
    size=$((bytes / 1048576 * 3 / 4))
  fi
  printf '%s\n' "$size"
}

# Runs a program as the app's scripts see the world; its output is indented.
run() { env "${environment[@]}" "$@" </dev/null 2>&1 | tee "$scratch/log" | indent; }

# The same for npm's own work. It would keep its compiled code in /tmp: hundreds of files, which no later build finds.
run_npm() { run env NODE_DISABLE_COMPILE_CACHE=1 npm "$@"; }
