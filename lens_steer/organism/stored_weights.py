"""The weights that come with the package, checked before they are used."""

import hashlib
import json
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"
HASHES = Path(__file__).parent / "hashes.json"


def weights() -> Path:
    """The folder with the embedded model in the Hugging Face format.

    Raises:
        ValueError: If a file is missing, cut short or altered.
    """
    if not HASHES.is_file():
        raise ValueError(f"no {HASHES}: install lens-steer again")
    check(FOLDER, json.loads(HASHES.read_text(encoding="utf-8")))
    return FOLDER


def check(folder: Path, hashes: dict[str, str]) -> None:
    """Raise a ValueError unless every file of a folder has the expected SHA-256."""
    for name, expected in hashes.items():
        path = folder / name
        actual = sha256(path) if path.is_file() else "no file"
        if actual != expected:
            raise ValueError(
                f"{path} is not the embedded model's: got {actual[:12]}, expected the SHA-256 "
                f"{expected[:12]}...; to get it back, install lens-steer again (or git checkout "
                "the file); a model trained anew is loaded by the name of its folder"
            )


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
