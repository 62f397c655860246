"""An endpoint of outgoing webhooks, and the hooks that lead to it."""
import base64
import hashlib
import hmac
import http.server
import json
import threading
import time

from stack import http as call


class Receiver:
    """Verifies each request by itself, and answers what it is told to: a status, a delay, headers."""

    def __init__(self):
        self.requests, self.secrets, self.lock = [], [], threading.Lock()
        self.answer = lambda r: (204, {})
        self.hold = threading.Event()
        self.hold.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                r = {"path": self.path, "body": json.loads(body), "id": self.headers["webhook-id"],
                     "at": time.time(), "replay": self.headers["penstock-replay"],
                     "signed": outer.verify(self.headers, body)}
                with outer.lock:
                    outer.requests.append(r)
                if self.path == "/hang":
                    outer.hold.wait(60)
                status, headers = outer.answer(r)
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # whoever asked was killed, or would not wait

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def verify(self, headers, body):
        """How many of the secrets, in their order, have signed it."""
        at = headers["webhook-timestamp"]
        if abs(time.time() - int(at)) > 300:
            return []
        given = headers["webhook-signature"].split(" ")
        text = f"{headers['webhook-id']}.{at}.".encode() + body
        macs = ["v1," + base64.b64encode(hmac.new(base64.b64decode(s.removeprefix("whsec_")), text, hashlib.sha256).digest()).decode()
                for s in self.secrets]
        return [i for i, m in enumerate(macs) if m in given]

    def of(self, path="/"):
        with self.lock:
            return [r for r in self.requests if r["path"] == path]

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()


def control(stack, method, path, body=None):
    return call(method, stack.control_url + "/v1" + path, body, stack.admin_key)


def make(stack, t, receiver, path="/", **more):
    """Retries that a test can wait for."""
    doc = {"direction": "out", "url": receiver.url + path, "channels": ["room.*"], "allow_private": True, "timeout_ms": 2000,
           "retry": {"initial_ms": 20, "max_ms": 100}, **more}
    status, _, doc = control(stack, "POST", f"/tenants/{t.id}/hooks", doc)
    assert status == 201, doc
    receiver.secrets.append(doc["secret"])
    return doc["id"]


def state(stack, t, hook):
    status, _, doc = control(stack, "GET", f"/tenants/{t.id}/hooks/{hook}/status")
    assert status == 200, doc
    return doc
