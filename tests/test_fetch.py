"""Downloads, against a mirror on this machine that misbehaves as it is told to."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import iconoclass.fetch as fetch_module
from iconoclass.errors import DownloadError, EnvironmentFault, UsageError
from iconoclass.fetch import RemoteFile, fetch

CONTENT = bytes(range(256)) * 1024
HALF = len(CONTENT) // 2
LITTLE = len(CONTENT) // 8
PAGE = b"<html><body>Please log in to the hotel's network.</body></html>"

Answer = Callable[["Mirror", BaseHTTPRequestHandler], None]


class Mirror(ThreadingHTTPServer):
    """A server of one file. Each request in turn is treated by one of `answers`, the last of them for ever after."""

    daemon_threads = True

    def __init__(self, *answers: Answer, content: bytes = CONTENT, etag: str | None = '"1"') -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.content = content
        self.etag = etag
        self.asked: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.go_on = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/file.gz"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        number = min(len(self.server.asked), len(self.server.answers)) - 1
        self.server.answers[number](self.server, self)

    def log_message(self, *words: object) -> None:
        pass

    def send_head(self, status: int, **headers: str | int | None) -> None:
        self.server.statuses.append(status)
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


def whole(mirror: Mirror, request: _Handler) -> None:
    """The file, as by a server that has never heard of Range."""
    request.send_head(200, Content_Length=len(mirror.content), ETag=mirror.etag)
    request.wfile.write(mirror.content)


def right(mirror: Mirror, request: _Handler) -> None:
    """The file, or the range of it that was asked for, if it is still the version that If-Range names."""
    asked = request.headers.get("Range")
    if asked is None or request.headers.get("If-Range", mirror.etag) != mirror.etag:
        whole(mirror, request)
        return
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    rest, size = mirror.content[start:], len(mirror.content)
    if not rest:
        request.send_head(416, Content_Length=0)
        return
    request.send_head(206, Content_Length=len(rest), Content_Range=f"bytes {start}-{size - 1}/{size}")
    request.wfile.write(rest)


def half_then_cut(mirror: Mirror, request: _Handler) -> None:
    request.send_head(200, Content_Length=len(mirror.content), ETag=mirror.etag)
    request.wfile.write(mirror.content[:HALF])


def a_little_more_then_cut(mirror: Mirror, request: _Handler) -> None:
    """A few kilobytes from where the request begins, then nothing: the server that never gets far."""
    start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    size = len(mirror.content)
    content_range = f"bytes {start}-{size - 1}/{size}" if start else None
    request.send_head(206 if start else 200, Content_Length=size - start, Content_Range=content_range, ETag=mirror.etag)
    request.wfile.write(mirror.content[start : start + LITTLE])


def half_then_silence(mirror: Mirror, request: _Handler) -> None:
    half_then_cut(mirror, request)
    mirror.go_on.wait(20)


def half_then_the_rest_on_a_sign(mirror: Mirror, request: _Handler) -> None:
    half_then_silence(mirror, request)
    request.wfile.write(mirror.content[HALF:])


def silence(mirror: Mirror, request: _Handler) -> None:
    mirror.go_on.wait(20)


def endless(mirror: Mirror, request: _Handler) -> None:
    request.send_head(200)
    while not mirror.go_on.is_set():
        request.wfile.write(mirror.content)


def page(mirror: Mirror, request: _Handler) -> None:
    request.send_head(200, Content_Length=len(PAGE), Content_Type="text/html; charset=utf-8")
    request.wfile.write(PAGE)


def status(number: int) -> Answer:
    return lambda mirror, request: request.send_head(number, Content_Length=0)


def redirect(to: str) -> Answer:
    return lambda mirror, request: request.send_head(302, Location=to, Content_Length=0)


@pytest.fixture
def serve() -> Iterator[Callable[..., Mirror]]:
    mirrors: list[Mirror] = []

    def start(*answers: Answer, **options: object) -> Mirror:
        mirrors.append(Mirror(*answers, **options))
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_PAUSE_S", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def wanted(*mirrors: Mirror, size: int | None = len(CONTENT)) -> RemoteFile:
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    return RemoteFile("file.gz", digest, tuple(mirror.url for mirror in mirrors), size)


def leave_part(folder: Path, mirror: Mirror) -> None:
    """What a kill half-way leaves behind."""

    def kill(name: str, done_bytes: int, total_bytes: int | None) -> None:
        if done_bytes >= HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(wanted(mirror), folder, progress=kill)
    assert part_of(folder).stat().st_size >= HALF
    assert not (folder / "file.gz").exists()
    mirror.asked.clear()
    mirror.statuses.clear()


def part_of(folder: Path) -> Path:
    return folder / ".file.gz.part"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# It comes, and stays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_is_downloaded_into_a_folder_that_is_made_for_it(serve, tmp_path, size):
    path = fetch(wanted(serve(right), size=size), tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "file.gz"
    assert path.read_bytes() == CONTENT
    assert names_in(path.parent) == [".file.gz.lock", "file.gz"]


def test_an_md5_digest_in_capitals_is_understood(serve, tmp_path):
    digest = "md5:" + hashlib.md5(CONTENT).hexdigest().upper()
    assert fetch(RemoteFile("file.gz", digest, (serve(right).url,)), tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_there_is_returned_without_a_socket_or_a_new_file(tmp_path, no_sockets):
    """D8: with the cache filled, nothing needs the network."""
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert fetch(wanted(), tmp_path) == tmp_path / "file.gz"
    assert names_in(tmp_path) == ["file.gz"]


def test_where_no_digest_is_published_that_of_the_first_file_is_kept(serve, tmp_path):
    """It is told by its content once; from then on by its bytes."""
    file = RemoteFile("file.gz", None, (serve(right).url,))
    looked_at: list[int] = []

    def is_it(path: Path) -> bool:
        looked_at.append(path.stat().st_size)
        return path.read_bytes().startswith(CONTENT[:8])

    path = fetch(file, tmp_path, is_it=is_it)
    assert (tmp_path / "file.gz.sha256").read_text().strip() == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch(file, tmp_path, is_it=is_it).read_bytes() == CONTENT
    assert looked_at == [len(CONTENT)]


def test_where_no_digest_is_published_what_does_not_look_like_the_file_is_refused(serve, tmp_path):
    mirror = serve(right, content=PAGE)
    with pytest.raises(DownloadError, match="which are not the file"):
        fetch(RemoteFile("file.gz", None, (mirror.url,)), tmp_path, is_it=lambda path: path.read_bytes() == CONTENT)
    with pytest.raises(DownloadError, match="which are not the file"):
        fetch(RemoteFile("file.gz", None, (mirror.url,)), tmp_path)
    assert not (tmp_path / "file.gz").exists()


@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"x", CONTENT[:HALF], b""])
def test_a_damaged_file_in_the_cache_is_fetched_anew(serve, tmp_path, damaged):
    """D5: a corrupt or partial cache file is re-made, never trusted."""
    (tmp_path / "file.gz").write_bytes(damaged)
    assert fetch(wanted(serve(right)), tmp_path).read_bytes() == CONTENT


def test_progress_is_told_from_the_start_to_the_last_byte(serve, tmp_path):
    told: list[tuple[str, int, int | None]] = []
    fetch(wanted(serve(right)), tmp_path, progress=lambda *row: told.append(row))
    assert told[0] == ("file.gz", 0, len(CONTENT))
    assert told[-1] == ("file.gz", len(CONTENT), len(CONTENT))
    assert len(told) > 2
    assert [row[1] for row in told] == sorted(row[1] for row in told)


# Mirrors that fail ----------------------------------------------------------------------------------------------------


def test_wrong_bytes_are_refused_and_leave_nothing_behind(serve, tmp_path):
    """D6: wrong bytes of the right length."""
    mirror = serve(right, content=CONTENT[::-1])
    with pytest.raises(DownloadError, match="digest is not the file's"):
        fetch(wanted(mirror), tmp_path)
    assert len(mirror.asked) == 1
    assert names_in(tmp_path) == [".file.gz.lock"]


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize(
    "bad",
    [
        {"answers": [right], "content": CONTENT[::-1]},
        {"answers": [right], "content": CONTENT[:-1]},
        {"answers": [page]},
        {"answers": [status(404)]},
        {"answers": [status(403)]},
        {"answers": [redirect("ftp://127.0.0.1/file.gz")]},
        {"answers": [redirect("file:///etc/hostname")]},
        {"answers": [redirect("http://127.0.0.1:port/")]},
    ],
    ids=["wrong bytes", "shorter file", "login page", "404", "403", "to ftp", "to a file", "to nonsense"],
)
def test_a_mirror_that_has_not_the_file_is_asked_once_and_the_next_one_gives_it(serve, tmp_path, bad, size):
    """D6: each fault that does not pass leads to the next mirror."""
    first, second = serve(*bad["answers"], content=bad.get("content", CONTENT)), serve(right)
    assert fetch(wanted(first, second, size=size), tmp_path).read_bytes() == CONTENT
    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize("number", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(serve, tmp_path, number):
    """D6: 500, then right."""
    mirror = serve(status(number), right)
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.statuses == [number, 200]


def test_the_pauses_between_tries_grow(serve, tmp_path, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(fetch_module.time, "sleep", pauses.append)
    with pytest.raises(DownloadError, match=r"HTTP 500 .*try 3 of 3"):
        fetch(wanted(serve(status(500))), tmp_path)
    assert pauses == [0.01, 0.02]


def test_a_redirect_is_followed(serve, tmp_path):
    behind = serve(right)
    assert fetch(wanted(serve(redirect(behind.url))), tmp_path).read_bytes() == CONTENT
    assert behind.statuses == [200]


@pytest.mark.parametrize("answer", [silence, half_then_silence])
def test_a_silent_connection_ends_by_timeout_and_the_next_mirror_takes_over(serve, tmp_path, answer):
    """D6: a timeout, and a stall at 50 %."""
    started = time.monotonic()
    path = fetch(wanted(serve(answer), serve(right)), tmp_path, timeout_s=0.2, retries=0)
    assert path.read_bytes() == CONTENT
    assert time.monotonic() - started < 5


def test_a_connection_that_stalls_half_way_goes_on_from_there(serve, tmp_path):
    """D6: a stall at 50 % costs one more request, not the half that came."""
    mirror = serve(half_then_silence, right)
    assert fetch(wanted(mirror), tmp_path, timeout_s=0.2).read_bytes() == CONTENT
    assert mirror.statuses == [200, 206]


def test_a_server_that_is_not_there_is_named_with_the_reason(serve, tmp_path):
    mirror = serve(right)
    mirror.close()
    with pytest.raises(DownloadError, match="refused"):
        fetch(wanted(mirror), tmp_path)


def test_bytes_without_end_are_refused_when_they_are_too_many(serve, tmp_path):
    with pytest.raises(DownloadError, match=f"more than the file's {len(CONTENT)} bytes"):
        fetch(wanted(serve(endless)), tmp_path)


@pytest.mark.parametrize(("size", "reason"), [(len(CONTENT), "offers 63 bytes"), (None, "sent 63 bytes")])
def test_a_login_page_is_not_taken_for_the_file(serve, tmp_path, size, reason):
    """D6: a captive portal answers 200 with HTML; the message says so."""
    with pytest.raises(DownloadError, match=f"{reason} of text/html"):
        fetch(wanted(serve(page), size=size), tmp_path)
    assert names_in(tmp_path) == [".file.gz.lock"]


def test_a_login_page_does_not_cost_what_had_come_before(serve, tmp_path):
    mirror = serve(right)
    leave_part(tmp_path, mirror)
    with pytest.raises(DownloadError):
        fetch(wanted(serve(page)), tmp_path)
    fetch(wanted(mirror), tmp_path)
    assert mirror.statuses == [206]


def test_when_all_mirrors_fail_the_message_says_all_that_a_person_needs(serve, tmp_path):
    """D6: in the end exit 4, with each URL and its reason, the digest, and where to drop the file."""
    file = wanted(serve(status(404)), serve(status(500)), serve(page))
    with pytest.raises(DownloadError) as caught:
        fetch(file, tmp_path, retries=1)
    assert caught.value.exit_status == 4
    assert str(caught.value).splitlines() == [
        "error[DOWNLOAD]: file.gz could not be downloaded. The reasons:",
        f"  {file.urls[0]}",
        "    HTTP 404 Not Found",
        f"  {file.urls[1]}",
        "    HTTP 500 Internal Server Error (try 2 of 2)",
        f"  {file.urls[2]}",
        "    offers 63 bytes of text/html, which is not the file",
        f"The file wanted has the digest {file.digest}, {len(CONTENT)} bytes.",
        "Try again when the network allows it, or bring the file yourself and put it exactly here:",
        f"  {tmp_path / 'file.gz'}",
    ]


# Going on from where it stopped ---------------------------------------------------------------------------------------


def test_a_cut_connection_goes_on_from_the_byte_where_it_was_cut(serve, tmp_path):
    """D6, D7: truncated, then resumed with Range."""
    mirror = serve(half_then_cut, right)
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.statuses == [200, 206]
    assert mirror.asked[1]["Range"] == f"bytes={HALF}-"
    assert mirror.asked[1]["If-Range"] == '"1"'


def test_cuts_that_bring_too_little_are_counted(serve, tmp_path):
    mirror = serve(a_little_more_then_cut)
    with pytest.raises(DownloadError, match=rf"cut after {3 * LITTLE} of {len(CONTENT)} bytes \(try 3 of 3\)"):
        fetch(wanted(mirror), tmp_path)
    assert part_of(tmp_path).read_bytes() == CONTENT[: 3 * LITTLE]


def test_cuts_that_bring_enough_are_not_counted(serve, tmp_path, monkeypatch):
    """D6: a slow server that cuts every few minutes gives the file in the end."""
    monkeypatch.setattr(fetch_module, "_PROGRESS_BYTES", LITTLE)
    mirror = serve(a_little_more_then_cut)
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.statuses == [200] + [206] * 7


def test_a_server_that_always_starts_again_and_always_cuts_is_given_up(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_PROGRESS_BYTES", LITTLE)
    mirror = serve(half_then_cut)
    with pytest.raises(DownloadError, match="cut after"):
        fetch(wanted(mirror), tmp_path)
    assert len(mirror.asked) == 4


def test_ctrl_c_leaves_a_part_that_the_next_call_goes_on_from(serve, tmp_path):
    mirror = serve(right)
    leave_part(tmp_path, mirror)
    here = part_of(tmp_path).stat().st_size
    told: list[int] = []
    path = fetch(wanted(mirror), tmp_path, progress=lambda name, done, total: told.append(done))
    assert path.read_bytes() == CONTENT
    assert mirror.statuses == [206]
    assert mirror.asked[0]["Range"] == f"bytes={here}-"
    assert told[0] == here
    assert names_in(tmp_path) == [".file.gz.lock", "file.gz"]


def test_the_part_of_one_mirror_is_completed_by_another(serve, tmp_path):
    leave_part(tmp_path, serve(right))
    other = serve(right, etag='"another name for the same bytes"')
    assert fetch(wanted(other), tmp_path).read_bytes() == CONTENT
    assert other.statuses == [206]
    assert "If-Range" not in other.asked[0]


def test_a_server_that_ignores_range_starts_again(serve, tmp_path):
    """D7: it answers 200 with the whole file; the half is not put in front of it."""
    leave_part(tmp_path, serve(right))
    mirror = serve(whole)
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert "Range" in mirror.asked[0]
    assert mirror.statuses == [200]


def test_a_file_that_changed_on_the_server_starts_again(serve, tmp_path):
    """D7: the ETag is another one, so the old half belongs to another file."""
    mirror = serve(right, content=CONTENT[::-1])
    leave_part(tmp_path, mirror)
    mirror.content, mirror.etag = CONTENT, '"2"'
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.asked[0]["If-Range"] == '"1"'
    assert mirror.statuses == [200]


def test_a_file_that_changed_where_nobody_names_versions_is_found_by_the_digest(serve, tmp_path):
    """D7: without an ETag the halves of two versions are put together once, and never again."""
    mirror = serve(right, content=CONTENT[::-1], etag=None)
    leave_part(tmp_path, mirror)
    mirror.content = CONTENT
    assert fetch(wanted(mirror), tmp_path, retries=0).read_bytes() == CONTENT
    assert mirror.statuses == [206, 200]


def test_a_weak_etag_is_not_trusted_with_bytes(serve, tmp_path):
    mirror = serve(half_then_cut, right, etag='W/"1"')
    fetch(wanted(mirror), tmp_path)
    assert "If-Range" not in mirror.asked[1]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(serve, tmp_path):
    """D7: the server answers 416."""
    part_of(tmp_path).write_bytes(CONTENT + b"more")
    mirror = serve(right)
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.statuses == [416, 200]


def test_a_kill_between_the_last_byte_and_the_renaming_costs_no_request(tmp_path, no_sockets):
    """D7: the part is whole."""
    part_of(tmp_path).write_bytes(CONTENT)
    assert fetch(wanted(), tmp_path).read_bytes() == CONTENT


# Offline --------------------------------------------------------------------------------------------------------------


def test_offline_with_the_file_works(tmp_path, no_sockets):
    """D8: --offline with a cache."""
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert fetch(wanted(), tmp_path, offline=True) == tmp_path / "file.gz"


@pytest.mark.parametrize("damaged", [None, b"damaged"])
def test_offline_without_the_file_fails_at_once_and_says_where_to_put_it(serve, tmp_path, request, damaged):
    """D8: --offline without a cache is exit 4, and no socket is opened."""
    file = wanted(serve(right))
    if damaged:
        (tmp_path / "file.gz").write_bytes(damaged)
    request.getfixturevalue("no_sockets")
    with pytest.raises(DownloadError) as caught:
        fetch(file, tmp_path, offline=True)
    message = str(caught.value)
    assert caught.value.exit_status == 4
    assert all(words in message for words in (file.urls[0], file.digest, str(tmp_path / "file.gz")))
    assert ("damaged" in message) == bool(damaged)
    with pytest.raises(AssertionError, match="a socket was opened"):
        fetch(file, tmp_path)


# The disk -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_the_disks_fault_and_no_other_mirror_is_asked(serve, tmp_path):
    """D3: no space left on the device."""
    part_of(tmp_path).symlink_to("/dev/full")
    first, second = serve(right), serve(right)
    with pytest.raises(EnvironmentFault, match="the disk is full") as caught:
        fetch(wanted(first, second), tmp_path)
    assert not isinstance(caught.value, DownloadError)
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_a_folder_that_cannot_be_made_is_told(tmp_path, no_sockets):
    """D5: the cache is a file."""
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cache"):
        fetch(wanted(), tmp_path / "cache")


# Two processes --------------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from iconoclass.fetch import RemoteFile, fetch
name, digest, url, folder = sys.argv[1:]
def tell(name, done, total):
    print(done, flush=True)
fetch(RemoteFile(name, digest, (url,)), Path(folder), progress=tell)
"""


