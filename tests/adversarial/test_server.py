"""Hostile clients of `dlbs serve`, over real sockets; and log directories that break the page. Each case is a line."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.adversarial.bounded import sparse
from tests.conftest import ROOT
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
from pathlib import Path
from dlbs.results.page.server import HOST, application, listen, serve
from benchmark_core.crash import report_crash

with listen(0) as listener:
    print(f"http://{HOST}:{listener.getsockname()[1]}/", file=sys.stderr, flush=True)
    serve(application(Path(sys.argv[1]), listener.getsockname()[1], report_crash), listener)
"""

LOG = '__exp.model__= "alexnet"\n__results.time__= 1.5\n__exp.status__= "ok"\n'


class Server:
    """A server under way."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self.process, self.errors = process, errors
        wait_until(lambda: "http://" in errors.read_text() or process.poll() is not None)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", errors.read_text())
        assert found, errors.read_text()
        self.port = int(found[1])

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(PATIENCE)
        return connection

    def ask(self, request: bytes) -> bytes:
        """All that is answered until the server closes the connection; nothing if it is refused.

        The client says that nothing more comes as soon as the answer begins: the server keeps a connection for five seconds.
        """
        with self.connect() as connection:
            try:
                connection.sendall(request)
                first = connection.recv(1)
                if first and b"Connection: close" not in request:
                    with suppress(OSError):  # it is closed already
                        connection.shutdown(socket.SHUT_WR)
                return first + read(connection)
            except ConnectionError:
                return b""

    def answers(self) -> bool:
        return self.ask(get("/")).startswith(b"HTTP/1.1 200")


def read(connection: socket.socket) -> bytes:
    received = b""
    try:
        while block := connection.recv(1 << 16):
            received += block
    except ConnectionError:
        pass  # it was closed with something unread
    return received


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@contextmanager
def serving(logs: Path) -> Iterator[Server]:
    errors = logs.parent / "errors.txt"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(logs.parent)}

    with errors.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(logs)],
            stderr=stream,
            env=environment,
            text=True,
        )
    try:
        yield Server(process, errors)
        assert process.poll() is None, errors.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.log").write_text(LOG)
    return tmp_path / "logs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "logs").mkdir()
    (directory / "logs" / "1.log").write_text(LOG)
    (directory / "secret").write_text("secret")
    with serving(directory / "logs") as under_way:
        yield under_way


# What is sent, and how the answer begins; empty if the connection is closed without one.
REQUESTS: dict[str, tuple[bytes, str]] = {
    "the page": (get("/"), "HTTP/1.1 200"),
    "its content": (get("/content"), "HTTP/1.1 200"),
    "another path": (get("/logs/1.log"), "HTTP/1.1 404"),
    "a way up": (get("/../secret"), "HTTP/1.1 404"),
    "a way up, encoded": (get("/%2e%2e/secret"), "HTTP/1.1 404"),
    "a way up, encoded twice": (get("/%252e%252e/secret"), "HTTP/1.1 404"),
    "a zero in the path": (get("/%00"), "HTTP/1.1 404"),
    "no UTF-8 in the path": (get("/%ff%fe"), "HTTP/1.1 404"),
    "letters that are not ASCII in the path": (get("/\xff"), "HTTP/1.1 400"),
    "an address of another server": (get("http://example.org/"), "HTTP/1.1 "),
    "a path of 10,000 letters": (get("/" + "a" * 10_000), "HTTP/1.1 404"),
    "a path of a megabyte": (get("/" + "a" * (1 << 20)), "HTTP/1.1 400"),
    "a question of 10,000 letters": (get("/?" + "a" * 10_000), "HTTP/1.1 200"),
    "a header of a megabyte": (get("/", "X: " + "a" * (1 << 20)), "HTTP/1.1 400"),
    "10,000 headers": (get("/", *[f"X{number}: 1" for number in range(10_000)]), "HTTP/1.1 "),
    "a header without a name": (get("/", ": 1"), "HTTP/1.1 400"),
    "a header with a zero": (get("/", "X: \0"), "HTTP/1.1 400"),
    "a header over two lines": (get("/", "X: 1", " 2"), "HTTP/1.1 "),
    "another host": (b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n", "HTTP/1.1 400"),
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400"),
    "two hosts": (get("/", "Host: example.org"), "HTTP/1.1 400"),
    "another origin": (get("/", "Origin: http://example.org"), "HTTP/1.1 403"),
    "another site": (get("/", "Sec-Fetch-Site: cross-site"), "HTTP/1.1 403"),
    "a range": (get("/", "Range: bytes=0-1"), "HTTP/1.1 200"),
    "a version of the page with an escape sequence": (get("/content", "If-None-Match: \x1b[2J"), "HTTP/1.1 "),
    "a change": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", "HTTP/1.1 405"),
    "a change without its body": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 405"),
    "a body of 16 exabytes": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551616\r\n\r\n", "HTTP/1.1 405"),
    "a body of negative length": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400"),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "HTTP/1.1 400"),
    "a length and pieces": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 "),
    "pieces that are none": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nzz", "HTTP/1.1 "),
    "a method that does not exist": (b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"),
    "a method of a megabyte": (b"G" * (1 << 20) + b" / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
    "a tunnel": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 "),
    "an upgrade to a web socket": (get("/", "Upgrade: websocket", "Sec-WebSocket-Key: x").replace(b"Connection: close", b"Connection: upgrade"), "HTTP/1.1 "),
    "an upgrade to HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 400"),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "HTTP/1.1 400"),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", "HTTP/1.1 "),
    "line ends only": (b"\r\n" * 100_000, "HTTP/1.1 400"),
    "zeros": (bytes(100_000), "HTTP/1.1 400"),
    "a greeting of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "HTTP/1.1 400"),
    "an escape sequence": (b"\x1b]0;x\x07\r\n\r\n", "HTTP/1.1 400"),
    "a hundred requests at once": (get("/content").replace(b"close", b"keep-alive") * 99 + get("/content"), "HTTP/1.1 200"),
    "rubbish behind a request": (get("/content").replace(b"close", b"keep-alive") + b"\0" * 100, "HTTP/1.1 200"),
    "a request that lives on": (b"GET /content HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "begins"), REQUESTS.values(), ids=REQUESTS)
def test_request(server: Server, request_: bytes, begins: str) -> None:
    before = server.errors.read_text()
    answer = server.ask(request_)
    assert answer.startswith(begins.encode()), answer[:200]
    assert begins or not answer
    assert b"secret" not in answer
    assert server.errors.read_text() == before  # clients write nothing into the log
    assert server.answers()


INCOMPLETE: dict[str, bytes] = {
    "nothing": b"",
    "a letter": b"G",
    "a greeting of SSH": b"SSH-2.0-x\r\n",
    "half of a line": b"GET / HT",
    "half of the headers": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    "a body that does not come": b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    "half of the next request": b"GET /content HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
}


@pytest.mark.parametrize("request_", INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_client_that_waits_disturbs_nobody(server: Server, request_: bytes) -> None:
    before = server.errors.read_text()
    with server.connect() as connection:
        connection.sendall(request_)
        assert server.answers()
        connection.shutdown(socket.SHUT_WR)
        assert b"secret" not in read(connection)
    assert server.errors.read_text() == before
    assert server.answers()


def test_requests_beyond_the_limit_of_connections_are_rejected(server: Server) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(200)]
        assert server.ask(get("/")).startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()
        wait_until(server.answers)
    assert server.errors.read_text().count("\n") == 1


# Log directories: what is put there, and what the page says of it.


def many(logs: Path) -> None:
    for number in range(300):
        os.mkfifo(logs / f"{number}.log.part")


DIRECTORIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda logs: None, "alexnet"),
    "a list of logs that is no UTF-8": (lambda logs: (logs / ".dlbs.plan").write_bytes(b'"\xff"\n'), "is not UTF-8"),
    "a list of logs that is noise": (lambda logs: (logs / ".dlbs.plan").write_bytes(bytes(range(128)) * 100), "alexnet"),
    "a list of logs that is a pipe": (lambda logs: os.mkfifo(logs / ".dlbs.plan"), "is not a regular file"),
    "a list of logs that is a link": (lambda logs: (logs / ".dlbs.plan").symlink_to("/etc/passwd"), "is a symbolic link"),
    "a list of logs that is a directory": (lambda logs: (logs / ".dlbs.plan").mkdir(), "is not a regular file"),
    "a list of logs that does not end": (lambda logs: sparse(logs / ".dlbs.plan"), "is larger than"),
    "a list with ways up": (lambda logs: (logs / ".dlbs.plan").write_text('[]\n"../../etc/passwd"\n"/etc/passwd"\n'), "alexnet"),
    "a list with a deep line": (lambda logs: (logs / ".dlbs.plan").write_text("[" * 100_000), "alexnet"),
    "a lock that is noise": (lambda logs: (logs / ".dlbs.lock").write_bytes(bytes(range(256)) * 100), "alexnet"),
    "a lock that is a pipe": (lambda logs: os.mkfifo(logs / ".dlbs.lock"), "alexnet"),
    "a lock that is a link": (lambda logs: (logs / ".dlbs.lock").symlink_to("/dev/zero"), "alexnet"),
    "a log that is a pipe": (lambda logs: os.mkfifo(logs / "2.log"), "is not a regular file"),
    "a log under way that is a pipe": (lambda logs: os.mkfifo(logs / "2.log.part"), "is not a regular file"),
    "300 pipes": (many, "is not a regular file"),
    "a log that is a link": (lambda logs: (logs / "2.log").symlink_to("/etc/passwd"), "is a symbolic link"),
    "a log that is a device": (lambda logs: (logs / "2.log").symlink_to("/dev/zero"), "is a symbolic link"),
    "a link to the directory": (lambda logs: (logs / "again").symlink_to("."), "alexnet"),
    "a log with 5,000 digits": (lambda logs: (logs / "2.log").write_text("__results.time__= " + "9" * 5_000), "alexnet"),
    "a log with markup": (lambda logs: (logs / "2.log").write_text('__exp.model__= "<script>x</script>"\n__exp.status__= "failure"\n'), "&lt;script&gt;"),
    "a name that is no UTF-8": (lambda logs: Path(os.fsdecode(bytes(logs) + b"/\xff.log")).write_text(LOG), "alexnet"),
    "an archive that is noise": (lambda logs: (logs / "a.tar.gz").write_bytes(b"\x1f\x8bnoise"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/content"])
def test_directory_pages(tmp_path: Path, path: str) -> None:
    """One server for each directory would take a second each; here all of them are looked at by what it shows."""
    from dlbs.results.page.live import LiveResults

    for number, (name, (put, said)) in enumerate(DIRECTORIES.items()):
        logs = tmp_path / str(number)
        logs.mkdir()
        (logs / "1.log").write_text(LOG)
        put(logs)
        results = LiveResults(logs)
        shown = (results.page() if path == "/" else results.content()).body.decode()
        assert said in shown, name
        assert "alexnet" in shown, name


def test_the_directory_may_go_away(logs: Path) -> None:
    """The page says so, and so does what an open page asks for; when it is back, so are the results."""
    with serving(logs) as server:
        assert b"alexnet" in server.ask(get("/"))
        (logs / "1.log").unlink()
        (logs / ".dlbs.plan").write_bytes(b"\xff")
        assert b"is not UTF-8" in server.ask(get("/"))
        (logs / ".dlbs.plan").unlink()
        assert b"no such directory" not in server.ask(get("/"))  # it is empty
        logs.rmdir()
        for path in ("/", "/content"):
            assert b"no such directory" in server.ask(get(path)), path
        wait_until(lambda: b"no such directory" in server.ask(get("/now")), "the end of the directory in /now")
        logs.mkdir()
        (logs / "1.log").write_text(LOG)
        for path in ("/", "/content"):
            shown = server.ask(get(path))
            assert b"alexnet" in shown, path
            assert b"no such directory" not in shown, path
        wait_until(lambda: b"no such directory" not in server.ask(get("/now")), "the directory's return in /now")
        assert server.errors.read_text().count("\n") == 1
