# shellcheck shell=bash
# What the source says: may it be built, with which Node.js and which npm?

# package KEY...: a value of package.json, or nothing.
package() { slipway-pack json-get "$build_dir/package.json" "$@" || true; }

check_source() {
  local problem code=0
  if [[ -e "$build_dir/.heroku" && ! -d "$build_dir/.heroku" ]]; then
    fail heroku-is-a-file "The source has a file .heroku; a folder of that name is where the buildpacks put their things." \
      "Rename the file."
  fi
  if [[ -e "$build_dir/.heroku/node" ]]; then
    fail node-exists "The source has a folder .heroku/node, where this buildpack puts Node.js." \
      "Remove it from the repository, or remove a second nodejs from the list of buildpacks."
  fi
  problem=$(slipway-pack json-get "$build_dir/package.json" name 2>&1 >/dev/null) || code=$?
  if ((code > 1)); then
    fail invalid-package-json "${problem/"$build_dir/"/}" "npm install on your own machine tells the same, and where."
  fi
  if [[ -n "$(package engines iojs)" ]]; then
    fail iojs "package.json asks for io.js (engines.iojs), which has long been Node.js again." \
      "Remove it, and say engines.node instead."
  fi
  # Before the cache is restored, which may have one, too.
  vendored=false
  if [[ -d "$build_dir/node_modules" ]]; then
    vendored=true
  fi
  check_lock_file
  check_package_manager
}

# npm with its own lock file is what this buildpack installs with. Sets lock_file, empty without one.
check_lock_file() {
  local name advice found=()
  for name in package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb; do
    if [[ -f "$build_dir/$name" ]]; then
      found+=("$name")
    fi
  done
  if ((${#found[@]} > 1)); then
    case "${found[0]}" in
      package-lock.json | npm-shrinkwrap.json) advice="keep ${found[0]} if that is the one in use, and remove the rest." ;;
      *) advice="remove them all, run npm install, and commit the package-lock.json that it makes." ;;
    esac
    fail several-lock-files "The source has several lock files: ${found[*]}." \
      "Each is another package manager's word on what to install, and only one can be right." \
      "This buildpack installs with npm: $advice"
  fi
  lock_file=${found[0]:-}
  case "$lock_file" in
    yarn.lock | pnpm-lock.yaml | bun.lock | bun.lockb)
      fail other-lock-file "The source has a $lock_file; this buildpack installs with npm." \
        "To build with npm: rm $lock_file && npm install, and commit the package-lock.json that it makes."
      ;;
  esac
}

check_package_manager() {
  local manager engine
  manager=$(package packageManager)
  case "$manager" in
    '' | npm@*) ;;
    *)
      fail other-package-manager "package.json asks for $manager (packageManager); this buildpack installs with npm." \
        "To build with npm: remove packageManager, run npm install, and commit package-lock.json."
      ;;
  esac
  for engine in yarn pnpm; do
    if [[ -n "$(package engines $engine)" && -z "$lock_file" ]]; then
      warning "package.json asks for $engine (engines.$engine), but has no lock file of it; npm is used."
    fi
  done
}

# What a user would wonder about later.
advise() {
  if [[ -n "$(setting NODE_BINARY_URL '')" ]]; then
    warning "NODE_BINARY_URL is set, and it is not used: Node.js comes from the npm registry, with a checksum." \
      "Say in package.json which one: \"engines\": { \"node\": \"$node_version\" }"
  fi
  if [[ -z "$(package engines node)" ]]; then
    warning "package.json does not say which Node.js the app needs, so it gets the newest $lts_range." \
      "Say it, so that it stays the same: \"engines\": { \"node\": \"${node_version%%.*}.x\" }"
  fi
  if [[ "$vendored" == true ]]; then
    warning "node_modules is in the repository. What was installed on another machine may not run here." \
      "Remove it (git rm -r --cached node_modules) and add it to .gitignore."
  fi
  if [[ ! -f "$build_dir/Procfile" && -z "$(package scripts start)" && ! -f "$build_dir/server.js" ]]; then
    warning "There is no Procfile, no start script in package.json, and no server.js: nothing says how to serve." \
      "Say it in package.json: \"scripts\": { \"start\": \"node index.js\" }"
  fi
}
