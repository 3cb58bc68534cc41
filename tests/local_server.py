"""A server of this machine alone, from which tests download."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder without a word."""

    def log_message(self, *_: Any) -> None:
        pass


def files_of(folder: Path) -> Callable[..., Quiet]:
    """Handler that serves the files of a folder."""
    return functools.partial(Quiet, directory=str(folder))


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answers requests until the end of the block; gives the address, without a last slash."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
