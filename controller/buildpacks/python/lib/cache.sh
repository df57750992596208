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
  read_requirements
  printf 'format=%s\nstack=%s\npython=%s\npip=%s\nrequirements=%s\nprojects=%s\n' \
    "$cache_format" "${STACK:-}" "$python_version" "$pip_version" "$(hash_of "${lists[@]}")" \
    "$(hash_of ${projects[@]+"${projects[@]}"})"
}

# Sets lists, requirements.txt and the files that it includes, and projects, the files of the folders that it installs
# (. or -e ./lib) in which their own requirements may be.
read_requirements() {
  local index file line path name
  lists=("$build_dir/requirements.txt") projects=()
  for ((index = 0; index < ${#lists[@]}; index++)); do
    file=${lists[index]}
    while IFS= read -r line || [[ -n "$line" ]]; do
      line=${line%$'\r'}
      if [[ "$line" =~ ^[[:space:]]*(-r|-c|--requirement|--constraint)[[:space:]=]*([^[:space:]#]+) ]]; then
        path=$(realpath -m "$(dirname "$file")/${BASH_REMATCH[2]}")
        if [[ -f "$path" && ! " ${lists[*]} " == *" $path "* ]]; then
          lists+=("$path")
        fi
      elif [[ "$line" =~ ^[[:space:]]*((-e|--editable)[[:space:]=]*)?([^[:space:]#;[]+) ]]; then
        # pip looks for folders from where it runs, not from where the list is.
        path=$build_dir/${BASH_REMATCH[3]#file:}
        for name in pyproject.toml setup.py setup.cfg; do
          if [[ -f "$path/$name" ]]; then
            projects+=("$path/$name")
          fi
        done
      fi
    done <"$file"
  done
}

# hash_of FILE...: of their names and bytes; nothing for no file.
hash_of() {
  local file
  if (($#)); then
    for file in "$@"; do
      printf '%s\n' "${file#"$build_dir/"}"
      cat "$file"
    done | sha256sum | cut -d' ' -f1
  fi
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
      projects) reasons+=("pyproject.toml, setup.py or setup.cfg of a folder in requirements.txt has changed") ;;
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
