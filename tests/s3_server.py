"""A small S3 server with faults, for tests: serves a folder as a bucket, to read only."""

import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

BUCKET = "bucket"


@dataclass
class S3Server:
    """A running server.

    Attributes:
        folder: holds the bucket's objects.
        fault: called with the key of each object that is asked for; "drop" closes the connection
            in the middle of the answer, a number is answered in place of the object, None is no
            fault.
        requests: keys of the objects that were asked for, in order.
    """

    folder: Path
    fault: Callable[[str], str | int | None] = lambda key: None
    requests: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def settings(self) -> dict[str, str | int]:
        """What TileDB needs to be told to find the server."""
        return {
            "vfs.s3.endpoint_override": f"127.0.0.1:{self.port}",
            "vfs.s3.scheme": "http",
            "vfs.s3.use_virtual_addressing": "false",
            "vfs.s3.connect_max_tries": 1,
        }

    def uri(self, name: str) -> str:
        """Address of something in the bucket."""
        return f"s3://{BUCKET}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Http"

    def do_HEAD(self) -> None:
        self._object(body=False)

    def do_GET(self) -> None:
        query = urllib.parse.urlparse(self.path).query
        if query:
            self._list(dict(urllib.parse.parse_qsl(query, keep_blank_values=True)))
        else:
            self._object(body=True)

    def _object(self, body: bool) -> None:
        s3 = self.server.s3
        key = urllib.parse.unquote(urllib.parse.urlparse(self.path).path).partition(f"{BUCKET}/")[2]
        path = s3.folder / key
        if not key or not path.is_file():
            self._answer(404, b"")
            return
        size = path.stat().st_size
        first, last = 0, size - 1
        if asked := self.headers.get("Range"):
            first, last = (int(text) for text in asked.removeprefix("bytes=").split("-"))
            last = min(last, size - 1)
        fault = None
        if body:
            s3.requests.append(key)
            fault = s3.fault(key)
        if isinstance(fault, int):
            self._answer(fault, b"")
            return
        with open(path, "rb") as file:
            file.seek(first)
            content = file.read(last - first + 1) if body else b""
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT")
        self.end_headers()
        if fault == "drop":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _list(self, query: dict[str, str]) -> None:
        folder, prefix = self.server.s3.folder, query.get("prefix", "")
        delimiter = query.get("delimiter", "")
        below = folder / prefix if prefix.endswith("/") else (folder / prefix).parent
        keys, prefixes = [], set()
        for path in sorted(below.rglob("*")) if below.is_dir() else []:
            key = path.relative_to(folder).as_posix()
            if not path.is_file() or not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if found:
                prefixes.add(prefix + head + delimiter)
            else:
                keys.append((key, path.stat().st_size))
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            "<LastModified>1970-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, size in keys
        ]
        rows += [f"<CommonPrefixes><Prefix>{p}</Prefix></CommonPrefixes>" for p in sorted(prefixes)]
        body = (
            f'<?xml version="1.0"?><ListBucketResult><Name>{BUCKET}</Name>'
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
            f"<MaxKeys>100000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(rows)}"
            "</ListBucketResult>"
        )
        self._answer(200, body.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    s3: S3Server


@contextmanager
def serve(folder: Path) -> Iterator[S3Server]:
    """Serves a folder on a free port of this machine."""
    with _Http(("127.0.0.1", 0), _Handler) as httpd:
        httpd.s3 = S3Server(folder, port=httpd.server_port)
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield httpd.s3
        finally:
            httpd.shutdown()
            thread.join()
