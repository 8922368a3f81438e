"""Databases and Redis as plain processes on loopback, gone when the block ends."""

import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Where programs are that Debian keeps out of a user's PATH.
PLACES = ("/usr/sbin", "/usr/local/sbin", *Path("/usr/lib/postgresql").glob("*/bin"))
SECONDS_TO_START = 60


class MissingError(Exception):
    """This machine does not have the program."""


@contextmanager
def postgresql() -> Iterator[dict[str, str]]:
    """A new PostgreSQL; the variables that tests.settings reads."""
    initdb, postgres, pg_isready = map(find, ("initdb", "postgres", "pg_isready"))
    with temporary_folder() as folder:
        port, password = free_port(), secrets.token_hex()
        data, pwfile = folder / "data", folder / "password"
        _write(pwfile, password)
        _run(
            [
                initdb,
                f"--pgdata={data}",
                "--username=tests",
                f"--pwfile={pwfile}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ],
            folder,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
        }
        with running(
            [
                postgres,
                f"-D{data}",
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            folder,
            ready=[pg_isready, "--host=127.0.0.1", f"--port={port}"],
            stop=signal.SIGINT,  # "fast": does not wait for clients
        ):
            yield _database("postgresql", port, password)


@contextmanager
def mariadb() -> Iterator[dict[str, str]]:
    """A new MariaDB; the variables that tests.settings reads."""
    install, mariadbd, admin = map(
        find, ("mariadb-install-db", "mariadbd", "mariadb-admin")
    )
    with temporary_folder() as folder:
        port, password = free_port(), secrets.token_hex()
        data, init_file = folder / "data", folder / "init.sql"
        _write(
            init_file,
            f"CREATE USER tests@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON *.* TO tests@'127.0.0.1';\n",
        )
        _run(
            [
                install,
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ],
            folder,
        )
        with running(
            [
                mariadbd,
                "--no-defaults",
                f"--datadir={data}",
                f"--init-file={init_file}",
                f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}",
                "--bind-address=127.0.0.1",
                f"--port={port}",
                "--skip-name-resolve",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=0",
            ],
            folder,
            ready=[
                admin,
                "--no-defaults",
                "--protocol=tcp",
                "--host=127.0.0.1",
                f"--port={port}",
                "ping",
            ],
        ):
            yield _database("mariadb", port, password)


@contextmanager
def redis() -> Iterator[str]:
    """A new Redis; its URL."""
    server, client = map(find, ("redis-server", "redis-cli"))
    with temporary_folder() as folder:
        port, password = free_port(), secrets.token_hex()
        with running(
            [
                server,
                "--bind",
                "127.0.0.1",
                "--port",
                str(port),
                "--requirepass",
                password,
                "--dir",
                str(folder),
                "--save",
                "",
            ],
            folder,
            ready=[client, "-p", str(port), "ping"],
        ):
            yield f"redis://:{password}@127.0.0.1:{port}/0"


def find(program: str) -> str:
    """Return the program's path, or raise MissingError."""
    places = os.pathsep.join((os.environ.get("PATH", ""), *map(str, PLACES)))
    if found := shutil.which(program, path=places):
        return found
    raise MissingError(f"no program {program}")


def free_port() -> int:
    """Return a port on loopback that nobody has.

    It is none of those that the system gives to whoever asks for any port, which would
    give it to the next one, before the service has started that is to listen there.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _database(name: str, port: int, password: str) -> dict[str, str]:
    return {
        "TEST_DATABASE": name,
        "TEST_DATABASE_HOST": "127.0.0.1",
        "TEST_DATABASE_PORT": str(port),
        "TEST_DATABASE_USER": "tests",
        "TEST_DATABASE_PASSWORD": password,
    }


def identity() -> dict[str, Any]:
    """Databases refuse to run as root: then as nobody, as far as Popen takes it."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="session-attachments-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        hand_over(folder)
        yield folder


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    hand_over(path)


def hand_over(path: Path) -> None:
    if user := identity():
        os.chown(path, user["user"], user["group"])


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **identity(),
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")


@contextmanager
def running(
    command: Sequence[str],
    folder: Path,
    *,
    ready: Sequence[str],
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run `command` until the block ends; enter it once `ready` succeeds."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours: clients go first
            **identity(),
        )
    with process:
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while subprocess.run(ready, capture_output=True, check=False).returncode:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{command[0]} does not start:\n{log.read_text()}"
                    )
                time.sleep(0.1)
            if process.poll() is not None:
                raise RuntimeError(f"another one answers:\n{log.read_text()}")
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
