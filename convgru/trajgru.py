"""The trajectory GRU: a recurrent cell that gathers its state from places that it learns."""

import torch
from torch import Tensor, nn

from squall.convgru.cell import RecurrentCell

FLOW_CHANNELS = 32
FLOW_KERNEL_SIZE = 5


class TrajGRUCell(RecurrentCell):
    """One trajectory GRU (Shi et al. 2017, arXiv:1706.03458, section 3.2).

    ::

        U, V = W_uv f(W_xf x + W_hf h)                      flows, one for each of the links
        s = sum over links l of W_l warp(h, U_l, V_l)       parts s_z, s_r, s_h
        z = sigmoid(W_xz x + s_z)                           update gate
        r = sigmoid(W_xr x + s_r)                           reset gate
        h~ = tanh(W_xh x + r * s_h)                         candidate state
        h_new = (1 - z) * h + z * h~

    As in the authors' code (HKO-7), the flows come from two 5 × 5 convolutions with 32 channels
    between them, f is a leaky ReLU with slope 0.2, each W_l is 1 × 1, and the warp is bilinear
    with zeros outside the domain. Two things are as in `ConvGRUCell`: z is the share of the
    candidate, not of the old state; the candidate is a tanh, which keeps states in -1..1.

    Parameters
    ----------
    input_channels, hidden_channels : channels of x and of h; 0 input channels for a cell without
        input.
    kernel_size : side of the kernel of W_xz, W_xr and W_xh, in pixels; odd.
    links : number of flows.

    Raises
    ------
    ValueError
        If kernel_size is even, which would change the size of the domain.
    """

    def __init__(
        self, input_channels: int, hidden_channels: int, kernel_size: int = 3, *, links: int = 13
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        self.input_channels = input_channels
        self.hidden_channels = hidden_channels
        self.kernel_size = kernel_size
        self.links = links

        def flow_convolution(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
            padding = FLOW_KERNEL_SIZE // 2
            return nn.Conv2d(inputs, outputs, FLOW_KERNEL_SIZE, padding=padding, bias=bias)

        if input_channels:
            self.W_x = nn.Conv2d(
                input_channels, 3 * hidden_channels, kernel_size, padding=kernel_size // 2
            )
            self.W_xf = flow_convolution(input_channels, FLOW_CHANNELS, bias=False)
        else:
            # the default range of torch for the bias of the convolution of the links
            bound = (links * hidden_channels) ** -0.5
            self.bias = nn.Parameter(torch.empty(3 * hidden_channels).uniform_(-bound, bound))
        self.W_hf = flow_convolution(hidden_channels, FLOW_CHANNELS)
        self.W_uv = flow_convolution(FLOW_CHANNELS, 2 * links)
        # input channels: all links of the state's first channel, then of its second, …
        self.W_links = nn.Conv2d(links * hidden_channels, 3 * hidden_channels, 1, bias=False)

    def project_input(self, x: Tensor) -> Tensor:
        """(N, 3 * hidden_channels + 32, H, W): the input's part of update gate, reset gate,
        candidate and flows, for x of (N, input_channels, H, W)."""
        return torch.cat([self.W_x(x), self.W_xf(x)], dim=1)

    def project_no_input(self, h: Tensor) -> Tensor:
        """(1, 3 * hidden_channels + 32, 1, 1): the biases, of the type of h."""
        bias = torch.cat([self.bias, self.bias.new_zeros(FLOW_CHANNELS)])
        return bias.to(h.dtype)[None, :, None, None]

    def step(self, projected_input: Tensor, h: Tensor) -> Tensor:
        """The state (B, hidden_channels, H, W) after one step; ``projected_input`` is from
        ``project_input``."""
        c = self.hidden_channels
        x_gates, x_candidate, x_flow = projected_input.split([2 * c, c, FLOW_CHANNELS], dim=1)
        hidden = nn.functional.leaky_relu(self.W_hf(h) + x_flow, 0.2)
        gathered = gather(h, self.W_uv(hidden).unflatten(1, (self.links, 2)))
        h_gates, h_candidate = self.W_links(gathered.flatten(1, 2)).split([2 * c, c], dim=1)
        z, r = torch.sigmoid(h_gates + x_gates).chunk(2, dim=1)
        candidate = torch.tanh(torch.addcmul(x_candidate, r, h_candidate))
        return torch.lerp(h, candidate.to(h.dtype), z.to(h.dtype))


def gather(h: Tensor, flows: Tensor) -> Tensor:
    """The state at displaced pixels, bilinear between pixels, 0 outside the domain.

    Parameters
    ----------
    h : (B, C, H, W).
    flows : (B, L, 2, H, W), displacement to the right and downwards, in pixels.

    Returns
    -------
    (B, C, L, H, W) float32: ``h[b, c, i + flows[b, l, 1, i, j], j + flows[b, l, 0, i, j]]``.
    """
    height, width = h.shape[-2:]
    # float32, since bfloat16 has 8 bits, too few for half pixels of a wide domain
    columns = torch.arange(width, device=h.device, dtype=torch.float32)
    rows = torch.arange(height, device=h.device, dtype=torch.float32)
    x = (flows[:, :, 0].float() + columns + 0.5) * (2 / width) - 1
    y = (flows[:, :, 1].float() + rows[:, None] + 0.5) * (2 / height) - 1
    # All links lie in one domain L times as high, so the state is not repeated for each link.
    grid = torch.stack([x, y], dim=-1).flatten(1, 2)
    with torch.autocast(h.device.type, enabled=False):
        warped = nn.functional.grid_sample(h.float(), grid, align_corners=False)
    return warped.unflatten(2, (-1, height))
