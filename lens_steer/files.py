"""Files and folders that a run writes: by one process, every file whole, nothing left behind."""

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
_GRACE = 10.0  # seconds that a process has to lock a folder it has made
_TRIES = 20  # to make such a folder
_ROOM = 2**20  # bytes that have to fit before a run begins
_WRITTEN = (".csv", ".json", ".jsonl", ".png", ".safetensors")


class UnwritableError(OSError, ValueError):
    """A file or folder cannot be written; the message is one line that says what to do."""


def json_value(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Raises:
        ValueError: If it is not JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_file(path: Path) -> Any:
    """The value in a JSON file.

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
    """Write a file whole or not at all: into a temporary file beside it, which is then moved.

    Temporary files that killed processes left in that folder are removed.

    Args:
        target: The file to write.
        write: Writes the file, when called with the path of the temporary one.

    Raises:
        ValueError: If the folder does not exist; or, an OSError too, if the file cannot be written
            (the disk is full, it may not be written to, a folder is in the way): an older file is
            then left as it is.

    Example:
        >>> write_whole(Path("notes.txt"), lambda path: path.write_text("hello"))
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
    """Make a folder, and keep other processes from writing there until the block ends.

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
        with suppress(OSError):  # a folder that is not empty stays, and so do its parents
            for folder in made:
                folder.rmdir()


def check_folder(out: Path) -> None:
    """Raise a ValueError if something else is in the place of a folder, or of a parent of it."""
    # The functions of os.path return False, and raise nothing, for a name that is too long.
    paths = (out, *out.parents)
    blocked = [path for path in paths if os.path.lexists(path) and not os.path.isdir(path)]
    if blocked:
        what = "a file" if os.path.isfile(blocked[0]) else "no folder"
        raise ValueError(
            f"cannot make the folder {str(out)!r}: {blocked[0]} is {what}, expected a folder "
            "there, or nothing"
        )


def make_folder(out: Path) -> None:
    """Make a folder and its parents; remove what killed processes left unfinished in it.

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
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(
            f"cannot write 1 MiB in the folder {str(out)!r} ({error.strerror or error}): make room "
            "or permit it, or choose another one"
        ) from error


@contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    """A temporary folder for a file that is being written, locked while its process lives."""
    _remove_abandoned(parent)
    folder, owner = _locked_folder(parent)
    try:
        yield folder
    finally:
        _remove(folder, owner)


def _locked_folder(parent: Path) -> tuple[Path, FileLock]:
    """A new temporary folder, and its lock, which is held."""
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
        # Left alone if its process lives or has just removed it, or if it may not be removed.
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
    """Whether a folder is a temporary one of this module, whose process had time to lock it.

    Such a folder holds at most its lock and the file being written; the lock was there first.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    held = list(folder.iterdir())
    if not held:
        return time.time() - folder.stat().st_mtime > _GRACE
    files = [place for place in held if place.name != _OWNER]
    return len(files) <= 1 and all(place.is_file() for place in files)
