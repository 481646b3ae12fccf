"""A page on this machine that searches for one picture after the other, without loading the model again."""

import html
import http.server
import threading
import urllib.parse
from collections.abc import Callable

from semppl.export.collections.search_page import page

_MOST_BYTES = 2**26  # of a query


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 30  # seconds after which a silent connection, such as one that a browser opens in advance, is closed
    by_file: Callable[[str, bytes], str]
    by_id: Callable[[int], str]

    def do_GET(self) -> None:
        """Answers with the page, or with the pictures similar to one in the index: `/like/ID`."""
        where = urllib.parse.urlsplit(self.path).path
        if where == "/":
            self._send(200, page("", "Search by picture", asks=True))
        elif where.startswith("/like/") and where.removeprefix("/like/").isdecimal():
            self._answer(
                lambda: page(self.by_id(int(where.removeprefix("/like/")[:18])), "Search by picture", asks=True)
            )
        else:
            self._send(404, "<p>There is no such page.</p>")

    def do_POST(self) -> None:
        """Answers with the pictures similar to the picture in the request's body, as a part of the page."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > _MOST_BYTES:
            self.close_connection = True
            self._send(413, f"<p>A picture must be a file of at most {_MOST_BYTES // 2**20} MiB.</p>")
            return
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        body = self.rfile.read(int(length))
        self._answer(lambda: self.by_file(query.get("name", ["the picture"])[0], body))

    def log_message(self, *_: object) -> None:
        """Logs nothing."""

    def _answer(self, make: Callable[[], str]) -> None:
        try:
            self._send(200, make())
        except ValueError as error:
            self._send(400, f"<p>{html.escape(str(error))}</p>")

    def _send(self, code: int, text: str) -> None:
        body = text.encode("utf-8", "backslashreplace")
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class SearchServer(http.server.ThreadingHTTPServer):
    """A server on the loopback interface, with a thread per connection and one search at a time.

    Args:
        port: Port; 0 takes any that is free.
        by_file: Function from the name and the content of a file to the section with the similar pictures.
        by_id: Function from the position of a picture in the collections to the section with the similar pictures.

    Raises:
        OSError: if the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, *, by_file: Callable[[str, bytes], str], by_id: Callable[[int], str]) -> None:
        searching = threading.Lock()

        def one_file(name: str, content: bytes) -> str:
            with searching:
                return by_file(name, content)

        def one_id(position: int) -> str:
            with searching:
                return by_id(position)

        functions = {"by_file": staticmethod(one_file), "by_id": staticmethod(one_id)}
        super().__init__(("localhost", port), type("_BoundHandler", (_Handler,), functions))
