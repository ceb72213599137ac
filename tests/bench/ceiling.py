"""C and D: what this machine allows, measured without any of our code.

C is the throughput of TLS 1.3 over blocking sockets between two processes, with mutual
certificates and 1 MiB sends.  D is the rate at which three processes together write and fdatasync
fresh 4 MiB files.  Both in MB/s (10^6 bytes).
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

from tests.bench.certificates import BenchCertificates

SEND_BYTES = 1 << 20
FILE_BYTES = 4 << 20


def payload(size_bytes: int) -> bytearray:
    """Return incompressible bytes quickly (never ``os.urandom``: slow on some machines)."""
    block = bytearray(size_bytes)
    state = 0x9E3779B97F4A7C15
    words = memoryview(block).cast("Q") if size_bytes % 8 == 0 else None
    seed = b"".join(
        ((state * (i + 1) * 0xBF58476D1CE4E5B9) & (1 << 64) - 1).to_bytes(8, "little")
        for i in range(8192)
    )
    for start in range(0, size_bytes, len(seed)):
        block[start : start + len(seed)] = seed[: size_bytes - start]
    if words is not None:  # make each 64 KiB block differ
        for index in range(0, len(words), 8192):
            words[index] = (words[index] + index) & (1 << 64) - 1
    return block


def tls_context(certificates: BenchCertificates, *, server: bool) -> ssl.SSLContext:
    """Return the context of one end: TLS 1.3, and both show a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.certificate, certificates.key)
    context.load_verify_locations(certificates.authority)
    return context


def _serve_sink(certificates: BenchCertificates, pipe: Connection) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    pipe.send(listener.getsockname()[1])
    raw, _ = listener.accept()
    with tls_context(certificates, server=True).wrap_socket(raw, server_side=True) as tls:
        buffer = bytearray(SEND_BYTES)
        received = 0
        while count := tls.recv_into(buffer):
            received += count
        pipe.send(received)


def measure_tls(certificates: BenchCertificates, total_bytes: int) -> float:
    """Return C in MB/s for one stream of ``total_bytes``."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve_sink, args=(certificates, theirs), daemon=True)
    server.start()
    data = payload(SEND_BYTES)
    raw = socket.create_connection(("127.0.0.1", ours.recv()), timeout=30)
    with tls_context(certificates, server=False).wrap_socket(raw) as tls:
        tls.sendall(data)  # the first records carry the handshake's cost
        begin = time.perf_counter()
        for _ in range(total_bytes // SEND_BYTES):
            tls.sendall(data)
        tls.shutdown(socket.SHUT_WR)
        received = ours.recv()
        elapsed_s = time.perf_counter() - begin
    server.join(10)
    assert received == (total_bytes // SEND_BYTES + 1) * SEND_BYTES
    return total_bytes / elapsed_s / 1e6


def _write_files(directory: str, count: int, pipe: Connection) -> None:
    data = payload(FILE_BYTES)
    pipe.send("ready")
    pipe.recv()
    for index in range(count):
        fd = os.open(
            os.path.join(directory, f"{os.getpid()}-{index}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY
        )
        os.write(fd, data)
        os.fdatasync(fd)
        os.close(fd)
    pipe.send("done")


def measure_disk(directory: Path, files_each: int) -> float:
    """Return D in MB/s: three processes writing and flushing fresh 4 MiB files."""
    context = multiprocessing.get_context("spawn")
    directory.mkdir(parents=True, exist_ok=True)
    pipes = []
    for _ in range(3):
        ours, theirs = context.Pipe()
        context.Process(
            target=_write_files, args=(str(directory), files_each, theirs), daemon=True
        ).start()
        assert ours.recv() == "ready"
        pipes.append(ours)
    begin = time.perf_counter()
    for pipe in pipes:
        pipe.send("go")
    for pipe in pipes:
        assert pipe.recv() == "done"
    elapsed_s = time.perf_counter() - begin
    for path in directory.iterdir():
        path.unlink()
    return 3 * files_each * FILE_BYTES / elapsed_s / 1e6


def flush_ms(directory: Path, size_bytes: int, *, rounds: int = 200) -> float:
    """Return the median time to append ``size_bytes`` to a file and fdatasync it, in ms."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "append"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    data = payload(size_bytes)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        os.write(fd, data)
        os.fdatasync(fd)
        times.append(time.perf_counter() - begin)
    os.close(fd)
    path.unlink()
    return statistics.median(times) * 1e3
