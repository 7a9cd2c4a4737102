"""Compiling a network, and running it without compilation where the machine cannot compile."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from squall.convgru.torch_internals import compiled_call, set_compiled_call

log = logging.getLogger("squall.compile")


def compile_network(network: nn.Module) -> None:
    """Compile a network in place with `torch.compile`, at its first calls.

    Names in its state dictionary stay as they are; a copy or a saved network is not compiled.
    Each new shape, number of lead times or mode (training, evaluation) is compiled at its first
    call, which takes minutes for a large network; after 8 of them torch stops compiling. If
    compilation fails (no C++ compiler, a construct that torch does not know), one warning says
    why, and the network runs without it.
    """
    try:
        # Symbolic shapes make channels-last convolutions fail in torch 2.13 (4*s0*s53 < 4).
        network.compile(dynamic=False)
    except Exception as error:
        _warn(error)
        return
    compiled = compiled_call(network)
    assert compiled is not None
    set_compiled_call(network, partial(_call_with_fallback, network, compiled))


def _call_with_fallback(
    network: nn.Module, compiled: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Call the compiled network; if only that fails, drop it and call the network itself."""
    try:
        return compiled(*args, **kwargs)
    except Exception as error:
        # A failure to compile has no type of its own (a missing program, a header, a backend's
        # error), so the network itself must show whether the call was at fault. The traceback
        # would keep the memory of the failed call.
        failure = error.with_traceback(None)
    set_compiled_call(network, None)
    try:
        result = network(*args, **kwargs)
    except BaseException:
        set_compiled_call(network, partial(_call_with_fallback, network, compiled))
        raise
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
