# Paths are those of the image: the scripts in the tree name them, too.
export PATH="/app/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED=true
export LANG="${LANG:-en_US.UTF-8}"
export PYTHONPATH="${PYTHONPATH:-/app}"
export PIP_DISABLE_PIP_VERSION_CHECK="${PIP_DISABLE_PIP_VERSION_CHECK:-1}"
# Requests come through the cluster's router only.
export FORWARDED_ALLOW_IPS="${FORWARDED_ALLOW_IPS:-*}"
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS:---access-logfile -}"
