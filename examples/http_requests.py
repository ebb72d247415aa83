"""Ask a server for many things at once, and compute beside it.

The server is one of this program's own. Threads make the requests, at most eight at
once; processes work on what they bring.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from entangle.http import StatusError, request
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread


class Weather(BaseHTTPRequestHandler):
    """Answers with the temperatures of a station; every tenth time it is too busy."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        """Answer a request."""
        Weather.asked += 1
        station = self.path.rpartition("/")[2]
        status = 200 if station.isdigit() else 404
        if Weather.asked % 10 == 0:
            status = 503
        values = [len(station) * hour % 30 for hour in range(24)]
        body = json.dumps({"station": station, "values": values}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as there
        """Print nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Weather)
server.daemon_threads = True
URL = f"http://127.0.0.1:{server.server_port}"


@thread(limit=8)
@request(url=URL + "/stations/{number}", retries=5)
def temperatures(data: dict[str, Any]) -> list[int]:
    """Give the values of a station."""
    return list(data["values"])


@process
def warmest(values: list[int]) -> int:
    """Look for the highest one."""
    return max(values)


if __name__ == "__main__":
    threading.Thread(target=server.serve_forever, daemon=True).start()
    nodes = [warmest(temperatures(number)) for number in range(40)]
    found = gather(*nodes)()
    print(f"{len(found)} stations, at most {max(found)} degrees")
    try:
        temperatures("nowhere")()
    except StatusError as error:
        print(f"{error.method} {error.url.removeprefix(URL)}: {error.status}")
    server.shutdown()
    server.server_close()
