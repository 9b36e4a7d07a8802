"""A line of limited speed in front of a server: passes TCP on, so many bytes a second in each direction, all connections together.

    python benchmarks/slow_line.py HOST:PORT RATE

Prints the port it listens on, on loopback, and serves until it is killed. For `s3.py --line`: on loopback the processors are the
limit, on most networks the line is.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

PIECE = 64 * 1024
BUFFER = 256 * 1024
"""Of the kernel, at each end, so that it does not take in seconds of traffic at once."""
BURST_SECONDS = 0.02


class Pace:
    """Lets `rate` bytes a second through, with all threads together."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def pass_on(self, size: int) -> None:
        """Wait for so many bytes to have gone over the line."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() - BURST_SECONDS) + size / self._rate
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def pump(source: socket.socket, target: socket.socket, pace: Pace) -> None:
    """Until the source ends, or either breaks."""
    try:
        while piece := source.recv(PIECE):
            pace.pass_on(len(piece))
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            end.close()


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    up, down = Pace(float(sys.argv[2])), Pace(float(sys.argv[2]))
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((host, int(port)))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for arguments in ((client, server, up), (server, client, down)):
            threading.Thread(target=pump, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
