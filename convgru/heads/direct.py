"""The direct head: the network regresses rain at each pixel.

Dims: B batch, M members, T context steps, L lead steps, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.checkpoint import checkpoint

from squall.convgru.heads.filling import latest_known
from squall.convgru.heads.interface import Frame, RainHead
from squall.convgru.layers import channels_last, sub_pixel_convolution
from squall.convgru.motion import pad_to


class DirectHead(RainHead):
    """Rain from the features, a gain and a field for each pixel and lead time.

    ::

        rain = (1 + gain) latest + field

    where latest is the last observation of each pixel. Gain and field begin as 0, so an untrained
    network is persistence. A pixel that no scan of the context observed has no forecast.

    Parameters
    ----------
    features : channels of the forecaster's finest layer.
    stride : pixels of the domain to one pixel of that layer.
    multiple : pixels of the domain to one pixel of the coarsest layer.
    checkpoint_activations : compute full resolution again in the backward pass.
    """

    def __init__(
        self, features: int, stride: int, *, multiple: int, checkpoint_activations: bool = False
    ) -> None:
        super().__init__()
        self.multiple = multiple
        self.checkpoint_activations = checkpoint_activations
        fine = max(1, features // 2)  # at full resolution a channel costs most
        self.up = sub_pixel_convolution(features, fine, stride)
        self.out = nn.Conv2d(fine + 2, 2, kernel_size=3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def frame(self, rain_BT1HW: Tensor, observed_BT1HW: Tensor) -> Frame:
        """The context where it was observed, filled up to whole pixels of the coarsest layer."""
        rain_BT1HW, observed_BT1HW = (
            pad_to(x, self.multiple) for x in (rain_BT1HW, observed_BT1HW)
        )
        return Frame(rain_BT1HW, observed_BT1HW, motion_B2hw=None)

    def forward(self, features: Tensor, frame: Frame, lead_times: int, members: int) -> Tensor:
        """(L, B, M, 1, H, W) normalised dB; see `RainHead.forward`."""
        latest_BCHW = torch.cat(latest_known(frame), dim=1)
        # The last observation is the same for all lead times, so its part of the convolution is
        # computed once.
        known = latest_BCHW.shape[1]
        weights = self.out.weight.split([self.out.in_channels - known, known], dim=1)
        feature_weights, latest_weights = map(channels_last, weights)
        shared_BCHW = conv2d(channels_last(latest_BCHW), latest_weights, self.out.bias, padding=1)

        def decode(features: Tensor) -> Tensor:
            return conv2d(channels_last(self.up(features)), feature_weights, padding=1)

        if not torch.is_grad_enabled():  # full resolution for one lead at a time stays in cache
            decoded = torch.cat([decode(lead) for lead in features.chunk(lead_times)])
        elif self.checkpoint_activations:
            leads = features.chunk(lead_times)
            decoded = torch.cat([checkpoint(decode, lead, use_reentrant=False) for lead in leads])
        else:
            decoded = decode(features)
        decoded_LBMCHW = decoded.unflatten(0, (lead_times, -1, members))
        # in half precision 1 + gain would have an error of up to 1 %
        gain, field = (decoded_LBMCHW + shared_BCHW[:, None]).float().chunk(2, dim=3)
        rain = latest_BCHW[:, None, :1] * (1 + gain) + field
        return torch.where(latest_BCHW[:, None, 1:] > 0, rain, -torch.inf)
