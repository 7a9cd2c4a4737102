"""Squall accepts the command lines of the examples for cron, systemd, Kubernetes and SLURM."""

import configparser
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from squall.datasets.archive.archive import Archive
from squall.pipeline.cli.main import parse
from tests.pipeline.tiny_radar import VALUES, write_scans
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)

ROOT = Path(__file__).parents[3]
SCHEDULES = ROOT / "configs" / "schedules"
JOBQUEUE = ROOT / "configs" / "clusters" / "slurm.yaml"


def cron_commands():
    lines = (SCHEDULES / "squall-ingest.cron").read_text().splitlines()
    jobs = [line for line in lines if re.match(r"[\d*]", line)]
    assert len(jobs) == 3
    return [
        command for job in jobs for command in job.split("&&") if ".venv/bin/squall " in command
    ]


def systemd_commands():
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read(SCHEDULES / "squall-ingest.service")
    assert unit["Service"]["SuccessExitStatus"] == "3"
    live = configparser.ConfigParser(interpolation=None, strict=False)
    live.optionxform = str
    live.read(SCHEDULES / "squall-live.service")
    return [unit["Service"]["ExecStart"], live["Service"]["ExecStart"]]


def kubernetes_command():
    job = yaml.safe_load((SCHEDULES / "kubernetes-cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return ["squall", *container["args"]]


@pytest.mark.parametrize("text", cron_commands() + systemd_commands())
def test_squall_accepts_the_scheduled_commands(text, tmp_path, monkeypatch):
    words = shlex.split(text[text.index(".venv/bin/squall") :])
    words = [word.replace("/data/", f"{tmp_path}/data/") for word in words]
    (tmp_path / "data" / "knmi.icechunk").mkdir(parents=True)
    monkeypatch.chdir(ROOT)
    assert parse(words[1:]).command == words[1]


def test_squall_accepts_the_command_of_the_kubernetes_job():
    archives = str(ROOT / "configs/archives")
    words = [word.replace("/configs", archives) for word in kubernetes_command()]
    assert parse(words[1:]).archive == "s3://radar/mrms"


def test_squall_accepts_the_command_of_the_kubernetes_service(monkeypatch):
    service = yaml.safe_load((SCHEDULES / "kubernetes-live.yaml").read_text())
    (container,) = service["spec"]["template"]["spec"]["containers"]
    folder = Path(container["workingDir"])
    mounted = {Path(mount["mountPath"]).relative_to(folder) for mount in container["volumeMounts"]}
    assert mounted == {Path("configs/live"), Path("configs/archives")}
    monkeypatch.chdir(ROOT)
    assert parse(container["args"]).config.parent in mounted


def test_the_kubernetes_job_ingests_new_files_and_nothing_again(
    tmp_path,
    s3_server,  # noqa: F811
):
    """The container's arguments, its mounted folder of configurations, and its bucket."""
    files, configs = tmp_path / "radar", tmp_path / "configs"
    now = pd.Timestamp.now("UTC").tz_localize(None).floor("5min")
    write_scans(files, 3, now - pd.Timedelta("1h"))
    write_scans(files, 1, now - pd.Timedelta("13h"))  # older than the job looks
    words = [word.replace("/configs", str(configs)) for word in kubernetes_command()]
    (name,) = (Path(word).name for word in words if word.endswith(".yaml"))
    assert (ROOT / "configs/archives" / name).is_file()
    configs.mkdir()
    # the radar files are on this machine and tiny; all else is as in the pod
    source = f"{files}/rain_{{time:%Y%m%dT%H%M}}.nc"
    (configs / name).write_text(yaml.safe_dump(VALUES | {"source": source}))
    s3_server.bucket("radar")
    snapshots = set()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "squall.pipeline.cli", *words[1:]],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert all(json.loads(line) for line in done.stderr.splitlines())
        archive = Archive.open(words[words.index("--archive") + 1])
        assert (archive.status == 1).sum() == 3
        assert archive.times[-1] == now - pd.Timedelta("50min")
        snapshots.add(archive.snapshot)
    assert len(snapshots) == 1  # the second pass found nothing new


SBATCH = """#!/usr/bin/env bash
# as SLURM does: copy the script, give it a number, run it in the background
cp "${@: -1}" "$JOBS/job.$$"
setsid bash "$JOBS/job.$$" >"$JOBS/log.$$" 2>&1 &
echo $! >"$JOBS/pid.$$"
echo "Submitted batch job $$"
"""
SCANCEL = """#!/usr/bin/env bash
kill -- "-$(cat "$JOBS/pid.$1")"
"""


@pytest.mark.slow
def test_ingestion_with_slurm_jobs(tmp_path, synthetic_files):
    """Commands that run the jobs on this machine stand in for those of SLURM."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(script)
        (commands / name).chmod(stat.S_IRWXU)
    settings = yaml.safe_load(JOBQUEUE.read_text())
    settings["jobqueue"]["slurm"] |= {
        "cores": 1,
        "processes": 1,
        "memory": "1GiB",
        "local-directory": str(tmp_path),
        "log-directory": str(tmp_path / "logs"),
    }
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(settings))
    command = [
        *(sys.executable, "scripts/ingest_on_slurm.py", "--jobs", "1"),
        *("configs/archives/synthetic.yaml", "--archive", str(tmp_path / "a.icechunk")),
        *("--files", f"{synthetic_files}/**/*.nc"),
    ]
    environment = os.environ | {
        "DASK_CONFIG": str(tmp_path / "slurm.yaml"),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "JOBS": str(tmp_path),
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert (Archive.open(tmp_path / "a.icechunk").status == 1).sum() == 60
    assert "#SBATCH" in next(tmp_path.glob("job.*")).read_text()


def test_ingest_on_slurm_without_slurm_says_where_to_start_it(tmp_path):
    command = [sys.executable, "scripts/ingest_on_slurm.py", "configs/archives/synthetic.yaml"]
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 2
    assert done.stderr.endswith("start this on the login node of a SLURM cluster\n")
