"""Files on an SFTP server: `<folder>/<activation>/<run>/`, each uploaded as `.part`, then renamed, the manifest last.

The server's key is pinned in the settings; a server with another key gets neither password nor data.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hmac
import io
import logging
import posixpath
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import paramiko
from pydantic import Field, field_validator, model_validator

from orchestration.destinations.errors import (
    ConfigurationError,
    DestinationError,
    Halted,
    NotSent,
    OutcomeUnknown,
    PermissionDenied,
)
from orchestration.destinations.file_stores import (
    Collector,
    FileDestination,
    FileSettings,
    TableCollector,
)
from orchestration.destinations.protocol import RunInfo
from orchestration.destinations.record_files import MANIFEST
from orchestration.destinations.registry import Surroundings
from orchestration.destinations.secrets import SecretSource

_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_KEY_CLASSES = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)

logging.getLogger("paramiko").setLevel(logging.WARNING)


class SftpSettings(FileSettings):
    """`host_key` is the server's public key as in known_hosts: `ssh-ed25519 AAAA…` (see `ssh-keyscan HOST`)."""

    host: str = Field(min_length=1)
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(min_length=1)
    host_key: str
    password: SecretSource | None = None
    private_key: SecretSource | None = None
    folder: str = "jingxi"
    timeout_seconds: float = Field(default=30.0, gt=0)

    @field_validator("host_key")
    @classmethod
    def _key(cls, text: str) -> str:
        parts = text.split()
        with contextlib.suppress(binascii.Error, ValueError, IndexError):
            if base64.b64decode(parts[1], validate=True)[4:].startswith(parts[0].encode()):
                return f"{parts[0]} {parts[1]}"
        raise ValueError("must be a public key as in known_hosts: `ssh-ed25519 AAAA…`")

    @field_validator("folder")
    @classmethod
    def _folder(cls, text: str) -> str:
        if ".." in text.split("/") or any(ord(sign) < 0x20 for sign in text) or not text.strip("/"):
            raise ValueError("must be a folder's path without `..`")
        return text.rstrip("/")

    @model_validator(mode="after")
    def _one_way_in(self) -> SftpSettings:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("name either password or private_key")
        return self


class SftpFiles(FileDestination):
    """Destination of kind `sftp`."""

    Settings = SftpSettings

    def __init__(self, name: str, settings: SftpSettings, surroundings: Surroundings) -> None:
        super().__init__(name, surroundings.home, lambda: SftpStore(settings))
        self._settings = settings

    def collector(self, run: RunInfo, work: Path) -> Collector:
        """A table in the declared formats."""
        return TableCollector(run, self._settings.formats, work)


class SftpStore:
    """A folder of an SFTP server."""

    def __init__(self, settings: SftpSettings) -> None:
        self._settings = settings
        self._transport: paramiko.Transport | None = None

    def check(self) -> None:
        """See that the server lets this user into the folder. Raises DestinationError."""
        self._call(lambda sftp: _make_folders(sftp, self._settings.folder))

    def put(self, folder: Sequence[str], files_: Sequence[Path]) -> None:
        """Upload the files, in order; nothing when they are there already. Raises DestinationError."""
        self._call(lambda sftp: self._put(sftp, posixpath.join(self._settings.folder, *folder), files_))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _put(self, sftp: paramiko.SFTPClient, target: str, parts: Sequence[Path]) -> None:
        _make_folders(sftp, target)
        if all(_size(sftp, posixpath.join(target, own.name)) == own.stat().st_size for own in parts):
            # The manifest holds the other files' hashes.
            note = next(own for own in parts if own.name == MANIFEST)
            with sftp.open(posixpath.join(target, MANIFEST), "rb") as there:
                if there.read() == note.read_bytes():
                    return
        _remove(sftp, posixpath.join(target, MANIFEST))
        for own in parts:
            final = posixpath.join(target, own.name)
            part = final + ".part"
            _remove(sftp, part)
            with own.open("rb") as source:
                sent = sftp.putfo(source, part, confirm=False).st_size or own.stat().st_size
            if _size(sftp, part) != own.stat().st_size or sent < 0:
                raise OutcomeUnknown("upload_incomplete")
            with contextlib.suppress(OSError):  # some servers do not let it be changed
                sftp.chmod(part, 0o600)
            try:
                sftp.posix_rename(part, final)
            except OSError:  # servers without that extension do not rename over a file
                _remove(sftp, final)
                sftp.rename(part, final)

    def _call(self, do: Callable[[paramiko.SFTPClient], None]) -> None:
        failure: DestinationError
        try:
            sftp = self._open()
            try:
                do(sftp)
            finally:
                with contextlib.suppress(Exception):
                    sftp.close()
        except DestinationError:
            raise
        except PermissionError:
            failure = PermissionDenied(
                "folder_not_writable", "The server's folder may not be written by this user."
            )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                failure = Halted("server_full", "The server's disk is full.")
            else:
                failure = OutcomeUnknown("connection_broken")
        except (paramiko.SSHException, EOFError):
            failure = OutcomeUnknown("connection_broken")
        else:
            return
        raise failure

    def _open(self) -> paramiko.SFTPClient:
        if self._transport is None or not self._transport.is_active():
            self._transport = _connect(self._settings)
        sftp = paramiko.SFTPClient.from_transport(self._transport)
        if sftp is None:
            raise PermissionDenied("no_sftp", "The server offers no SFTP to this user.")
        channel = sftp.get_channel()
        if channel is not None:
            channel.settimeout(self._settings.timeout_seconds)
        return sftp


