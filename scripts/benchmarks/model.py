"""Inference and training step of the network beside one of plain six-convolution cells."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from tables import keep, parser, show
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from squall.convgru import EncoderForecaster, NetworkConfig, compile_network

CONTEXT, LEAD_TIMES = 4, 12
MATRIX_SIDE = 8192


class PlainCell(nn.Module):
    """The cell as in its formula: six convolutions at each step."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def convolution() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, kernel_size=3, padding=1)

        self.W_xz, self.W_hz = convolution(), convolution()
        self.W_xr, self.W_hr = convolution(), convolution()
        self.W_xh, self.W_hh = convolution(), convolution()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        z = torch.sigmoid(self.W_xz(x) + self.W_hz(h))
        r = torch.sigmoid(self.W_xr(x) + self.W_hr(h))
        candidate = torch.tanh(self.W_xh(x) + self.W_hh(r * h))
        return (1 - z) * h + z * candidate


class PlainNetwork(EncoderForecaster):
    """The same network in simple code: scans pass all layers in sequence, the top layer of the
    forecaster gets zeros, and the memory layout is torch's default."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoders = nn.ModuleList(PlainCell(c) for c in config.channels)
        self.forecasters = nn.ModuleList(PlainCell(c) for c in config.channels)
        nn.init.normal_(
            self.head.out.weight, std=0.1
        )  # the output of an untrained head is zero and would hide differences
        self.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(
        self, rain: Tensor, observed: Tensor, lead_times: int, noise: object = None
    ) -> Tensor:
        scans = torch.cat([rain, observed], dim=2)
        latest = scans[:, 0]
        for t in range(1, scans.shape[1]):
            latest = torch.where(scans[:, t, 1:] > 0, scans[:, t], latest)
        states: dict[int, Tensor] = {}
        for t in range(scans.shape[1]):
            x = scans[:, t]
            for level, (down, cell) in enumerate(zip(self.downs, self.encoders, strict=True)):
                x = down(x)
                states[level] = x = cell(x, states.get(level, torch.zeros_like(x)))
        outputs = []
        for _ in range(lead_times):
            x = torch.zeros_like(states[len(states) - 1])
            for level in reversed(range(len(states))):
                if level < len(states) - 1:
                    x = self.ups[level](x)
                states[level] = x = self.forecasters[level](x, states[level])
            gain, field = self.head.out(torch.cat([self.head.up(x), latest], dim=1)).chunk(2, dim=1)
            outputs.append(latest[:, :1] * (1 + gain) + field)
        return torch.stack(outputs, dim=1)


class Contestant:
    """One way to run the network; rounds of all ways take turns."""

    def __init__(self, name: str, network: nn.Module, device: torch.device, *, bf16: bool) -> None:
        self.name, self.network, self.device, self.bf16 = name, network, device, bf16
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=1e-6)
        self.seconds: dict[str, float] = {}
        self.peak_gib: dict[str, float] = {}

    def infer(self, rain: Tensor, observed: Tensor) -> Tensor:
        with torch.no_grad(), self._autocast():
            forecast: Tensor = self.network(rain, observed, LEAD_TIMES)
        return forecast

    def train(self, rain: Tensor, observed: Tensor) -> None:
        with self._autocast():
            loss = self.network(rain, observed, LEAD_TIMES).float().square().mean()
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def time(self, kind: str, run: Callable[[Tensor, Tensor], object], *fields: Tensor) -> None:
        """Run once and keep the best time."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
        began = time.perf_counter()
        run(*fields)
        if on_gpu:
            torch.cuda.synchronize()
            self.peak_gib[kind] = torch.cuda.max_memory_allocated() / 2**30
        seconds = time.perf_counter() - began
        self.seconds[kind] = min(seconds, self.seconds.get(kind, seconds))

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def networks(config: NetworkConfig, device: torch.device) -> tuple[PlainNetwork, EncoderForecaster]:
    """The plain network and the fast one with the same weights."""
    torch.manual_seed(0)
    plain = PlainNetwork(config)
    fast = EncoderForecaster(config)
    fast.load_state_dict(plain.state_dict())
    return plain.to(device), fast.to(device)


