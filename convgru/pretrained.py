"""Trained weights that come with the package, by name.

Owns the folder ``convgru/weights``: one ``NAME.safetensors`` a model, and ``SHA256SUMS``, which
says which models there are and what their files must be (``sha256sum -c`` reads it).
"""

from __future__ import annotations

from pathlib import Path

from squall.convgru.checkpoint import WEIGHTS_SUFFIX, CheckpointError
from squall.convgru.digests import sha256_of

FOLDER = Path(__file__).parent / "weights"
DIGESTS = "SHA256SUMS"


class UnknownModelError(ValueError):
    """Neither a file nor the name of a packaged model."""


def packaged_models(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the models in a folder of weights, in alphabetical order."""
    return tuple(sorted(name.removesuffix(WEIGHTS_SUFFIX) for name in _digests(folder)))


def find_model(model: str, folder: Path = FOLDER) -> Path:
    """The file of a model: a path where there is such a file, else a packaged model's name.

    Parameters
    ----------
    model : like ``runs/knmi/best.ckpt`` or ``squall-base``. A file of that path comes first;
        ``./squall-base`` can be nothing but a path.
    folder : with the packaged weights.

    Raises
    ------
    UnknownModelError
        If it is neither.
    CheckpointError
        If a packaged file is missing or is not what ``SHA256SUMS`` says.
    """
    path = Path(model)
    if path.is_file():
        return path
    expected = _digests(folder).get(f"{model}{WEIGHTS_SUFFIX}")
    if expected is None:
        names = ", ".join(packaged_models(folder)) or "none in this installation"
        raise UnknownModelError(
            f"{model}: neither a file nor a packaged model; give a checkpoint of `squall train`, "
            f"or the name of a packaged model ({names})"
        )
    packaged = folder / f"{model}{WEIGHTS_SUFFIX}"
    if not packaged.is_file():
        raise CheckpointError(f"{packaged}: is missing from the installation; install Squall again")
    found = sha256_of(packaged)
    if found != expected:
        raise CheckpointError(
            f"{packaged}: has SHA-256 {found}, {DIGESTS} says {expected}; the file is damaged or "
            "was exchanged; install Squall again"
        )
    return packaged


def record_digest(path: Path) -> str:
    """Enter a file of weights in ``SHA256SUMS`` beside it, in place of an earlier entry.

    Returns
    -------
    Its SHA-256, hexadecimal.
    """
    digests = _digests(path.parent) | {path.name: sha256_of(path)}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    (path.parent / DIGESTS).write_text("".join(lines), encoding="utf-8")
    return digests[path.name]


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file name; a folder without the file of digests has no models."""
    try:
        lines = (folder / DIGESTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, name in (line.split() for line in lines if line.strip())}
