"""Downloads: complete or absent, and checked against a checksum."""

import logging
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from hce.errors import UserError
from hce.files import atomic_path, sha256_of

logger = logging.getLogger(__name__)

TRIES = 4
TIMEOUT_SECONDS = 60


def download(
    url: str, path: str | Path, sha256: str | None, wait: float = 5.0, said_by: str = "the config"
) -> None:
    """Downloads a file and checks that it is the one expected.

    Without an expected checksum, the first download records one in `<path>.sha256`, and later
    downloads must agree with it.

    Args:
        url: http(s) address.
        path: the file to write.
        sha256: expected checksum, or None.
        wait: seconds before the second try; doubled for each further one.
        said_by: where the expected checksum is from, for messages.

    Raises:
        UserError: the address cannot be read, or the content differs.
    """
    path = Path(path)
    record = path.with_name(path.name + ".sha256")
    expected = sha256 or (record.read_text().strip() if record.is_file() else None)
    with atomic_path(path) as temporary:
        _fetch(url, temporary, path, wait)
        found = sha256_of(temporary)
        if expected is not None and found != expected:
            where = said_by if sha256 else str(record)
            raise UserError(
                f"{url} has sha256 {found}, but {where} says {expected}: the file changed or was "
                "cut off; if the change is intended, correct the checksum there."
            )
    if expected is None:
        record.write_text(found + "\n")
        logger.info("recorded sha256 %s of %s", found, url)


def _fetch(url: str, path: Path, place: Path, wait: float) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply:
                with open(path, "wb") as file:
                    shutil.copyfileobj(reply, file)
                length = reply.headers.get("Content-Length")
                if length is not None and path.stat().st_size != int(length):
                    raise OSError(f"{path.stat().st_size} of {length} bytes arrived")
            return
        except (OSError, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404)
            if attempt == TRIES or refused or isinstance(error, ValueError):
                raise UserError(
                    f"Cannot download {url}: {error}; without a network, put the file in place by "
                    f"hand, as {place}."
                ) from error
            logger.warning("%s failed (%s); trying again in %.0f s", url, error, wait)
            time.sleep(wait)
            wait *= 2
