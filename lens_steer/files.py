"""Files and folders that a run writes: one writer, every file whole, nothing left behind."""

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_LOCK = ".lens_steer.lock"
_PREFIX = ".writing-"
_UNFINISHED = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")  # as tempfile names folders
_OWNER = ".lock"  # in an unfinished folder: locked as long as the process that writes there lives
_GRACE = 10.0  # seconds
_TRIES = 20
_LEAST = 2**20  # bytes that must fit before a run begins
_WRITTEN = (".csv", ".json", ".jsonl", ".png", ".safetensors")


class UnwritableError(OSError, ValueError):
    """A file or folder that cannot be written, in one line that says what to do."""


def json_value(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: If it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: If it cannot be read, or is not JSON in UTF-8.
    """
    try:
        return json_value(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): is it whole?") from error


def write_whole(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `target`, then move it there.

    What processes that were killed have left of such files in that folder is removed.

    Raises:
        ValueError: If the folder does not exist; or, an OSError too, if the file cannot be written
            (the disk is full, it may not be written to, a folder is in the way): an older file is
            then left as it is.
    """
    if not os.path.isdir(target.parent):
        raise ValueError(
            f"no folder {str(target.parent)!r} to write {target.name!r} in: make it first"
        )
    try:
        with _unfinished(target.parent) as folder:
            complete = folder / target.name
            write(complete)
            os.replace(complete, target)
    except OSError as error:
        raise UnwritableError(
            f"cannot write {str(target)!r} ({error.strerror or error}): make room or permit it, or "
            "choose another place"
        ) from error


@contextmanager
def writing_in(out: Path) -> Iterator[None]:
    """Make a folder, and be the only process that writes there until the block ends.

    The operating system holds the lock and drops it when the process ends, however that happens. If
    the block writes nothing, folders that were made for it are removed.

    Raises:
        ValueError: If the folder cannot be made or written to, has less than 1 MiB of room, has a
            folder where a file is to be written, or another process is writing in it.
    """
    made = [path for path in (out, *out.parents) if not os.path.isdir(path)]
    make_folder(out)
    try:
        _check_writable(out)
        lock = _locked(out)
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open
                (out / _LOCK).unlink()
            lock.release()
    finally:
        with suppress(OSError):  # a folder that is not empty stays, and those that it lies in
            for folder in made:
                folder.rmdir()


def check_folder(out: Path) -> None:
    """Raise a ValueError if something else is where the folder, or one it lies in, would be."""
    # Those of os.path answer False, and raise nothing, for a name that is too long.
    paths = (out, *out.parents)
    blocked = [path for path in paths if os.path.lexists(path) and not os.path.isdir(path)]
    if blocked:
        what = "a file" if os.path.isfile(blocked[0]) else "no folder"
        raise ValueError(f"cannot make the folder {str(out)!r}: {blocked[0]} is {what}")


def make_folder(out: Path) -> None:
    """Make a folder, and those it lies in; remove what killed processes left unfinished in it.

    Raises:
        ValueError: If it cannot be made.
    """
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot make the folder {str(out)!r} ({error.strerror}): choose another one"
        ) from error
    _remove_abandoned(out)


def _locked(out: Path) -> FileLock:
    lock = FileLock(out / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(
            f"another process is writing in {str(out)!r}: wait until it ends, or choose another "
            "folder"
        ) from error
    except OSError as error:
        raise ValueError(
            f"cannot write in the folder {str(out)!r} ({error.strerror or error}): choose another "
            "one"
        ) from error
    return lock


def _check_writable(out: Path) -> None:
    blocked = [place for place in out.iterdir() if place.suffix in _WRITTEN and place.is_dir()]
    if blocked:
        raise ValueError(
            f"{str(blocked[0])!r} is a folder where a file is to be: choose another --out"
        )
    try:
        with _unfinished(out) as folder, (folder / "room").open("wb") as file:
            file.write(bytes(_LEAST))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(
            f"cannot write 1 MiB in the folder {str(out)!r} ({error.strerror or error}): make room "
            "or permit it, or choose another one"
        ) from error


@contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    """A folder for a file that is being written; others see that its process lives."""
    _remove_abandoned(parent)
    folder, owner = _begun(parent)
    try:
        yield folder
    finally:
        _remove(folder, owner)


def _begun(parent: Path) -> tuple[Path, FileLock]:
    """A new folder and its lock, held."""
    for _ in range(_TRIES):
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
        owner = FileLock(folder / _OWNER)
        try:
            owner.acquire(blocking=False)
        except (Timeout, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            continue  # another process came between folder and lock, and took it for abandoned
        if os.path.exists(folder / _OWNER):
            return folder, owner
        owner.release()
    raise OSError(errno.EAGAIN, "temporary folders are removed by something else", str(parent))


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        # Its process lives, has just removed it, or it may not be removed: it is left alone.
        with suppress(Timeout, OSError):
            if _UNFINISHED.fullmatch(folder.name) and _is_ours(folder):
                owner = FileLock(folder / _OWNER)
                owner.acquire(blocking=False)
                _remove(folder, owner)


def _remove(folder: Path, owner: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    owner.release()
    if os.path.isdir(folder):  # Windows removes no file that is open
        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether it looks so, and its process has had the time to lock it.

    It holds at most its lock and the file that was being written; the lock was there first.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    held = list(folder.iterdir())
    if not held:
        return time.time() - folder.stat().st_mtime > _GRACE
    files = [place for place in held if place.name != _OWNER]
    return len(files) <= 1 and all(place.is_file() for place in files)
