# shellcheck shell=bash
# The tree of the last build, kept while what it was made from is the same.

# Raised when trees of older builds of this buildpack no longer fit.
cache_format=1

# cached_value KEY: what the cached tree was made from.
cached_value() {
  if [[ -f "$cache/key" ]]; then
    sed -n "s/^$1=//p" "$cache/key"
  fi
}

cache_key() {
  printf 'format=%s\nstack=%s\npython=%s\npip=%s\nrequirements=%s\n' \
    "$cache_format" "${STACK:-}" "$python_version" "$pip_version" "$(requirements_hash)"
}

# The requirements' bytes, with those of the files that they include.
requirements_hash() {
  declare -A seen=()
  hash_file() {
    local file=$1 line included
    if [[ -n "${seen[$file]:-}" || ! -f "$file" ]]; then
      return 0
    fi
    seen[$file]=1
    printf '%s\n' "${file#"$build_dir/"}"
    cat "$file"
    while IFS= read -r line || [[ -n "$line" ]]; do
      if [[ "$line" =~ ^[[:space:]]*(-r|-c|--requirement|--constraint)[[:space:]=]*([^[:space:]#]+) ]]; then
        included=${BASH_REMATCH[2]}
        hash_file "$(dirname "$file")/$included"
      fi
    done <"$file"
  }
  hash_file "$build_dir/requirements.txt" | sha256sum | cut -d' ' -f1
}

# Puts the cached tree in place, or says why it cannot be used. Sets restored.
restore_cache() {
  local key name old new reasons=()
  restored=false
  if [[ ! -d "$cache/tree" ]]; then
    return
  fi
  while IFS='=' read -r name new; do
    old=$(cached_value "$name")
    if [[ "$old" == "$new" ]]; then
      continue
    fi
    case "$name" in
      format) reasons+=("The buildpack has changed") ;;
      stack) reasons+=("The stack has changed from ${old:-none} to ${new:-none}") ;;
      python) reasons+=("The Python version has changed from ${old:-none} to $new") ;;
      pip) reasons+=("The pip version has changed from ${old:-none} to $new") ;;
      requirements) reasons+=("The contents of requirements.txt have changed") ;;
    esac
  done < <(cache_key)
  if ((${#reasons[@]})); then
    heading "Discarding cache since:"
    for key in "${reasons[@]}"; do
      detail "- $key"
    done
    return
  fi
  heading "Restoring cache"
  mkdir -p "$build_dir/.heroku"
  cp -a --reflink=auto "$cache/tree" "$tree"
  restored=true
}

save_cache() {
  rm -rf "$cache"
  mkdir -p "$cache"
  cp -a --reflink=auto "$tree" "$cache/tree"
  cache_key >"$cache/key"
}
