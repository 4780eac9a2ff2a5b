# mypy: disable-error-code="no-any-return,attr-defined,override"
"""An SSH server with SFTP on loopback, over a folder of the test."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface


class _Login(paramiko.ServerInterface):
    def __init__(self, user: str, password: str, key: paramiko.PKey | None) -> None:
        self._user, self._password, self._key = user, password, key

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == (self._user, self._password)
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = username == self._user and key == self._key
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return (
            paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        )

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"


class FakeSftp:
    USER, PASSWORD = "jingxi", "sftp-password-0123456789"

    def __init__(
        self, root: Path, *, client_key: paramiko.PKey | None = None, renames_over: bool = True
    ) -> None:
        self.root = root
        self.host_key = paramiko.ECDSAKey.generate()
        self.connections = 0
        self.logins = 0
        self.visible: list[str] = []
        """Names that appeared by renaming, in order."""
        self.break_after_bytes: int | None = None
        self._client_key = client_key
        self.renames_over = renames_over
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def pinned(self) -> str:
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def __enter__(self) -> FakeSftp:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            transport.set_subsystem_handler("sftp", SFTPServer, _Folder, self)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Login(self.USER, self.PASSWORD, self._client_key))
            except Exception:
                transport.close()


class _Folder(SFTPServerInterface):
    def __init__(self, server: Any, fake: FakeSftp, *_: Any, **__: Any) -> None:
        super().__init__(server)
        self.fake = fake

    def _real(self, path: str) -> Path:
        return self.fake.root / self.canonicalize(path).lstrip("/")

    def list_folder(self, path: str) -> Any:
        return [SFTPAttributes.from_stat(own.stat(), own.name) for own in sorted(self._real(path).iterdir())]

    def stat(self, path: str) -> Any:
        try:
            return SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def mkdir(self, path: str, attr: Any) -> int:
        return self._do(lambda: self._real(path).mkdir())

    def remove(self, path: str) -> int:
        return self._do(lambda: self._real(path).unlink())

    def chattr(self, path: str, attr: Any) -> int:
        return self._do(lambda: self._real(path).chmod(attr.st_mode)) if attr.st_mode else paramiko.SFTP_OK

    def rename(self, oldpath: str, newpath: str) -> int:
        if self._real(newpath).exists():
            return paramiko.SFTP_FAILURE
        return self.posix_rename(oldpath, newpath, over=False)

    def posix_rename(self, oldpath: str, newpath: str, over: bool = True) -> int:
        if over and not self.fake.renames_over:
            return paramiko.SFTP_OP_UNSUPPORTED
        result = self._do(lambda: self._real(oldpath).replace(self._real(newpath)))
        if result == paramiko.SFTP_OK:
            self.fake.visible.append(Path(newpath).name)
        return result

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            descriptor = os.open(self._real(path), flags, 0o600)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        mode = "rb+" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        handle = _Handle(flags)
        handle.fake = self.fake
        handle.readfile = handle.writefile = os.fdopen(descriptor, mode)
        return handle

    def _do(self, act: Any) -> int:
        try:
            act()
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return paramiko.SFTP_OK


class _Handle(SFTPHandle):
    fake: FakeSftp
    written = 0

    def write(self, offset: int, data: bytes) -> int:
        limit = self.fake.break_after_bytes
        if limit is not None and self.written + len(data) > limit:
            for transport in self.fake._transports:
                transport.close()
            return paramiko.SFTP_FAILURE
        self.written += len(data)
        return super().write(offset, data)

    def stat(self) -> Any:
        return SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))
