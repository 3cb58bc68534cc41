"""Not a stage: every rule depends on the code that its script uses, in the script and the library.

Snakemake's own trigger goes by the time stamp of the script alone: it sees neither the library nor whether
more than a comment changed. The profiles leave it out. `snakemake --touch` keeps results that a change of
code does not concern.
"""

from hce.config import named_classes
from hce.jobs.fingerprint import Fingerprints

SCRIPTS = REPOSITORY / "scripts"
# Where classes of the user's own are looked for, beside the library.
FINGERPRINTS = Fingerprints(
    [SCRIPTS, *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))],
    Path(".snakemake") / "hce-code.json",
)


def own_modules(wildcards):
    """Modules of the user's own classes: those of a fit's model and loss, or else all of the config's."""
    chosen = {
        key: (
            {wildcards[wildcard]} & set(config[key])
            if wildcard in wildcards.keys()
            else config[key]
        )
        for key, wildcard in (("models", "model"), ("losses", "loss"))
    }
    classes = named_classes(
        {key: {n: config[key][n] for n in names} for key, names in chosen.items()}
    )
    return [name.partition(":")[0] for name in sorted(classes) if ":" in name]


def code_of(script):
    """A param that changes with the code of a script."""
    builds = "hce.registry" in FINGERPRINTS.modules(script)

    def fingerprint(wildcards):
        digest = FINGERPRINTS.of(script, own_modules(wildcards) if builds else ())
        return f"code of {script.name} {digest}"

    return fingerprint


for each in workflow.rules:
    path = SCRIPTS / Path(str(each.script)).name
    # Where this is a module of another workflow, the rules of that one are none of ours.
    if each.script and path.is_file() and "code" not in each.params.keys():
        each.set_params(code=code_of(path))
FINGERPRINTS.save()
