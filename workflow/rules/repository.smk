"""Where the repository's own files are, whatever folder the workflow runs in.

A path of the config or of a rule is relative to the working directory. What is not there, and the
repository ships, is taken from the repository.
"""

import os

from snakemake.sourcecache import HostingProviderFile


def find_repository():
    """The repository as a local folder.

    Of a workflow that is imported from a Git host, Snakemake fetches the files that it meets.
    These are the others.
    """
    here = workflow.current_basedir.join("../..")
    if not isinstance(here, HostingProviderFile):
        return Path(os.path.normpath(here.get_path_or_uri(secret_free=True)))
    folders = ["config", "resources", "scripts"]
    files = here.hosted_repo.repo.git.ls_tree("-r", "--name-only", here.ref, "--", *folders)
    fetched = [workflow.sourcecache.get_path(here.join(name)) for name in files.splitlines()]
    return Path(os.path.commonpath(fetched))


REPOSITORY = find_repository()
sys.path.insert(0, str(REPOSITORY / "scripts"))


def shipped(path):
    """The path, or where the repository has that file if the working directory has not."""
    beside = REPOSITORY / path
    return str(beside) if beside.exists() and not Path(path).exists() else path
