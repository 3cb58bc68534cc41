"""What happens around a run: before its first job, after a success, after a failure."""

import importlib.util
import json

from hce.jobs.job import last_error
from hce.jobs.locks import keep_locks_of_others
from hce.jobs.shared_data import PAPER_DISK, claim_data
from hce.jobs.slurm_requests import REQUESTS_VARIABLE, collect_requests
from hce.jobs.slurm_runs import cancel_dead_runs, record_run
from hce.jobs.stage_log import StageLog

keep_locks_of_others()


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


def check_catalogue():
    """Before a run that trains: tries its models and losses, so that a mistake is told at once.

    It is not a rule, because fits would have to name its output as `ancient`, and Snakemake does not
    look at all at what depends on such an output while that is being made again.
    """
    jobs = list(workflow.dag.needrun_jobs())
    fits = {
        tuple(job.wildcards.get(key) for key in ("model", "loss"))
        for job in jobs
        if job.rule.name == "fit"
    }
    # Where software comes from conda or a container, torch may be there alone: the fits tell.
    if not fits or importlib.util.find_spec("torch") is None:
        return
    models, losses = map(sorted, map(set, zip(*fits)))
    catalogues = {
        "models": {name: class_and_arguments("models", name) for name in models},
        "losses": {name: class_and_arguments("losses", name) for name in losses},
    }
    command = [sys.executable, str(REPOSITORY / "scripts/check_catalogue.py")]
    done = subprocess.run(command, input=json.dumps(catalogues), capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(done.stderr.strip())


def forget_checkpoints():
    """After a run without failures: removes the state of fits that are done.

    Not sooner, because a SLURM job that is requeued begins with its fit again, whose state lets
    it end at once.
    """
    for state in (Path("results") / config["run"] / "fits").glob("*/*/*/resume.pt"):
        if state.with_name("model.pt").exists():
            state.unlink()


def claim_folder(run_id):
    """Before a run that builds data: keeps others from building the same, and looks for room."""
    building = [
        job
        for job in workflow.dag.needrun_jobs()
        if any(str(path).startswith(f"{DATA_FOLDER}/") for path in job.output)
    ]
    if not building:
        return
    claim_data(DATA_FOLDER, run_id)
    free = shutil.disk_usage(DATA_FOLDER).free
    if (
        WHOLE_CENSUS
        and free < PAPER_DISK
        and any(job.rule.name == "build_store" for job in building)
    ):
        logger.warning(
            f"data.dir {DATA['dir']} has {free / 1e9:,.0f} GB free, and the whole Census takes some "
            f"{PAPER_DISK / 1e9:,.0f} GB while its stores are built: set data.dir in the config to "
            "a larger file system, on a cluster scratch."
        )


def prepare():
    """Before a run: its folders are its own, and on SLURM what a dead Snakemake left has ended."""
    run_id = None
    try:
        if workflow.executor_plugin.name == "slurm":
            run_id = workflow.scheduler._executor.run_uuid
            prepare_slurm(run_id)
        check_catalogue()
        claim_folder(run_id)
    except UserError as error:
        raise WorkflowError(str(error))


def prepare_slurm(run_id):
    """Before a run on SLURM: ends what a dead Snakemake left here, and says who this one is."""
    # The plugin is there where SLURM is used.
    from hce.jobs.slurm_plugin import adapt_plugin

    adapt_plugin(config["slurm"]["max_hours"])
    if REQUESTS_VARIABLE in os.environ:  # `make slurm-check` asks
        Path(os.environ[REQUESTS_VARIABLE]).write_text(json.dumps(collect_requests(workflow)))
        sys.exit(0)
    jobs = cancel_dead_runs(Path.cwd(), config["run"])
    if jobs:
        logger.warning(f"Cancelled what an earlier run left in the queue: {' '.join(jobs)}.")
    record_run(Path.cwd(), run_id, config["run"])


def log_stages():
    """Has every stage that ends write a line, where no terminal shows progress bars."""
    if sys.stderr.isatty():
        return
    order = [rule.name for rule in workflow.rules]
    jobs = sorted(workflow.dag.needrun_jobs(), key=lambda job: order.index(job.rule.name))
    stages = {job.jobid: Path(job.rule.snakefile).stem for job in jobs if job.rule.script}
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
    prepare()
    log_stages()


onsuccess:
    make_report()
    forget_checkpoints()


onerror:
    name_failed_jobs()
