"""The servers that Penstock is measured beside, both from Debian: nginx with nchan, and nats-server's own WebSocket.

Each is set up as its documentation says for what the rows do: no storage of messages, no compression, no TLS, no
access log, as many workers as cores. They listen on 127.0.0.1 and live in one folder.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from stack import HOST, StackError, die_with_parent, free_port, port_is_free, wait_for  # noqa: E402

NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

NGINX_CONF = """
load_module {module};
worker_processes auto;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log crit;
events {{ worker_connections 60000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    nchan_shared_memory_size 256m;
    server {{
        listen {host}:{port} backlog=8192;
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
        location ~ ^/pub/(.+)$ {{
            nchan_publisher websocket; nchan_channel_id $1; nchan_store_messages off;
        }}
    }}
}}
"""

# max_pending: else a subscriber that is 64 MiB behind is cut off, and the row ends.
NATS_CONF = """
listen: "{host}:{plain}"
websocket {{ listen: "{host}:{port}", no_tls: true, compression: false }}
max_pending: 256MB
"""


def descendants(pid):
    """pid and all processes below it."""
    children = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for p in found:
        found += children.get(p, [])
    return found


def cpu_seconds(pid):
    """Of pid and all its descendants, those included that have ended and were waited for."""
    ticks = 0
    for p in descendants(pid):
        try:
            fields = pathlib.Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(f) for f in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


class Peer:
    """One server, running between __enter__ and __exit__."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder) / self.name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o777)  # nginx's workers run as another user
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"

    def __enter__(self):
        with open(self.dir / "log", "ab") as log:
            self.child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          preexec_fn=die_with_parent)
        wait_for(f"{self.name} (log: {self.dir})", self.is_ready)
        return self

    def __exit__(self, *exc):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def is_ready(self):
        if self.child.poll() is not None:
            raise StackError(f"{self.name} ended: {(self.dir / 'log').read_text()}")
        return not port_is_free(self.port)

    def watch(self):
        return f"{self.name}=" + "+".join(map(str, descendants(self.child.pid)))


class Nchan(Peer):
    name = "nchan"

    @staticmethod
    def version():
        nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, env={"PATH": PATH}).stderr
        return f"nginx {nginx.strip().rpartition('/')[2]} with nchan {debian('libnginx-mod-nchan')}"

    @staticmethod
    def there():
        return shutil.which("nginx", path=PATH) and pathlib.Path(NCHAN).exists()

    def command(self):
        conf = self.dir / "nginx.conf"
        conf.write_text(NGINX_CONF.format(module=NCHAN, dir=self.dir, host=HOST, port=self.port))
        return [shutil.which("nginx", path=PATH), "-p", str(self.dir), "-c", str(conf)]


class Nats(Peer):
    name = "nats"

    @staticmethod
    def version():
        return f"nats-server {debian('nats-server')}"

    @staticmethod
    def there():
        return shutil.which("nats-server", path=PATH)

    def command(self):
        conf = self.dir / "nats.conf"
        conf.write_text(NATS_CONF.format(host=HOST, plain=free_port(), port=self.port))
        return [shutil.which("nats-server", path=PATH), "-c", str(conf)]


def debian(package):
    return subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True).stdout


PEERS = [Nchan, Nats]
