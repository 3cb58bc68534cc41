#!/bin/sh
# A command of .venv that a module system cannot disturb: install.sh puts copies of this file in the
# place of .venv/bin/snakemake and .venv/bin/hce.
here=$(cd "$(dirname "$0")" && pwd)
case $(basename "$0") in
    snakemake) module=snakemake ;;
    *) module=hce.cli ;;
esac
# Foreign packages would be imported before those of .venv.
unset PYTHONPATH PYTHONHOME
# Foreign libraries would be loaded in place of those that its packages bring; but some Pythons of
# module systems are found by this variable alone.
if [ -n "${LD_LIBRARY_PATH:-}" ] && env -u LD_LIBRARY_PATH "$here/python" -c '' 2>/dev/null; then
    unset LD_LIBRARY_PATH
fi
exec "$here/python" -m "$module" "$@"
