"""The private names of PyTorch that this room uses, each in one function.

``tests/convgru/test_torch_internals.py`` tests each function, so that an upgrade of PyTorch shows
which name has changed.
"""

from collections.abc import Callable
from typing import Any

from torch import nn


def compiled_call(module: nn.Module) -> Callable[..., Any] | None:
    """What ``module(...)`` calls after ``module.compile()``; None if it is not compiled.

    PyTorch leaves it out of copies and saved modules.
    """
    return module._compiled_call_impl


def set_compiled_call(module: nn.Module, call: Callable[..., Any] | None) -> None:
    """Let ``module(...)`` call ``call``; with None, the module's own forward pass."""
    module._compiled_call_impl = call
