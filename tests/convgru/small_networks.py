"""Small networks with random weights, and fields and noise for them."""

import torch
from torch import Tensor

from squall.convgru import EncoderForecaster, NetworkConfig

SMALL = NetworkConfig(channels=(4, 6, 8), strides=(2, 2, 2))
ENSEMBLE = SMALL.model_copy(update={"noise_channels": 3})
TRAJECTORIES = SMALL.model_copy(update={"cell": "trajgru", "links": 3})


def network(config: NetworkConfig = SMALL, *, trained: bool = True) -> EncoderForecaster:
    """A network with random weights in its head; not trained, the head's weights are 0."""
    torch.manual_seed(11)
    net = EncoderForecaster(config)
    if trained:
        torch.nn.init.normal_(net.head.out.weight, std=0.3)
        torch.nn.init.normal_(net.head.out.bias, std=0.3)
    return net


def latest(rain: Tensor, observed: Tensor) -> Tensor:
    """(B, 1, 1, H, W): the last observed value of each pixel, 0 where it was never observed."""
    last = torch.zeros_like(rain[:, 0])
    for t in range(rain.shape[1]):
        last = torch.where(observed[:, t] > 0, rain[:, t], last)
    return last[:, None]


def fields(height: int = 16, width: int = 16, *, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Rain and mask of four scans; a fifth of the pixels was not observed, none in all scans."""
    torch.manual_seed(12)
    observed = (torch.rand(batch, 4, 1, height, width) > 0.2).float()
    observed[:, 0] = observed[:, 0].maximum(1 - observed.amax(dim=1))
    return torch.rand(batch, 4, 1, height, width) * observed, observed


def noise_for(net: EncoderForecaster, rain: Tensor, members: int) -> list[Tensor]:
    """Noise that does not depend on the network's weights."""
    generator = torch.Generator().manual_seed(13)
    return [
        torch.randn(len(rain), members, *shape, generator=generator)
        for shape in net.noise_shapes(*rain.shape[-2:])
    ]
