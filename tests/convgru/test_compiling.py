"""Compiled networks: the same results, and training that continues if compiling fails."""

import copy
import shutil

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import fresh_cache

from squall.convgru import ConvGRUCell, EncoderForecaster, NetworkConfig, compile_network
from squall.convgru.torch_internals import compiled_call

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # in torch itself
]
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs g++ on the CPU"
)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch.compiler.reset()


def network(cell: str = "convgru") -> EncoderForecaster:
    torch.manual_seed(3)
    config = {"channels": (4, 6, 8), "strides": (2, 1, 2), "cell": cell}
    net = EncoderForecaster(NetworkConfig.model_validate(config))
    torch.nn.init.normal_(net.head.out.weight, std=0.3)
    return net


def fields(size: int = 8) -> tuple[Tensor, Tensor]:
    """One scan, since each time step takes seconds to compile."""
    torch.manual_seed(4)
    return torch.rand(2, 1, 1, size, size), torch.ones(2, 1, 1, size, size)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "squall.compile"]


def gradients(net: EncoderForecaster) -> list[Tensor | None]:
    net.zero_grad()
    net(*fields(), 1).square().sum().backward()
    return [parameter.grad for parameter in net.parameters()]


@needs_compiler
@pytest.mark.parametrize("cell", ["convgru", "trajgru"])
def test_a_compiled_network_has_the_same_gradients(
    cell: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Inductor of torch 2.13 can lose gradients without an error (decision 32)."""
    plain, compiled = network(cell), network(cell)
    compile_network(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(gradients(compiled), gradients(plain), atol=1e-4, rtol=1e-4)
    assert compiled_call(compiled) is not None
    assert not warnings_in(caplog)


@needs_compiler
def test_copies_are_not_compiled_and_other_shapes_are(caplog: pytest.LogCaptureFixture) -> None:
    plain = ConvGRUCell(2, 4)
    compiled = copy.deepcopy(plain)
    compile_network(compiled)
    for size in (8, 13, 10):
        x, h = torch.rand(1, 2, size, size), torch.rand(1, 4, size, size)
        torch.testing.assert_close(compiled(x, h), plain(x, h), atol=1e-5, rtol=1e-5)
    assert compiled_call(compiled) is not None
    assert not warnings_in(caplog)
    copied = copy.deepcopy(compiled)
    assert compiled_call(copied) is None
    with torch.no_grad():
        compiled.bias.add_(1)
    assert torch.equal(copied(x, h), plain(x, h))
    assert (compiled(x, h) - copied(x, h)).abs().max() > 1e-3


def test_without_a_compiler_training_continues(caplog: pytest.LogCaptureFixture) -> None:
    plain, compiled = network(), network()
    with fresh_cache(), torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        compile_network(compiled)
        torch.testing.assert_close(gradients(compiled), gradients(plain), atol=0, rtol=0)
        assert compiled_call(compiled) is None
        compiled(*fields(13), 1)
    (message,) = warnings_in(caplog)
    assert "runs without torch.compile: same results" in message
    assert "compiler" in message.partition("Compiling failed with")[2].partition("If a C++")[0]


def test_on_a_python_without_torch_compile_the_network_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", refuse)
    compiled = network()
    compile_network(compiled)
    assert torch.equal(compiled(*fields(), 2), network()(*fields(), 2))
    (message,) = warnings_in(caplog)
    assert "not supported on this Python" in message


def test_an_error_of_the_caller_keeps_the_compiled_network(
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiled = network()
    compile_network(compiled)
    rain, observed = fields()
    with pytest.raises(ValueError, match="without noise_channels"):
        compiled(rain, observed, 2, [rain])
    assert compiled_call(compiled) is not None
    assert not warnings_in(caplog)