def fields(batch: int, crop: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rain and validity mask, (B, T, 1, H, W)."""
    torch.manual_seed(1)
    observed = (torch.rand(batch, CONTEXT, 1, crop, crop, device=device) > 0.1).float()
    return torch.rand_like(observed) * observed, observed


def flops(network: EncoderForecaster, rain: Tensor, observed: Tensor) -> dict[str, float]:
    """Floating-point operations of one inference and one training step."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(rain, observed, LEAD_TIMES)
    inference = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        network(rain, observed, LEAD_TIMES).square().mean().backward()
    network.zero_grad()
    return {"inference": inference, "training": counter.get_total_flops()}


def matrix_product_tflops(device: torch.device) -> float:
    """Speed of the GPU in a large bfloat16 matrix product, TFLOP/s."""
    a, b = torch.randn(2, MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * MATRIX_SIDE**3 / best / 1e12


def measure(contestants: list[Contestant], rain: Tensor, observed: Tensor, rounds: int) -> None:
    """Check that all contestants agree, then time them by turns."""

    def forecast(contestant: Contestant) -> Tensor:
        # by default a GPU convolves float32 with the 10 bits of TF32
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return contestant.infer(rain, observed)

    expected = forecast(contestants[0])
    for other in contestants[1:]:
        forecast_of_other = forecast(other)
        tolerance = 0.05 if other.bf16 else 1e-4
        torch.testing.assert_close(
            forecast_of_other.float(), expected, atol=tolerance, rtol=tolerance
        )
        other.train(rain, observed)  # compiled networks compile here
    contestants[0].train(rain, observed)
    for _ in range(rounds):
        for contestant in contestants:
            contestant.time("inference", contestant.infer, rain, observed)
        for contestant in contestants:
            contestant.time("training", contestant.train, rain, observed)


def rows(
    contestants: list[Contestant], batch: int, work: dict[str, float], peak_tflops: float | None
) -> list[dict[str, Any]]:
    """One row for each contestant and kind of run."""
    table = []
    for kind in ("inference", "training"):
        for contestant in contestants:
            row: dict[str, Any] = {
                "run": kind,
                "network": contestant.name,
                "time [ms]": 1e3 * contestant.seconds[kind],
                "samples/s": batch / contestant.seconds[kind],
                "speed / plain": contestants[0].seconds[kind] / contestant.seconds[kind],
                "TFLOP/s": work[kind] / contestant.seconds[kind] / 1e12,
            }
            if peak_tflops is not None:
                row["of matrix product"] = row["TFLOP/s"] / peak_tflops
                row["peak memory [GiB]"] = contestant.peak_gib[kind]
            table.append(row)
    return table


def compare(arguments: Any, config: NetworkConfig, device: torch.device) -> dict[str, Any]:
    """Time the network on one device and print the table."""
    on_gpu = device.type == "cuda"
    batch = arguments.batch or (16 if on_gpu else 2)
    crop = arguments.crop or (256 if on_gpu else 128)
    rain, observed = fields(batch, crop, device)
    plain, fast = networks(config, device)
    contestants = [
        Contestant("plain, float32", plain, device, bf16=False),
        Contestant("this, float32", fast, device, bf16=False),
    ]
    work = flops(fast, rain, observed)
    if on_gpu:
        _, eager = networks(config, device)
        contestants.append(Contestant("this, bf16", eager, device, bf16=True))
    if arguments.compile or on_gpu:
        _, compiled = networks(config, device)
        compile_network(compiled)
        name = "this, bf16, compiled" if on_gpu else "this, float32, compiled"
        contestants.append(Contestant(name, compiled, device, bf16=on_gpu))
    measure(contestants, rain, observed, arguments.rounds)
    peak_tflops = matrix_product_tflops(device) if on_gpu else None
    table = rows(contestants, batch, work, peak_tflops)
    where = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} CPU cores"
    weights = sum(parameter.numel() for parameter in fast.parameters()) / 1e6
    print(
        f"{arguments.config.stem}: {weights:.1f} million weights, batch {batch}, crop {crop}, "
        f"{CONTEXT} + {LEAD_TIMES} steps, {where}, torch {torch.__version__}"
    )
    if peak_tflops is not None:
        print(f"bfloat16 matrix product of {MATRIX_SIDE}²: {peak_tflops:.0f} TFLOP/s")
    show(table)
    about = {"device": where, "torch": torch.__version__, "batch": batch, "crop": crop}
    return about | {"matrix_product_tflops": peak_tflops, "rows": table}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--config", type=Path, default=Path("configs/experiments/base.yaml"))
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--batch", type=int, help="default: 2 on the CPU, 16 on a GPU")
    options.add_argument("--crop", type=int, help="default: 128 on the CPU, 256 on a GPU")
    options.add_argument("--compile", action="store_true", help="on the CPU too: takes minutes")
    arguments = options.parse_args()
    config = NetworkConfig.model_validate(yaml.safe_load(arguments.config.read_text())["network"])
    if config.head != "direct":
        options.error(f"{arguments.config}: head {config.head}; what is compared has head direct")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep(arguments, compare(arguments, config, device))


if __name__ == "__main__":
    main()
