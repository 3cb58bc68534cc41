"""What a job of `make slurm-check` sees of its node; prints it as one line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hce.errors import UserError

# Of a module system or a site's prolog: with them, a job may import or load what is not .venv's.
FOREIGN = ("PYTHONPATH", "PYTHONHOME")


def main(scratch: Path, releases: str) -> dict:
    """Looks around.

    Args:
        scratch: a file there shows that this node sees the folder.
        releases: JSON, name → URI or null of the releases to open, and how; or "" for none.
    """
    (scratch / "seen").write_text("")
    import torch  # after the sign, so that a broken torch is not taken for a missing folder

    seen = {
        "variables": [name for name in FOREIGN if os.environ.get(name)],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "driver": _driver(),
        "release": "",
    }
    if releases:
        try:
            _open(**json.loads(releases))
        except UserError as error:
            seen["release"] = str(error)
    return seen


def _driver() -> str:
    """Version of NVIDIA's driver, or "" where there is none."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def _open(uris: dict, connection: dict) -> None:
    from hce.census.release import open_release  # seconds to import
    from hce.census.retry import Connection

    once = connection | {"tries": 1}
    for name, uri in uris.items():
        with open_release(name, uri, Connection(**once)) as release:
            release.part("census_info", "summary")


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
