"""The server keeps to its own OpenAPI description."""

import subprocess
import sys

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from squall.pipeline.serve.app import app_of
from squall.pipeline.serve.config import ServeConfig
from tests.pipeline.serve.site import publish

QUERIES = ("/position", "/area")


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    publish(site)
    app = app_of(ServeConfig(address=str(site), requests_per_minute=0))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def check(operation, kind: str) -> None:
    """Compare answers to some requests with what the description says of them."""
    # what WKT is, and where the grid lies, is more than a description can say
    excluded = [positive_data_acceptance] if operation.path.endswith(QUERIES) else []
    mode = schemathesis.GenerationMode(kind)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers(case):
        answer = case.call()
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, excluded_checks=excluded)

    answers()


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_answers_are_those_of_the_description(schema, kind):
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 14
    for operation in operations:
        if kind == "positive" or operation.path_parameters or operation.query:
            check(operation, kind)


def test_serving_waits_for_no_heavy_library(tmp_path):
    code = f"""
import sys
from squall.pipeline.serve.app import app_of
from squall.pipeline.serve.config import ServeConfig
import squall.pipeline.serve.run
app_of(ServeConfig(address={str(tmp_path)!r}))
heavy = ("torch", "xarray", "icechunk", "zarr", "matplotlib", "cartopy", "scipy", "dask", "s3fs")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
