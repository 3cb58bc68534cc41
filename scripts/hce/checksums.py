"""Fast checksums: what a job reads is what the job before it wrote.

A file's CRC-32C is recorded beside it when it is complete and compared when it is read. It finds
what disks, networks and cut-off copies do to a file; provenance keeps the SHA-256, which also finds
what somebody changed on purpose, but takes about eight times as long.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import google_crc32c
import pyarrow as pa

from hce.errors import UserError
from hce.files import atomic_path

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SUFFIX = ".crc32c"
# Files that were whole when this process read them: path, size and time of the last change.
_whole: set[tuple[str, int, int]] = set()


def crc32c(content: "ReadableBuffer") -> str:
    """CRC-32C of some bytes, as 8 hexadecimal digits."""
    return f"{google_crc32c.value(content):08x}"


def crc32c_of(path: str | Path) -> str:
    """CRC-32C of a file, as 8 hexadecimal digits."""
    if not Path(path).stat().st_size:  # nothing can be mapped of an empty file
        return crc32c(b"")
    with pa.memory_map(str(path)) as file:
        return crc32c(file.read_buffer())


def record_of(path: str | Path) -> Path:
    """Where the checksum of a file is recorded: a hidden file beside it."""
    path = Path(path)
    return path.with_name(f".{path.name}{SUFFIX}")


def record(path: str | Path) -> None:
    """Records the checksum of a file."""
    with atomic_path(record_of(path)) as temporary:
        temporary.write_text(crc32c_of(path) + "\n", encoding="ascii")


def recorded(path: str | Path) -> str | None:
    """The recorded checksum of a file; None where there is none."""
    kept = record_of(path)
    return kept.read_text(encoding="ascii", errors="replace").strip() if kept.is_file() else None


def forget(path: str | Path) -> None:
    """Removes the record of a file that is about to be made anew."""
    record_of(path).unlink(missing_ok=True)


def verify(path: str | Path, part_of: str | Path | None = None) -> None:
    """Compares a file with its recorded checksum, once a process; a file without one passes.

    Args:
        path: the file.
        part_of: the folder that a rule makes whole, where the file is not an output itself.

    Raises:
        UserError: the file is not as it was written.
    """
    expected = recorded(path)
    if expected is None or not Path(path).is_file() or (state := _state(path)) in _whole:
        return
    if crc32c_of(path) != expected:
        kept = record_of(path)
        raise UserError(
            f"{path} is not as it was written (its checksum is not that of {kept.name}): delete "
            f"{part_of or path} and run Snakemake again, which makes it anew; if you changed it on "
            f"purpose, delete {kept} instead."
        )
    _whole.add(state)


def is_whole(path: str | Path, content: "ReadableBuffer", expected: str | None) -> bool:
    """Whether what was read of a file has the expected checksum; computed once a process.

    Args:
        path: the file.
        content: all of it.
        expected: 8 hexadecimal digits; None where none is known.
    """
    if expected is None or (state := _state(path)) in _whole:
        return True
    if crc32c(content) != expected:
        return False
    _whole.add(state)
    return True


def _state(path: str | Path) -> tuple[str, int, int]:
    status = Path(path).stat()
    return str(Path(path).absolute()), status.st_size, status.st_mtime_ns
