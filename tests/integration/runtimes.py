"""Node and headless Chromium as places where a test runs pieces of JavaScript: `run(code, **args)` is the body of an
async function and gives its value as JSON. `penstock` is the client module; what a piece puts into globalThis is
there for the next one.

Chromium is spoken to by its DevTools protocol over a pipe, so it listens on no port; it resolves no name and reaches
127.0.0.1 alone.
"""
import base64
import fcntl
import functools
import http.server
import itertools
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIMEOUT = 60
DEBIAN_WS = pathlib.Path("/usr/share/nodejs/ws")


class JsError(Exception):
    """What the code threw."""


class Missing(Exception):
    """The program is not on this machine."""


def node_command():
    """With what it needs to have a WebSocket."""
    node = shutil.which("node") or shutil.which("nodejs")
    if not node:
        raise Missing("there is no node (tools/deps.sh test)")
    text = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    version = tuple(int(n) for n in text.lstrip("v").split(".")[:2])
    if version >= (22, 0):
        return [node]
    if version >= (20, 10):
        return [node, "--experimental-websocket", "--no-warnings"]
    if version >= (18, 0) and DEBIAN_WS.exists():
        return [node]
    raise Missing(f"node {text} has no WebSocket, and Debian's node-ws is not there (tools/deps.sh test)")


class Runtime:
    """One question at a time, answered in order; a thread reads."""

    def __init__(self):
        self._ids = itertools.count(1)
        self._answers = queue.Queue()
        self.stray = []  # errors that nobody caught

    def _wait(self, id, timeout):
        while True:
            try:
                answer = self._answers.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"no answer from {type(self).__name__} within {timeout} s; {self.stray}") from None
            if answer is None:
                raise AssertionError(f"{type(self).__name__} has ended; {self.stray}")
            if answer["id"] == id:
                return answer


class Node(Runtime):
    def __init__(self):
        super().__init__()
        self._process = subprocess.Popen([*node_command(), str(ROOT / "tests/js/driver.mjs")], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            answer = json.loads(line)
            if "stray" in answer:
                self.stray.append(answer["stray"])
            else:
                self._answers.put(answer)
        self._answers.put(None)

    def run(self, code, timeout=TIMEOUT, **args):
        id = next(self._ids)
        self._process.stdin.write(json.dumps({"id": id, "code": code, "args": args}) + "\n")
        self._process.stdin.flush()
        answer = self._wait(id, timeout)
        if "error" in answer:
            raise JsError(answer["error"])
        return answer["value"]

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Files(http.server.SimpleHTTPRequestHandler):
    """The client module and an empty page, from a server that no test kills."""

    extensions_map = {".js": "text/javascript", ".html": "text/html", ".css": "text/css"}

    def do_GET(self):
        if self.path != "/blank.html":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>blank</title>")

    def log_message(self, *args):
        pass


class Browser:
    """One Chromium; page() opens another page in a context of its own: no storage is shared."""

    def __init__(self):
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if not binary:
            raise Missing("there is no chromium (tools/deps.sh test)")
        self._folder = tempfile.mkdtemp(prefix="penstock-chromium-")
        self._pages, self._ids, self._lock = {}, itertools.count(1), threading.Lock()
        self._calls = {}
        self._files = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Files, directory=str(ROOT / "clients/js")))
        threading.Thread(target=self._files.serve_forever, daemon=True).start()
        self.origin = f"http://127.0.0.1:{self._files.server_address[1]}"
        self._start(binary)

    def _start(self, binary):
        down, up = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4; ours must not be in the way.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (down[0], up[1])]

        def arrange():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)
        args = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._folder}", "--no-first-run",
                "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
                "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
                "--disable-renderer-backgrounding", "--hide-scrollbars",
                "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
        if os.geteuid() == 0:
            args.append("--no-sandbox")  # it refuses to run as root with one
        self._log = open(pathlib.Path(self._folder) / "log", "wb")
        self._process = subprocess.Popen([binary, *args, "about:blank"], stdin=subprocess.DEVNULL, stdout=self._log,
                                         stderr=self._log, preexec_fn=arrange, pass_fds=(3, 4), start_new_session=True,
                                         env={**os.environ, "HOME": self._folder})
        for fd in (*theirs, down[0], up[1]):
            os.close(fd)
        self._out, self._in = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while chunk := self._in.read1(1 << 20):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in messages:
                self._message(json.loads(message))
        for call in list(self._calls.values()):
            call.put(None)

    def _message(self, m):
        if "id" in m:
            call = self._calls.pop(m["id"], None)
            if call:
                call.put(m)
            return
        page = self._pages.get(m.get("sessionId"))
        if page:
            page._event(m["method"], m["params"])

    def call(self, method, session=None, timeout=TIMEOUT, **params):
        id, answer = next(self._ids), queue.Queue()
        self._calls[id] = answer
        message = {"id": id, "method": method, "params": params, **({"sessionId": session} if session else {})}
        with self._lock:
            self._out.write(json.dumps(message).encode() + b"\0")
            self._out.flush()
        try:
            got = answer.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"{method}: no answer from chromium within {timeout} s") from None
        if got is None:
            raise AssertionError(f"{method}: chromium has ended")
        if "error" in got:
            raise JsError(f"{method}: {got['error']}")
        return got["result"]

    def page(self, url=None):
        """At url, or empty with the client module loaded."""
        return Page(self, url)

    def close(self):
        os.killpg(self._process.pid, signal.SIGKILL)  # its own group: all of its processes
        self._process.wait()
        self._out.close()
        self._files.shutdown()
        self._files.server_close()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Page:
    def __init__(self, browser, url):
        self.browser, self.stray, self.console = browser, [], []
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._loaded = threading.Event()
        browser._pages[self._session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.go(url or browser.origin + "/blank.html")
        if not url:
            self.run("globalThis.penstock = await import('/penstock.js')")

    def call(self, method, **params):
        return self.browser.call(method, self._session, **params)  # timeout=: how long the answer may take

    def _event(self, method, params):
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.stray.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append((params["type"], [a.get("value", a.get("description")) for a in params["args"]]))
        elif method == "Log.entryAdded":
            self.console.append((params["entry"]["level"], [params["entry"]["text"]]))

    def go(self, url):
        self._loaded.clear()
        answer = self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise JsError(f"{url}: {answer['errorText']}")
        if not self._loaded.wait(TIMEOUT):
            raise AssertionError(f"{url} is not loaded")

    def run(self, code, timeout=TIMEOUT, **args):
        answer = self.call("Runtime.evaluate", expression=f"(async (args) => {{ {code} \n}})({json.dumps(args)})",
                           awaitPromise=True, returnByValue=True, userGesture=True, timeout=timeout)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise JsError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.browser._pages.pop(self._session, None)
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
