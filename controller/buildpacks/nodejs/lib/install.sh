# shellcheck shell=bash
# The app's own part: dependencies, its scripts, and what is not needed afterwards.

# npm's words changed with version 7.
modern_npm() { slipway-pack in-range "$npm_version" '>=7'; }

# script NAME: runs a script of package.json if there is one.
script() {
  local name=$1 flags=()
  if [[ -z "$(package scripts "$name")" ]]; then
    return 0
  fi
  heading "Running $name"
  if [[ "$name" != heroku-prebuild && "$name" != heroku-cleanup ]]; then
    read -ra flags <<<"$(setting NODE_BUILD_FLAGS '')"
  fi
  if ! run npm run "$name" ${flags[@]+-- "${flags[@]}"}; then
    fail script-failed "The script \"$name\" of package.json failed; its own words are above."
  fi
}

# Sets npm_command, what has installed.
install_dependencies() {
  local dev lines
  npm_command=install
  if modern_npm; then
    dev=(--include=dev)
    if [[ "$(setting NPM_CONFIG_PRODUCTION false)" == true ]]; then
      dev=(--omit=dev)
    fi
  else
    dev=("--production=$(setting NPM_CONFIG_PRODUCTION false)" --unsafe-perm)
  fi
  if [[ "$vendored" == true ]]; then
    heading "Rebuilding the node_modules of the repository"
    run_npm rebuild || fail install-failed "npm rebuild failed; npm's own words are above."
  elif [[ -n "$lock_file" && "$(setting USE_NPM_INSTALL false)" != true ]]; then
    npm_command=ci
  elif [[ -z "$lock_file" ]]; then
    warning "There is no package-lock.json, so each build may install other versions." \
      "Make one and commit it: npm install"
  fi
  heading "Installing dependencies using 'npm $npm_command'"
  if ! run_npm "$npm_command" "${dev[@]}"; then
    lines=("npm $npm_command failed; npm's own words are above.")
    if grep -qE 'EUSAGE|in sync' "$scratch/log"; then
      lines=("$lock_file and package.json do not agree; npm's own words are above."
        "Run npm install on your own machine, and commit $lock_file.")
    elif grep -qE 'E404|ETARGET' "$scratch/log"; then
      lines+=("A package, or the version asked for, is not in the registry: is its name right, and is it public?")
    elif grep -qE 'ENOTFOUND|ECONNREFUSED|ETIMEDOUT|SELF_SIGNED|UNABLE_TO_' "$scratch/log"; then
      lines+=("The registry could not be reached: see the build settings for mirrors, proxy and CA certificates.")
    fi
    fail install-failed "${lines[@]}"
  fi
  tell_blocked_scripts
}

# npm 12 runs no install script of a package that package.json does not allow to, and says so only to those who have
# its warnings on.
tell_blocked_scripts() {
  local blocked
  if slipway-pack in-range "$npm_version" '>=12'; then
    mapfile -t blocked < <(env "${environment[@]}" npm install-scripts ls 2>/dev/null </dev/null | grep '^  ')
    if ((${#blocked[@]})); then
      warning "npm $npm_version did not run the install scripts of these packages, as package.json does not allow them:" \
        "${blocked[@]}" \
        "To allow one: npm install-scripts approve NAME on your own machine, and commit package.json."
    fi
  fi
}

build_app() {
  if [[ -n "$(package scripts heroku-postbuild)" ]]; then
    script heroku-postbuild
  else
    script build
  fi
}

# Would npm prune leave everything as it is? It takes a second to find that out. It is sure beforehand where npm ci has
# laid out a lock file that names only what production needs, no script of the app or of a package has run, and both
# have the same settings. A word that is found where it means something else costs that second, no more.
nothing_to_prune() {
  local words='dev|devOptional|devDependencies|extraneous|hasInstallScript|hasShrinkwrap|inBundle|link'
  words+='|workspaces|bundled?Dependencies|heroku-(pre|post)build|build|(pre|post)?install|prepublish'
  words+='|(pre|post)?prepare|(pre|post)dependencies'
  [[ "$npm_command" == ci && ! -e .npmrc && ! -e binding.gyp ]] && modern_npm &&
    [[ "${!config[*]}" != *[Nn][Pp][Mm]_[Cc][Oo][Nn][Ff][Ii][Gg]_* ]] &&
    [[ -z "$(package scripts dependencies)" ]] &&
    [[ "$(slipway-pack json-get "$lock_file" lockfileVersion)" == [23] ]] &&
    ! grep -qE "\"($words)\"" package.json "$lock_file"
}

# What only the build needed goes, unless the app says that it does not run in production.
prune_dependencies() {
  local reason=''
  if [[ "$(setting NODE_ENV production)" != production ]]; then
    reason="NODE_ENV is $(setting NODE_ENV production)"
  elif [[ -n "$(setting NPM_CONFIG_PRODUCTION '')" ]]; then
    reason="NPM_CONFIG_PRODUCTION is set"
  elif nothing_to_prune; then
    reason="$lock_file names none"
  fi
  if [[ ! -d "$build_dir/node_modules" ]]; then
    return
  fi
  heading "Pruning devDependencies"
  if [[ -n "$reason" ]]; then
    detail "Left as they are: $reason"
    return
  fi
  if modern_npm; then
    run_npm prune --omit=dev --no-save --ignore-scripts || fail prune-failed "npm prune failed; npm's own words are above."
  else
    run_npm prune --production || fail prune-failed "npm prune failed; npm's own words are above."
  fi
}
