"""An ensemble method with made-up members, which a test gives to `squall forecast`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from squall.pipeline.forecast import run as forecast_run

REFERENCE = np.datetime64("2024-06-01T04:00")


@dataclass
class FakeEnsemble:
    """Yields given members, or random ones.

    Parameters
    ----------
    rates : (member, lead_time, y, x), mm/h, or None.
    """

    rates: np.ndarray | None = None
    lead_times: int = 4
    name: str = "fake"
    context: int = 2
    stride: int = 1
    digest: str = "test"

    def nowcast(self, context: np.ndarray, lead_times: int) -> np.ndarray:
        return np.full((lead_times, *context.shape[1:]), 7, np.float32)

    def ensemble(
        self, context: np.ndarray, lead_times: int, members: int, reference_time: np.datetime64
    ) -> Iterator[np.ndarray]:
        assert reference_time == REFERENCE
        rates = self.rates
        if rates is None:
            rates = random_rates((members, lead_times, *context.shape[1:]))
        for lead in range(lead_times):
            yield rates[:members, lead].copy()


def random_rates(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Rates of which some are 0 and some are not known."""
    random = np.random.default_rng(seed)
    rates = np.where(random.random(shape) < 0.4, random.gamma(1, 4, shape), 0.0)
    rates[random.random(shape) < 0.03] = np.nan
    rates[:, :, :, -4:] = np.nan
    return rates.astype(np.float32)


def use(monkeypatch: pytest.MonkeyPatch, method: object) -> None:
    """Make `squall forecast` use a method, whatever its name."""
    monkeypatch.setattr(forecast_run, "find_method", lambda *_, **__: method)
