"""What happens around a run: before its first job, after a success, after a failure."""

import json

from hce.jobs.job import last_error
from hce.jobs.slurm_requests import REQUESTS_VARIABLE, collect_requests
from hce.jobs.slurm_runs import cancel_dead_runs, record_run
from hce.jobs.stage_log import StageLog


def make_report():
    """Snakemake's own report of a finished run, from the config that the run kept."""
    results = Path("results") / config["run"]
    if not all((results / name).is_file() for name in ("summary.md", "config.yaml")):
        return  # only single files were asked for
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow.main_snakefile]
    command += ["--configfile", str(results / "config.yaml"), "--nolock"]
    command += ["--report", str(results / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        logger.error(f"The report could not be made:\n{done.stderr}")


def forget_checkpoints():
    """After a run without failures: removes the state of fits that are done.

    Not sooner, because a SLURM job that is requeued begins with its fit again, whose state lets
    it end at once.
    """
    for state in (Path("results") / config["run"] / "fits").glob("*/*/*/resume.pt"):
        if state.with_name("model.pt").exists():
            state.unlink()


def prepare_slurm():
    """Before a run on SLURM: ends what a dead Snakemake left here, and says who this one is."""
    if workflow.executor_plugin.name != "slurm":
        return
    # The plugin is there where SLURM is used.
    from hce.jobs.slurm_plugin import adapt_plugin

    adapt_plugin(config["slurm"]["max_hours"])
    if REQUESTS_VARIABLE in os.environ:  # `make slurm-check` asks
        Path(os.environ[REQUESTS_VARIABLE]).write_text(json.dumps(collect_requests(workflow)))
        sys.exit(0)
    try:
        jobs = cancel_dead_runs(Path.cwd(), config["run"])
    except UserError as error:
        raise WorkflowError(str(error))
    if jobs:
        logger.warning(f"Cancelled what an earlier run left in the queue: {' '.join(jobs)}.")
    record_run(Path.cwd(), workflow.scheduler._executor.run_uuid, config["run"])


def log_stages():
    """Has every stage that ends write a line, where no terminal shows progress bars."""
    if sys.stderr.isatty():
        return
    order = [rule.name for rule in workflow.rules]
    jobs = sorted(workflow.dag.needrun_jobs(), key=lambda job: order.index(job.rule.name))
    stages = {job.jobid: Path(job.rule.snakefile).stem for job in jobs if job.rule.name != "all"}
    logger.addHandler(StageLog(stages, sys.stderr))


def name_failed_jobs():
    """After a run with failures: the jobs that failed for good, each with its log."""
    lines = []
    for failed in workflow.scheduler.failed:
        for job in failed.jobs if failed.is_group() else [failed]:
            reason = last_error(job.log[0]) if job.log else None
            if reason or not failed.is_group():
                wildcards = ", ".join(f"{key} {value}" for key, value in job.wildcards.items())
                what = f"{job.rule.name} ({wildcards})" if wildcards else job.rule.name
                lines.append(f"  {what}: {reason or 'killed'} (log: {job.log})")
    if lines:
        logger.error("These jobs failed for good:\n" + "\n".join(lines))


onstart:
    prepare_slurm()
    log_stages()


onsuccess:
    make_report()
    forget_checkpoints()


onerror:
    name_failed_jobs()
