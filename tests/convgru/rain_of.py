"""The rain that a model forecasts by default, whatever its head."""

import torch

from squall.convgru import Nowcaster
from squall.convgru.products import product_rain


@torch.inference_mode()
def rain_of(
    model: Nowcaster,
    context: torch.Tensor,
    lead_times: int,
    *,
    step_min: float = 10,
    spacing_km: float = 1,
) -> torch.Tensor:
    """(B, L, 1, H, W) mm/h, NaN = not known."""
    if not model.gives_chances:
        return model(context, lead_times)
    height, width = context.shape[-2:]
    leads = model.chances(context, lead_times, step_min=step_min, spacing_km=spacing_km)
    rain = [product_rain(lead, "order", None)[..., :height, :width] for lead in leads]
    return torch.stack(rain, dim=1)
