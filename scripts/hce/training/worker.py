"""One of the processes of a fit, started by `launch.run_processes`."""

import json
import logging
import sys
from pathlib import Path

from hce.errors import UserError
from hce.jobs.job import LOG_FORMAT
from hce.training.device import prepare_device
from hce.training.distributed import ManyProcesses
from hce.training.fit import FitSpec, fit_model


def main(spec: Path) -> int:
    """Trains as the file says; returns the exit status."""
    told = json.loads(spec.read_text())
    fit = FitSpec(**told["fit"])
    precision, deterministic = fit.training["precision"], fit.training["deterministic"]
    device = prepare_device(told["device"], told["threads"], precision, deterministic, take=False)
    processes = ManyProcesses(told["devices"], told["nodes"], device.type)
    if processes.rank == 0:
        logging.basicConfig(filename=told["log"], force=True, level=logging.INFO, format=LOG_FORMAT)
    try:
        fit_model(fit, processes.device, processes)
    except UserError as error:
        spec.with_suffix(".error").write_text(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
