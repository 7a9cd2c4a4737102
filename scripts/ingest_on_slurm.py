"""`squall ingest` with its Dask workers in SLURM jobs; settings in configs/clusters/slurm.yaml."""

from __future__ import annotations

import argparse
import shutil
import sys

from dask_jobqueue import SLURMCluster

from squall.pipeline.cli.main import main


def run() -> int:
    """Start the jobs, ingest, end the jobs; the exit code of `squall ingest`."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All other arguments are those of `squall ingest`."
    )
    parser.add_argument("--jobs", type=int, default=2, help="SLURM jobs to run (default 2)")
    arguments, rest = parser.parse_known_args()
    if shutil.which("sbatch") is None:
        parser.error("there is no sbatch here: start this on the login node of a SLURM cluster")
    with SLURMCluster() as cluster:
        cluster.scale(jobs=arguments.jobs)
        return main(["ingest", *rest, "--scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    sys.exit(run())
