"""Compiling a network, and running it without compilation where the machine cannot compile."""

import logging
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from squall.convgru.torch_internals import compiled_call, set_compiled_call

log = logging.getLogger("squall.compile")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_not_compiled: list[list[Callable[..., Any]]] = []


def not_compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Leave a function out when a network is compiled, like `torch.compiler.disable`.

    That one imports torch's compiler, which takes a second or more at the start of each command;
    this one lets `compile_network` do it.
    """
    target: list[Callable[..., Any]] = [function]
    _not_compiled.append(target)

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        result: Result = target[0](*args, **kwargs)
        return result

    return call


def _leave_out() -> None:
    """Tell torch's compiler which functions are not compiled."""
    while _not_compiled:
        target = _not_compiled.pop()
        target[0] = torch.compiler.disable(target[0])


def compile_network(network: nn.Module) -> None:
    """Compile a network in place with `torch.compile`, at its first calls.

    Names in its state dictionary stay as they are; a copy or a saved network is not compiled.
    Each new shape, number of lead times or mode (training, evaluation) is compiled at its first
    call, which takes minutes for a large network; after 8 of them torch stops compiling. If
    compilation fails (no C++ compiler, a construct that torch does not know), one warning says
    why, and the network runs without it.
    """
    try:
        _leave_out()
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
