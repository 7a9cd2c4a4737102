"""Compiling a network, and going on without where the machine cannot."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

log = logging.getLogger("squall.compile")


def compile_network(network: nn.Module) -> None:
    """Compile a network in place with `torch.compile`, at its first calls.

    Names in its state dictionary stay as they are; a copy or a saved network is not compiled.
    Each other shape, number of lead times or mode (training, evaluation) is compiled when it
    first comes, which takes minutes for a large network; after 8 of them torch compiles no more.
    Where compilation fails (no C++ compiler, a construct that it does not know), one warning says
    why and the network runs as it would have without.
    """
    try:
        # Symbolic shapes make channels-last convolutions fail in torch 2.13 (4*s0*s53 < 4).
        network.compile(dynamic=False)
    except Exception as error:
        _warn(error)
        return
    compiled = network._compiled_call_impl
    assert compiled is not None
    network._compiled_call_impl = partial(_call, network, compiled)


def _call(network: nn.Module, compiled: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the compiled network; where only that fails, drop it and call the network itself."""
    try:
        return compiled(*args, **kwargs)
    except Exception as error:
        # A failure to compile has no type of its own (a missing program, a header, a backend's
        # error), so the network itself must show whether the call was at fault.
        failure = error.with_traceback(None)  # which would hold the memory of what has failed
    result = network._call_impl(*args, **kwargs)
    network._compiled_call_impl = None
    _warn(failure)
    return result


def _warn(failure: Exception) -> None:
    reason = str(failure).strip().partition("\n")[0]
    log.warning(
        "the network runs without torch.compile: same results, slower. Compiling failed with %s: "
        "%s. If a C++ compiler (g++) is missing, install it; else switch compiling off",
        type(failure).__name__,
        reason,
    )
