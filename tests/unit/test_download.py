import hashlib
import http.server

import pytest

from hce.download import download
from hce.errors import UserError
from local_server import serving

CONTENT = b"cell ontology" * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /good, and faults elsewhere; `flaky` fails twice, then serves."""

    requests = 0
    content = CONTENT

    def do_GET(self):
        type(self).requests += 1
        if self.path == "/missing":
            self.send_error(404)
        elif self.path == "/flaky" and self.requests < 3:
            self.send_error(503)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            body = self.content[:50] if self.path == "/cut" else self.content
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Handler.requests = 0
    Handler.content = CONTENT
    with serving(Handler) as address:
        yield address


def test_a_download_is_whole_and_checked(server, tmp_path):
    sha = hashlib.sha256(CONTENT).hexdigest()
    download(f"{server}/good", tmp_path / "f", sha)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_another_checksum_is_refused_and_nothing_is_left(server, tmp_path):
    with pytest.raises(UserError, match="but the config says"):
        download(f"{server}/good", tmp_path / "f", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_the_first_checksum_is_recorded_and_later_downloads_are_held_to_it(server, tmp_path):
    download(f"{server}/good", tmp_path / "f", None)
    assert (tmp_path / "f.sha256").read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    download(f"{server}/good", tmp_path / "f", None)
    Handler.content = b"another release"
    with pytest.raises(UserError, match=r"f\.sha256 says"):
        download(f"{server}/good", tmp_path / "f", None)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_recovers_is_asked_again(server, tmp_path):
    download(f"{server}/flaky", tmp_path / "f", None, wait=0.01)
    assert Handler.requests == 3


def test_a_download_that_is_cut_off_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="Cannot download"):
        download(f"{server}/cut", tmp_path / "f", None, wait=0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_exist_is_asked_for_once(server, tmp_path):
    with pytest.raises(UserError, match=r"missing.*404.*put the file in place by hand, as .*f\.$"):
        download(f"{server}/missing", tmp_path / "f", None)
    assert Handler.requests == 1
