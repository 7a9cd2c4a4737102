"""Trained weights that are in the package, by name.

Owns the folder ``convgru/weights``: one file ``NAME.safetensors`` for each model, and
``SHA256SUMS``, which lists the models with the digests of their files (``sha256sum -c`` reads it).
"""

from __future__ import annotations

from pathlib import Path

from squall.convgru.checkpoint import WEIGHTS_SUFFIX, CheckpointError
from squall.convgru.digests import sha256_of

FOLDER = Path(__file__).parent / "weights"
DIGESTS = "SHA256SUMS"


class UnknownModelError(ValueError):
    """A model is neither a file nor the name of a packaged model."""


def packaged_models(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the models in a folder of weights, in alphabetical order."""
    return tuple(sorted(name.removesuffix(WEIGHTS_SUFFIX) for name in _digests(folder)))


def find_model(model: str, folder: Path = FOLDER) -> Path:
    """The file of a model, which is given by its path or by the name of a packaged model.

    Parameters
    ----------
    model : like ``runs/knmi/best.ckpt`` or ``squall-base``. If such a file exists, it is used;
        ``./squall-base`` is always a path.
    folder : with the packaged weights.

    Raises
    ------
    UnknownModelError
        If it is neither a file nor a packaged model.
    CheckpointError
        If a packaged file is missing, or its digest is not that of ``SHA256SUMS``.
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
    digest = sha256_of(packaged)
    if digest != expected:
        raise CheckpointError(
            f"{packaged}: has SHA-256 {digest}, {DIGESTS} says {expected}; the file is damaged or "
            "was replaced; install Squall again"
        )
    return packaged


def record_digest(path: Path) -> str:
    """Write the digest of a file of weights to ``SHA256SUMS`` in its folder.

    An earlier entry of the file is replaced.

    Returns
    -------
    SHA-256 of the file, hexadecimal.
    """
    digests = _digests(path.parent) | {path.name: sha256_of(path)}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    (path.parent / DIGESTS).write_text("".join(lines), encoding="utf-8")
    return digests[path.name]


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 by file name; empty if the folder has no ``SHA256SUMS``."""
    try:
        lines = (folder / DIGESTS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, name in (line.split() for line in lines if line.strip())}
