#!/usr/bin/env python3
"""The CPU of weir that each key of the traffic policy costs a session, beside a listener without any.

One weir with a listener for each key. One client, one session after the other: connect, its bytes,
their echo, reset. Pairs in one run: the plain listener and the one with the key, the order turned
in every second pair; the first rounds are not counted. Needs a release build (cargo build --release
--workspace --bins), then: python3 benches/policy-cost.py [--sessions N] [--pairs N] [CASE...], with
another program by WEIR=FILE. weir is on core 0, the client and its server on core 1.
"""

import argparse
import os
import pathlib
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WEIR = os.environ.get("WEIR", ROOT / "target/release/weir")
BACKEND = 'b1 = { address = "127.0.0.1:BACKEND" }'
PING = b"ping" * 16
NETWORKS = ", ".join(f'"20.{it >> 8 & 255}.{it & 255}.{(it >> 16) * 2}"' for it in range(100_000))
# PROXY protocol, version 2: a TCP connection over IPv4 from 192.0.2.1:1000 to 192.0.2.2:443.
HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(
    ">H4s4sHH", 12, bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), 1000, 443
)


def hello(file):
    return (ROOT / "engine/core/tests/hellos" / file).read_bytes()


ROUTES = """route = [{ sni = "*.nothing.example", pool = "rest" },
    { sni = "*.example.com", pool = "POOL" }]"""

# What each case sends, its listener's keys, its pool's, and those of its backend.
CASES = {
    "plain": (PING, "", "", BACKEND),
    "plain again": (PING, "", "", BACKEND),
    "deny, 100,000 networks": (PING, f"deny = [{NETWORKS}]", "", BACKEND),
    "max-sessions of the listener": (PING, "max-sessions = 1000", "", BACKEND),
    "rate": (PING, 'rate = "1000000/s"', "", BACKEND),
    "per-source": (PING, 'per-source = { sessions = 1000, rate = "1000000/s" }', "", BACKEND),
    "no-backend hold": (PING, 'no-backend = "hold 5s"', "", BACKEND),
    "no-backend close": (PING, 'no-backend = "close"', "", BACKEND),
    "proxy-protocol in": (PING, 'proxy-protocol = { from = ["127.0.0.0/8"] }', "", BACKEND),
    "max-sessions of the backend": (PING, "", "", BACKEND.replace(" }", ", max-sessions = 1000 }")),
    "connecting": (PING, "", "", BACKEND.replace(" }", ", connecting = 1000 }")),
    "connect-rate": (PING, "", "", BACKEND.replace(" }", ', connect-rate = "100000/s" }')),
    "two priorities": (
        PING, "", "", BACKEND + '\nb2 = { address = "127.0.0.1:BACKEND", priority = 1 }',
    ),
    "proxy-protocol out": (PING, "", 'proxy-protocol = "v2"', BACKEND),
    "source": (PING, "", 'source = "127.0.0.1"', BACKEND),
    "lifetime": (PING, "", 'timeout = { lifetime = "24h" }', BACKEND),
    "redispatch off": (PING, "", 'redispatch = "off"', BACKEND),
    "by name, curl": (hello("curl-7.88.bin"), ROUTES, "", BACKEND),
    "by name, Chromium": (hello("chromium-156-1.bin"), ROUTES, "", BACKEND),
}
# Bytes that a client sends before its payload; the plain listener gets the payload alone.
BEFORE = {"proxy-protocol in": HEADER}


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


def header(heard):
    """How long the PROXY header is that weir has put before what the backend sends back."""
    if not heard.startswith(HEADER[:12]):
        return 0
    return 16 + int.from_bytes(heard[14:16], "big") if len(heard) >= 16 else 16


def sessions(pid, port, count, payload, told=b""):
    """CPU of weir in microseconds a session."""
    before = cpu_us(pid)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(told + payload)
            heard = b""
            while len(heard) < len(payload) + header(heard):
                part = client.recv(65536)
                if not part:
                    raise SystemExit(f"port {port}: {len(heard)} bytes came back")
                heard += part
            if heard[header(heard) :] != payload:
                raise SystemExit(f"port {port}: other bytes came back")
    return (cpu_us(pid) - before) / count


def config(ports, backend, folder):
    text = f'[weir]\nshards = 1\ncontrol = "{folder}/control.sock"\nstate = "{folder}/state"\n'
    text += '[pool.rest]\nhealth = { kind = "none" }\n'
    for number, (name, port) in enumerate(ports.items()):
        _, listener, pool, members = CASES[name]
        text += f'[listener.l{number}]\nbind = "127.0.0.1:{port}"\npool = "p{number}"\n'
        text += listener.replace("POOL", f"p{number}") + "\n"
        text += f'[pool.p{number}]\nhealth = {{ kind = "none" }}\n{pool}\n'
        text += f"[pool.p{number}.backend]\n{members.replace('BACKEND', str(backend))}\n"
    return text


def measure(pid, ports, pairs, count):
    for name in list(ports)[1:]:
        payload = CASES[name][0]
        told = BEFORE.get(name, b"")
        plain = lambda: sessions(pid, ports["plain"], count, payload)
        keyed = lambda: sessions(pid, ports[name], count, payload, told)
        plain(), keyed()
        more, base = [], []
        for pair in range(pairs):
            if pair % 2:
                without, with_key = plain(), keyed()
            else:
                with_key, without = keyed(), plain()
            base.append(without)
            more.append(with_key - without)
        low, middle, high = statistics.quantiles(more, n=4)
        print(
            f"{name:30} plain {statistics.median(base):6.1f} us, more {middle:6.2f} us"
            f" (quartiles {low:.2f} to {high:.2f}; {pairs} pairs of {count} sessions)",
            flush=True,
        )


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--sessions", type=int, default=2000)
    words.add_argument("--pairs", type=int, default=8)
    words.add_argument("case", nargs="*", choices=[[], *CASES])
    asked = words.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = os.fork()
    if server == 0:
        os.sched_setaffinity(0, {1})
        echo(listener)
    ports = {name: free() for name in CASES if name == "plain" or name in (asked.case or CASES)}
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "weir.toml"
        file.write_text(config(ports, listener.getsockname()[1], folder))
        weir = subprocess.Popen([WEIR, "run", "-c", file], stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", ports["plain"])) == 0:
                        break
                time.sleep(0.05)
            for thread in threads(weir.pid):
                os.sched_setaffinity(int(thread), {0})
            os.sched_setaffinity(0, {1})
            measure(weir.pid, ports, asked.pairs, asked.sessions)
        finally:
            weir.kill()
            weir.wait()
            os.kill(server, signal.SIGKILL)


main()
