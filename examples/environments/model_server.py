"""A model server on this machine, with a stand-in for the model: it adds up, and errs at times."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count


class _Handler(BaseHTTPRequestHandler):
    """Answers chat completions, as engines serve them."""

    protocol_version = "HTTP/1.1"
    requests = count()

    def do_POST(self) -> None:
        """Answers one request; a longer sum goes wrong more often."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        numbers = [int(found) for found in re.findall(r"\d+", body["messages"][-1]["content"])]
        is_wrong = next(self.requests) % 8 < len(numbers)
        message = {"role": "assistant", "content": str(sum(numbers) + is_wrong)}
        answer = {
            "id": "one",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        }
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """Rollouts that may connect at once."""


@contextmanager
def model_server() -> Iterator[str]:
    """Serves the stand-in within the block; gives its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
