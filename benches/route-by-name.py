#!/usr/bin/env python3
"""The CPU of weir that a route by server name costs a session, beside a listener without routes.

One client, one session after the other: connect, a ClientHello, its echo, reset. Pairs in one run, the
order turned in every second one. Needs a release build: cargo build --release --workspace --bins, then
python3 benches/route-by-name.py [SESSIONS] [PAIRS], with another program by WEIR=FILE. weir is on core 0, the
client and its server on core 1.
"""

import os
import pathlib
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEIR = os.environ.get("WEIR", ROOT / "target/release/weir")
HELLOS = {"curl": "curl-7.88.bin", "chromium": "chromium-156-1.bin"}
SESSIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
PAIRS = int(sys.argv[2]) if len(sys.argv) > 2 else 6
CONFIG = """
[weir]
shards = 1
control = "{dir}/control.sock"
state = "{dir}/state"

[listener.plain]
bind = "127.0.0.1:{plain}"
pool = "named"

[listener.routed]
bind = "127.0.0.1:{routed}"
pool = "rest"
route = [{{ sni = "*.nothing.example", pool = "rest" }}, {{ sni = "*.example.com", pool = "named" }}]

[pool.named]
health = {{ kind = "none" }}

[pool.named.backend]
b1 = {{ address = "127.0.0.1:{backend}" }}

[pool.rest]
health = {{ kind = "none" }}
"""


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def echo(listener):
    """Sends back what comes, until it is ended."""
    waiting = selectors.DefaultSelector()
    listener.setblocking(False)
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                peer, _ = listener.accept()
                peer.setblocking(False)
                waiting.register(peer, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(65536)
            except OSError:
                data = b""
            if data:
                key.fileobj.send(data)
            else:
                waiting.unregister(key.fileobj)
                key.fileobj.close()


def threads(pid):
    return os.listdir(f"/proc/{pid}/task")


def cpu_us(pid):
    stats = (pathlib.Path(f"/proc/{pid}/task/{it}/schedstat").read_text() for it in threads(pid))
    return sum(int(text.split()[0]) for text in stats) / 1000


def sessions(pid, port, hello):
    """CPU in microseconds a session."""
    before = cpu_us(pid)
    for _ in range(SESSIONS):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(hello)
            heard = b""
            while len(heard) < len(hello):
                part = client.recv(65536)
                if not part:
                    raise SystemExit(f"port {port}: {len(heard)} of {len(hello)} bytes came back")
                heard += part
            if heard != hello:
                raise SystemExit(f"port {port}: other bytes came back")
    return (cpu_us(pid) - before) / SESSIONS


def measure(pid, plain, routed):
    for name, file in HELLOS.items():
        hello = (ROOT / "engine/core/tests/hellos" / file).read_bytes()
        more = []
        for port in (plain, routed):
            sessions(pid, port, hello)
        for pair in range(PAIRS):
            order = (plain, routed) if pair % 2 else (routed, plain)
            cost = {port: sessions(pid, port, hello) for port in order}
            more.append(cost[routed] - cost[plain])
            text = f"plain {cost[plain]:.1f}, by name {cost[routed]:.1f}, more {more[-1]:.1f}"
            print(f"{pair + 1} {name} ({len(hello)} bytes): {text}", flush=True)
        print(f"median {name}: {statistics.median(more):.1f} us more a session", flush=True)


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = os.fork()
    if server == 0:
        os.sched_setaffinity(0, {1})
        echo(listener)
    plain, routed = free(), free()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "weir.toml"
        ports = {"plain": plain, "routed": routed, "backend": listener.getsockname()[1]}
        config.write_text(CONFIG.format(dir=folder, **ports))
        with open(os.devnull, "w") as null:
            weir = subprocess.Popen([WEIR, "run", "-c", config], stderr=null)
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", plain)) == 0:
                        break
                time.sleep(0.05)
            for thread in threads(weir.pid):
                os.sched_setaffinity(int(thread), {0})
            os.sched_setaffinity(0, {1})
            measure(weir.pid, plain, routed)
        finally:
            weir.kill()
            weir.wait()
            os.kill(server, signal.SIGKILL)


main()