@pytest.fixture
def start_child(tmp_path) -> Iterator[Callable[[RemoteFile], subprocess.Popen[str]]]:
    children: list[subprocess.Popen[str]] = []
    source = str(Path(fetch_module.__file__).parents[1])

    def start(file: RemoteFile) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", CHILD, file.name, file.digest, file.urls[0], str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": source}
        children.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def wait_for_half(child: subprocess.Popen[str]) -> None:
    """Until the child has told that the first half is here: by its own download, or because it sees another's."""
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= HALF:
            return
    raise AssertionError(child.stderr.read() if child.stderr else "")


def test_of_two_processes_one_downloads_and_the_other_waits(serve, tmp_path, start_child):
    """D9: the same file at the same time; both succeed and the server sees one request."""
    mirror = serve(half_then_the_rest_on_a_sign)
    children = [start_child(wanted(mirror)), start_child(wanted(mirror))]
    for child in children:
        wait_for_half(child)
    assert len(mirror.asked) == 1
    mirror.go_on.set()
    for child in children:
        _, errors = child.communicate(timeout=10)
        assert (child.returncode, errors) == (0, "")
    assert len(mirror.asked) == 1
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_a_killed_process_leaves_a_part_and_no_lock(serve, tmp_path, start_child):
    """D7: kill -9 in mid-download; the next process goes on with Range, at once."""
    mirror = serve(half_then_silence, right)
    child = start_child(wanted(mirror))
    wait_for_half(child)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert not (tmp_path / "file.gz").exists()
    assert fetch(wanted(mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.statuses == [200, 206]
    assert mirror.asked[1]["Range"] == f"bytes={HALF}-"


# What may be asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ftp://example.org/a", "file:///etc/passwd", "example.org/a", "data:,x"])
def test_only_http_and_https_addresses_are_taken(url):
    with pytest.raises(UsageError, match="not an http or https address"):
        RemoteFile("a", wanted().digest, (url,))


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", "a\\b", "/a"])
def test_a_name_cannot_lead_out_of_the_folder(name):
    with pytest.raises(UsageError, match="not a plain file name"):
        RemoteFile(name, wanted().digest, ())


@pytest.mark.parametrize("digest", ["", "md5:abc", "sha1:" + "0" * 40, "0" * 64, "sha256:" + "g" * 64])
def test_a_digest_that_could_prove_nothing_is_refused(digest):
    with pytest.raises(UsageError, match="hexadecimal"):
        RemoteFile("a", digest, ())
