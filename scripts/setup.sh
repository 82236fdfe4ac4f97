#!/bin/sh
# Make .venv and install the workspace into it.  Run by `make setup`, which decides whether there is anything to do.
#
# Needs Python 3.11 or newer with its venv module, and a way to a package index.  PY names the Python to use.
# Never touches anything outside .venv.
set -eu
cd "$(dirname "$0")/.."

uv_version=0.13.8
stamp=.venv/.headway-setup

fail() {
    printf 'make setup: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '    %s\n' "$line" >&2; done
    exit 1
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# 1. Which Python?  PY decides; without it, the first one that is new enough.
py=${PY:-}
if [ -z "$py" ]; then
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if new_enough "$candidate"; then py=$candidate; break; fi
    done
fi
if [ -z "$py" ]; then
    found=$(python3 --version 2>/dev/null || echo 'none')
    fail "Headway needs Python 3.11 or newer; python3 here is: $found" \
        "Install a newer one, or name one that you have:  make setup PY=/path/to/python3.12"
fi
new_enough "$py" || fail "Headway needs Python 3.11 or newer; PY=$py is: $({ "$py" --version; } 2>/dev/null || echo 'not a Python')" \
    "Name another one:  make setup PY=/path/to/python3.12"

# 2. The environment.  One that does not start (its Python is gone, or it was copied here) is made anew.
if ! { [ -x .venv/bin/python ] && new_enough .venv/bin/python && [ "$(cat "$stamp" 2>/dev/null || pwd -P)" = "$(pwd -P)" ]; }; then
    "$py" -c 'import venv, ensurepip' >/dev/null 2>&1 || fail "$py comes without its venv module" \
        "Debian and Ubuntu keep it in a package of its own:  apt install python3-venv" \
        "Or name a Python that has it:  make setup PY=/path/to/python3.12"
    echo "make setup: making .venv with $("$py" --version)"
    rm -rf .venv
    "$py" -m venv .venv
fi

# 3. What goes in: the workspace in place, and the tools of the dev group, at the versions of constraints.txt.
editables=''
for project in packages/*/ agents/*/; do
    if [ -f "${project}pyproject.toml" ]; then editables="$editables -e ./${project%/}"; fi
done

python=.venv/bin/python
if ! .venv/bin/uv --version 2>/dev/null | grep -q "^uv $uv_version\\b"; then
    # A machine without a uv of its own uses pip below, which also says what is wrong if nothing can be fetched.
    "$python" -m pip install -q --disable-pip-version-check "uv==$uv_version" >/dev/null 2>&1 || true
fi
with_uv() {
    .venv/bin/uv --version >/dev/null 2>&1 || return 1
    echo 'make setup: installing with uv'
    # shellcheck disable=SC2086  # The words of $editables are arguments, and our paths have no spaces.
    .venv/bin/uv pip install -q --python "$python" -c constraints.txt --group dev $editables
}
# uv does not read pip's configuration: where an index, a proxy or its certificate stands only there, pip gets through.
if ! with_uv; then
    echo 'make setup: installing with pip; this takes about a minute'
    "$python" -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'  # The first pip with --group.
    # shellcheck disable=SC2086
    "$python" -m pip install -q --disable-pip-version-check -c constraints.txt --group dev $editables
fi
pwd -P >"$stamp"
