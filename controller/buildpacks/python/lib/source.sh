# shellcheck shell=bash
# What the source says: may it be built, and with which Python?

# Ends the build for what could only fail later, or at run time.
check_source() {
  local name
  if [[ -e "$build_dir/.heroku/python" ]]; then
    fail python-exists "The source has a folder .heroku/python, where this buildpack puts Python." \
      "Remove it from the repository, or remove a second python from the list of buildpacks."
  fi
  for name in .venv venv; do
    if [[ -f "$build_dir/$name/pyvenv.cfg" ]]; then
      fail virtualenv-in-source "The source holds a virtual environment: $name." \
        "It belongs to the machine that made it. Remove it from the repository (git rm -r --cached $name)" \
        "and add it to .gitignore."
    fi
  done
  check_package_manager
}

# pip with requirements.txt is what this buildpack installs with.
check_package_manager() {
  local others=() name
  for name in Pipfile.lock poetry.lock uv.lock pdm.lock; do
    if [[ -f "$build_dir/$name" ]]; then
      others+=("$name")
    fi
  done
  if [[ -f "$build_dir/requirements.txt" ]]; then
    if ((${#others[@]})); then
      fail several-package-managers "The source says in several ways what to install: requirements.txt and ${others[*]}." \
        "Only one can be right. This buildpack installs with pip: keep requirements.txt and remove the other," \
        "or make requirements.txt part of your release from it."
    fi
    return
  fi
  case "${others[0]:-}" in
    Pipfile.lock) fail no-requirements "This buildpack installs with pip, and there is no requirements.txt, only Pipfile.lock." \
      "Make one: pipenv requirements > requirements.txt" ;;
    poetry.lock) fail no-requirements "This buildpack installs with pip, and there is no requirements.txt, only poetry.lock." \
      "Make one: poetry export --format requirements.txt --output requirements.txt" ;;
    uv.lock) fail no-requirements "This buildpack installs with pip, and there is no requirements.txt, only uv.lock." \
      "Make one: uv export --format requirements-txt --no-dev --no-emit-project --output-file requirements.txt" ;;
    pdm.lock) fail no-requirements "This buildpack installs with pip, and there is no requirements.txt, only pdm.lock." \
      "Make one: pdm export --prod --format requirements --output requirements.txt" ;;
  esac
  for name in requirement.txt requirements requirements.text Requirements.txt requirements.txt.txt requirments.txt requeriments.txt; do
    if [[ -f "$build_dir/$name" ]]; then
      fail misspelt-requirements "There is a file $name; pip's list of requirements is called requirements.txt." "Rename it: git mv $name requirements.txt"
    fi
  done
  if [[ -f "$build_dir/Pipfile" ]]; then
    fail no-requirements "There is a Pipfile, but no Pipfile.lock and no requirements.txt." \
      "Make one: pipenv lock && pipenv requirements > requirements.txt"
  fi
  if [[ -f "$build_dir/pyproject.toml" || -f "$build_dir/setup.py" ]]; then
    fail no-requirements "There is no requirements.txt." \
      "To install the project itself with what it depends on, write one with a single line: ." \
      "To pin versions as well: pip freeze > requirements.txt"
  fi
  fail no-requirements "There is no requirements.txt, so it is not known what to install." \
    "Write one at the root of the source. It may be empty if the app needs nothing but Python."
}

# Sets requested (3.13, 3.13.5 or empty) and origin (where that is from).
read_requested_version() {
  requested='' origin=''
  local name
  if [[ -f "$build_dir/runtime.txt" ]]; then
    origin=runtime.txt
    requested=$(tr -d '\r' <"$build_dir/runtime.txt" | sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' | sed '/^$/d')
    if [[ ! "$requested" =~ ^python-[0-9]+\.[0-9]+(\.[0-9]+)?$ ]]; then
      fail invalid-version "runtime.txt must have one line such as: python-$newest" "It has: ${requested:-nothing}"
    fi
    requested=${requested#python-}
    return
  fi
  if [[ -f "$build_dir/.python-version" ]]; then
    origin=.python-version
    requested=$(parse_python_version "$build_dir/.python-version")
    return
  fi
  for name in python-version .python_version python_version .pythonversion .python-versions .python-version.txt; do
    if [[ -f "$build_dir/$name" ]]; then
      fail misspelt-version-file "There is a file $name; the file that names Python's version is called .python-version." \
        "Rename it: git mv $name .python-version"
    fi
  done
}

# Prints the version in a .python-version file.
parse_python_version() {
  local lines first
  first=$(head -c 3 "$1" | od -An -tx1 | tr -d ' \n')
  case "$first" in
    efbbbf* | fffe* | feff*) fail invalid-version ".python-version starts with a byte order mark." \
      "Save it as UTF-8 without one: echo $newest > .python-version" ;;
  esac
  mapfile -t lines < <(tr -d '\r' <"$1" | sed -e 's/#.*//' -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e '/^$/d')
  if ((${#lines[@]} != 1)); then
    fail invalid-version ".python-version must name one version, and it names ${#lines[@]}." \
      "Write one line, such as: $newest"
  fi
  if [[ ! "${lines[0]}" =~ ^[0-9]+\.[0-9]+(\.[0-9]+)?$ ]]; then
    fail invalid-version ".python-version says \"${lines[0]}\", which is not a version of Python." \
      "Write it as $newest (the newest patch of it is taken), with no name in front."
  fi
  printf '%s\n' "${lines[0]}"
}

# What a user would wonder about later.
advise() {
  if [[ -f "$build_dir/nltk.txt" ]]; then
    warning "There is an nltk.txt, and this buildpack downloads no NLTK corpora." \
      "Keep them in the repository: python -m nltk.downloader -d nltk_data \$(cat nltk.txt)" \
      "and say where they are in the App's env: NLTK_DATA=/app/nltk_data"
  fi
  if [[ ! -f "$build_dir/Procfile" ]]; then
    warning "There is no Procfile, and the python buildpack knows no usual process." \
      "Say what runs, for example: web: gunicorn --bind 0.0.0.0:\$PORT app:app"
  fi
}

minor_of() { printf '%s\n' "$1" | cut -d. -f1,2; }