def _connect(settings: SftpSettings) -> paramiko.Transport:
    """A transport whose server has the pinned key, with the user let in. Raises DestinationError."""
    secret = settings.password.read() if settings.password else None
    own_key = _private_key(settings.private_key.read()) if settings.private_key else None
    failure: DestinationError
    transport: paramiko.Transport | None = None
    try:
        connection = socket.create_connection(
            (settings.host, settings.port), timeout=settings.timeout_seconds
        )
    except OSError:
        failure = NotSent("no_connection", "The SFTP server could not be reached.")
    else:
        try:
            transport = paramiko.Transport(connection)
            transport.banner_timeout = transport.auth_timeout = settings.timeout_seconds
            name, _, body = settings.host_key.partition(" ")
            transport.get_security_options().key_types = _RSA if name == "ssh-rsa" else (name,)
            transport.start_client(timeout=settings.timeout_seconds)
            shown = transport.get_remote_server_key().asbytes()
            if not hmac.compare_digest(shown, base64.b64decode(body)):
                failure = PermissionDenied("host_key_differs", "The server's key is not the pinned host_key.")
            else:
                if own_key is not None:
                    transport.auth_publickey(settings.user, own_key)
                else:
                    transport.auth_password(settings.user, secret or "")
                return transport
        except paramiko.AuthenticationException:
            failure = PermissionDenied("login_refused", "The SFTP server refuses user and password or key.")
        except paramiko.ssh_exception.IncompatiblePeer:
            failure = PermissionDenied(
                "host_key_differs", "The server has no key of the pinned host_key's kind."
            )
        except (paramiko.SSHException, OSError, EOFError, ValueError):
            failure = NotSent("no_connection", "The SFTP server broke off the greeting.")
    if transport is not None:
        transport.close()
    raise failure


def _private_key(text: str) -> paramiko.PKey:
    for own in _KEY_CLASSES:
        with contextlib.suppress(Exception):
            return own.from_private_key(io.StringIO(text + "\n"))
    raise ConfigurationError(
        "private_key_unreadable", "private_key holds no OpenSSH key without a passphrase."
    )


def _make_folders(sftp: paramiko.SFTPClient, path: str) -> None:
    place = "/" if path.startswith("/") else ""
    for part in path.strip("/").split("/"):
        place = posixpath.join(place, part)
        try:
            sftp.mkdir(place, 0o700)
        except OSError:
            mode = sftp.stat(place).st_mode
            if mode is not None and not stat.S_ISDIR(mode):
                raise ConfigurationError(
                    "folder_is_a_file", "A part of the server's folder is a file."
                ) from None


def _size(sftp: paramiko.SFTPClient, path: str) -> int | None:
    try:
        return sftp.stat(path).st_size
    except OSError:
        return None


def _remove(sftp: paramiko.SFTPClient, path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        sftp.remove(path)
