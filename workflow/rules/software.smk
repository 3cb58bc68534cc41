"""The environment of the jobs, as chosen by --software-deployment-method.

Without that option, jobs run in the environment of Snakemake itself.

conda:     envs/gpu.yaml, or envs/cpu.yaml if training.device is cpu
apptainer: the image envs/hce.sif, built from envs/container.def
"""

from snakemake.settings.types import DeploymentMethod

from hce.jobs.machine import cache_folders

ENVIRONMENT = f"../../envs/{'cpu' if config['training']['device'] == 'cpu' else 'gpu'}.yaml"
IMAGE = shipped("envs/hce.sif")

if (
    DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
    and not Path(IMAGE).exists()
):
    raise WorkflowError(
        f"There is no image {IMAGE} for --software-deployment-method apptainer: make it with "
        f"`apptainer build {IMAGE} envs/container.def`."
    )


container: IMAGE


# Compiled code goes where it can be written, also in a clone or a home that is only read.
os.environ.update(cache_folders(REPOSITORY / "scripts/hce", Path(".snakemake/caches").resolve()))
