"""Says what `snakemake --profile slurm-gpu` lacks, before hours are spent (`make slurm-check`).

Asks SLURM whether it would accept every job that Snakemake would submit from this folder, then
runs one short job in each place that they ask for. Nothing is submitted but these.
"""

import argparse
import getpass
import subprocess
import sys
from pathlib import Path

import yaml

from hce.config import read_schema, resolve
from hce.errors import UserError
from hce.jobs.shared_data import FURTHER_DISK, PAPER_DISK
from hce.jobs.slurm_preflight import Preflight
from hce.jobs.slurm_requests import ask_snakemake
from hce.jobs.slurm_runs import queued_runs

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Runs the checks; returns the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=REPOSITORY / "slurm-gpu")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[])
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long a job may wait in the queue"
    )
    arguments = parser.parse_args()
    profile = _read(arguments.profile / "config.yaml")
    config: dict = {}
    for path in [REPOSITORY / "config/config.yaml", *arguments.configfile]:
        _merge(config, _read(path))
    schema = read_schema(REPOSITORY / "workflow/schemas/config.schema.yaml")
    config = resolve(config, schema)
    scratch = Path(config["data"]["dir"])

    check = Preflight(seconds=60 * arguments.minutes)
    print(f"As {getpass.getuser()}, with {arguments.profile}/config.yaml:")
    if check.commands() and check.controller():
        if profile.get("slurm-status-command") != "sacct":
            check.remembers_jobs()
        check.no_strange_jobs(queued_runs(Path.cwd()))
        whole = (
            config["data"]["source"] in ("census", "sctab") and not config["curation"]["studies"]
        )
        if check.writable("data.dir", scratch):
            further = len(config["data"]["new"]) - 1
            needed = PAPER_DISK + FURTHER_DISK * further if whole else 0.0
            check.room("data.dir", scratch, needed)
            requests = ask_snakemake(arguments.profile, arguments.configfile)
            accepted = [request for request in requests if check.accepted(request)]
            for place in dict.fromkeys(request.place() for request in accepted):
                alike = [request for request in accepted if request.place() == place]
                check.job(alike, scratch, _releases(config["data"]))
    print("All is well." if not check.failed else f"{check.failed} to mend.")
    return check.failed


def _releases(data: dict) -> dict:
    """Where the releases lie that jobs will read over the network; nothing for other sources."""
    if data["source"] not in ("census", "sctab"):
        return {}
    uris = {entry["release"]: entry["uri"] for entry in [data["reference"], *data["new"]]}
    return {"uris": uris, "connection": data["connection"]}


def _read(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: see --profile and --configfile.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} has no keys: it should read `key: value`, line by line.")
    return content


def _merge(into: dict, override: dict) -> None:
    """Overrides single keys, as Snakemake does with --configfile."""
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


if __name__ == "__main__":
    try:
        sys.exit(min(main(), 1))
    except (UserError, OSError) as error:
        sys.exit(f"Error: {error}")
    except subprocess.TimeoutExpired as error:
        sys.exit(f"Error: SLURM does not answer: {' '.join(error.cmd)} took {error.timeout:.0f} s.")
