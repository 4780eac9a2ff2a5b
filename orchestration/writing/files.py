"""Files that are whole or not there: write beside the target, flush, rename, flush the folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def flush_file(file: Path) -> None:
    """Wait until the bytes of `file` are on the disk. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Wait until renames and removals in `folder` are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def switch(part: Path, target: Path) -> None:
    """Put the finished `part` in the place of `target`, in one step that survives a power cut."""
    flush_file(part)
    part.replace(target)
    flush_folder(target.parent)


def write_json(target: Path, value: Any, *, mode: int = 0o644) -> None:
    """Replace `target` by `value` as indented JSON, as a whole. Raises OSError."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    switch(part, target)


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in `file`; None when the file is missing or holds no JSON object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_intact(file: Path, size_bytes: int, digest: str) -> bool:
    """Whether `file` is there with this size and SHA-256."""
    try:
        return file.stat().st_size == size_bytes and sha256(file) == digest
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a file or a folder with everything in it; nothing happens when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
