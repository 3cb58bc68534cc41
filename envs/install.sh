#!/usr/bin/env bash
# Installs exactly the packages of the lock in .venv; does nothing if they are installed already.
# Called by every target of the Makefile. PYTHON names the interpreter to use.
# TORCH names a build of torch other than the standard one, such as cu126 (envs/README.md, "Which
# driver").
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of a module system must not leak into the environment.
unset PYTHONPATH PYTHONHOME

stamp=.venv/installed # written last, so that an interrupted installation is repeated
# Scripts in .venv/bin contain the path of their folder, so a clone that was moved is rebuilt.
wanted="$PWD $(cat envs/lock.txt envs/torch.txt | cksum)"

torch=$(cat envs/torch.txt)${TORCH:++$TORCH}

fail() {
    printf '\nError: %s\n' "$1" >&2
    exit 1
}

# Whether the build of torch that is asked for is the one that is there.
right_torch() {
    [ -z "${TORCH:-}" ] || .venv/bin/python -m pip freeze | grep -qxF "$torch"
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11}; do
        case "$(version_of "$candidate")" in
            3.11 | 3.12) command -v "$candidate" && return ;;
        esac
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON is $(version_of "$PYTHON" || echo 'not a working Python'); 3.11 or 3.12 is needed."
    fi
    fail "Python 3.11 or 3.12 is needed, and python3 is $(version_of python3 || echo 'not installed'): install one (on a cluster often 'module load python'), or name it: PYTHON=/path/to/python3.12 make ..."
}

# pip without its warnings that an index has no folder for a package, one for every package.
run_pip() {
    { .venv/bin/python -m pip "$@" 2>&1 >&3 | sed -u '/^WARNING: Location .* is ignored/d' >&2; } 3>&1
}

install_packages() {
    local python quiet=()
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install python$(version_of "$python")-venv)."
    echo "Setting up .venv with $("$python" --version): about 130 packages and torch; this takes a few minutes."
    rm -f "$stamp"
    "$python" -m venv --clear "$(readlink -m .venv)" # which may be a link to another file system
    run_pip install --quiet --no-deps --require-hashes -r envs/lock.txt ||
        fail "pip could not install envs/lock.txt (its own message is above): without a network, see envs/README.md; then run the same command again."
    # A terminal shows how much of torch's gigabytes has come; a log does not need pip's account.
    [ -t 1 ] || quiet=(--quiet)
    run_pip install "${quiet[@]}" "$torch" ||
        fail "pip could not install torch (its own message is above): see envs/README.md; then run the same command again."
}

install_project() {
    rm -f "$stamp"
    run_pip install --quiet --no-deps --no-build-isolation --editable . ||
        fail "pip could not install the project itself (its own message is above)."
    echo "$wanted" >"$stamp"
}

if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ] ||
    ! version_of .venv/bin/python >/dev/null || ! right_torch ||
    { [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$(version_of .venv/bin/python)" ]; }; then
    install_packages
    install_project
elif [ pyproject.toml -nt $stamp ]; then
    install_project
fi

for command in snakemake hce; do
    cmp -s envs/entry.sh ".venv/bin/$command" || cp --remove-destination envs/entry.sh ".venv/bin/$command"
done
