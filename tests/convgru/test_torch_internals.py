"""The private names of PyTorch: if one of these fails after an upgrade, see torch_internals.py."""

import copy

import pytest
import torch

from squall.convgru.torch_internals import compiled_call, set_compiled_call


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # in torch itself
def test_compile_sets_the_compiled_call() -> None:
    layer = torch.nn.Linear(2, 2)
    assert compiled_call(layer) is None
    layer.compile()
    assert callable(compiled_call(layer))


def test_a_module_calls_what_was_set_and_a_copy_does_not() -> None:
    layer = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2)
    expected = layer(x)
    set_compiled_call(layer, lambda x: "compiled")
    assert layer(x) == "compiled"
    copied = copy.deepcopy(layer)
    assert compiled_call(copied) is None
    assert torch.equal(copied(x), expected)
    set_compiled_call(layer, None)
    assert torch.equal(layer(x), expected)
