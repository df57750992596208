# shellcheck shell=bash
# What is kept from build to build while Node.js, npm and the stack stay the same: npm's downloads, and the folders
# that package.json names in cacheDirectories.

# Sets npm_cache, and puts the folders in place.
restore_cache() {
  local dir signature="1;${STACK:-};$node_version;$npm_version"
  npm_cache=$scratch/npm
  if [[ "$(setting NODE_MODULES_CACHE true)" != true ]]; then
    heading "Caching is off (NODE_MODULES_CACHE)"
    rm -rf "$cache/npm" "$cache/dirs"
    kept_dirs=()
    return
  fi
  npm_cache=$cache/npm
  if [[ -d "$npm_cache" && "$(cat "$cache/signature" 2>/dev/null)" == "$signature" ]]; then
    heading "Restoring cache"
    for dir in ${kept_dirs[@]+"${kept_dirs[@]}"}; do
      if [[ -e "$build_dir/$dir" ]]; then
        detail "$dir: is there already"
      elif [[ -d "$cache/dirs/$dir" ]]; then
        detail "$dir"
        copy_dir "$cache/dirs/$dir" "$build_dir/$dir"
      fi
    done
  elif [[ -d "$npm_cache" ]]; then
    heading "Discarding cache since Node.js, npm or the stack has changed"
    rm -rf "$npm_cache"
  fi
  rm -rf "$cache/dirs"
  printf '%s' "$signature" >"$cache/signature"
}

# Before devDependencies are pruned: the next build needs them again.
save_cache_directories() {
  local dir
  if ((${#kept_dirs[@]})); then
    heading "Saving the cacheDirectories of package.json"
  fi
  for dir in ${kept_dirs[@]+"${kept_dirs[@]}"}; do
    if [[ -d "$build_dir/$dir" ]]; then
      detail "$dir"
      copy_dir "$build_dir/$dir" "$cache/dirs/$dir"
    else
      detail "$dir: is not there"
    fi
  done
}

copy_dir() {
  rm -rf "$2"
  mkdir -p "$(dirname "$2")"
  cp -a --reflink=auto "$1" "$2"
}

# Sets kept_dirs. A name that leads out of the source is a mistake, and none that should do harm.
read_cache_directories() {
  local dir
  mapfile -t kept_dirs < <(package cacheDirectories | sed 's|/$||')
  for dir in ${kept_dirs[@]+"${kept_dirs[@]}"}; do
    case "/$dir/" in
      *//* | */./* | */../*)
        fail invalid-cache-directory "package.json names \"$dir\" in cacheDirectories, which is no folder below the source." \
          "Write it relative to package.json, without . and .. in it, such as .next/cache"
        ;;
    esac
  done
}
