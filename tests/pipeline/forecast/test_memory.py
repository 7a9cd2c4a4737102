"""The estimate of a process's memory, against peaks that were measured."""

import pytest

from squall.pipeline.forecast.memory import SCORED_MEMBERS, worker_bytes
from squall.pipeline.forecast.methods import Extrapolation, Persistence
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.stochastic_method import StochasticMethod

MRMS, SQUARE = 3500 * 7000, 2048 * 2048
NETWORK = NetworkMethod(*[None] * 10)


@pytest.mark.parametrize(
    ("methods", "pixels", "members", "measured_gb"),
    [
        ([Extrapolation(12), Persistence(12)], MRMS, None, 3.7),  # docs/how-to/large-grids.md
        ([NETWORK], MRMS, None, 5.8),
        ([NETWORK], SQUARE, None, 1.7),
        ([NETWORK], 765 * 700, None, 0.7),
        ([NETWORK], SQUARE, 20, 3.7),  # docs/performance.md
        ([NETWORK], MRMS, 20, 7.6),
    ],
)
def test_the_estimate_is_a_little_more_than_what_was_measured(
    methods, pixels, members, measured_gb
):
    estimate = worker_bytes(methods, pixels, members)
    if members:
        estimate -= SCORED_MEMBERS * pixels  # no members were scored there
    assert measured_gb <= estimate / 1e9 < 1.25 * measured_gb + 0.2


def test_members_of_several_methods_exist_side_by_side():
    methods = [Persistence(12), StochasticMethod(5.0, 1.0, 12)]
    single, both = (worker_bytes(m, MRMS, 20) for m in (methods, [*methods, NETWORK]))
    assert both > 1.5 * single
    assert worker_bytes(methods[:1], MRMS, 20) == worker_bytes(methods, MRMS, None)
