"""Who does something: a process that others, on this machine or another, can look for."""

import getpass
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Process:
    """A process as it is written down for others.

    Attributes:
        user: who started it.
        host: the machine that it runs on.
        pid: its number there.
        started: boot of the machine and ticks since then; tells it from a later one of its number.
        since: when it was written down, for readers.
        folder: where it works.
    """

    user: str
    host: str
    pid: int
    started: str
    since: str
    folder: str

    @classmethod
    def own(cls) -> "Process":
        """This process."""
        return cls(
            getpass.getuser(),
            socket.gethostname(),
            os.getpid(),
            _started(os.getpid()),
            time.strftime("%Y-%m-%d %H:%M"),
            os.getcwd(),
        )

    def lives(self) -> bool | None:
        """Whether it runs; None where that cannot be seen, since its machine is another one."""
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)  # asks for nothing but whether there is one
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's
        # Some machines hide the processes of other users: there the number has to do.
        return _started(self.pid) in ("", self.started)

    def __str__(self) -> str:
        return (
            f"process {self.pid} of {self.user} on {self.host} (in {self.folder}, since "
            f"{self.since})"
        )


def _started(pid: int) -> str:
    """Boot and ticks at which a process began, or "" where that cannot be read."""
    try:
        # The second field is the command in brackets, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{BOOT.read_text().strip()} {fields[19]}"
    except (OSError, IndexError):
        return ""
