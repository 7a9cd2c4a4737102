"""scripts/train.slurm with scripts that imitate the commands of SLURM and squall.

Like SLURM's srun, the imitated `srun` exits with the highest code of its tasks, and SIGTERM makes
it kill them; it runs all tasks on this machine. Like the real command, the imitated `squall` saves
on SIGTERM and exits with 143.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from squall.pipeline.cli.main import parse

SCRIPT = Path(__file__).parents[3] / "scripts" / "train.slurm"
ARGUMENTS = ["small.yaml", "--archive", "a.icechunk", "--out", "runs/x", "optimiser.weight_decay=0"]

COMMANDS = {
    "sleep": f"exec {shutil.which('sleep')} 0.05",  # the script polls once a second
    "srun": """
echo "$*" | head -n 1 >>srun.log
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) tasks=${1#*=} ;; esac
  shift
done
trap 'touch srun_killed_tasks; kill -KILL "${pids[@]}"' TERM
for ((i = 0; i < tasks; i++)); do
  SLURM_PROCID=$i setsid "$@" &
  pids+=($!)
  echo $! >>tasks
done
highest=0
for pid in "${pids[@]}"; do
  wait "$pid"
  code=$?
  highest=$((code > highest ? code : highest))
done
exit $highest
""",
    "scancel": """
[ "$*" = "--signal=TERM 71" ] || exit 1
kill -TERM $(cat tasks)
""",
    "scontrol": """
case $1 in
  show) echo "JobId=71 JobName=squall-train JobState=$(cat state) Reason=None" ;;
  requeue) if [ -e no_requeue ]; then exit 1; else echo "$2" >>requeued; fi ;;
esac
""",
    "sbatch": """
while [[ $1 == --* ]]; do
  case $1 in
    --nodes=*) export SLURM_JOB_NUM_NODES=${1#*=} ;;
    --gpus-per-node=*) export SLURM_GPUS_ON_NODE=${1#*=} ;;
    *) echo "sbatch: unknown option $1" >&2; exit 1 ;;
  esac
  shift
done
exec bash "$@"
""",
    "squall": """
printf '%s\\n' "$@" >"arguments.$SLURM_PROCID"
behaviour=$(cat "behaviour.$SLURM_PROCID" 2>/dev/null || cat behaviour)
terminated() {
  touch "terminated.$SLURM_PROCID"
  sleep 1
  if [ "$SLURM_PROCID" -eq 0 ]; then mkdir -p runs/x; touch runs/x/last.ckpt; fi
  exit 143
}
case $behaviour in
  trains) trap terminated TERM ;;
  starts) ;;
  *) exit "$behaviour" ;;
esac
touch "began.$SLURM_PROCID"
while :; do sleep 1; done
""",
}


class Job:
    """A SLURM job in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = folder / "bin"
        commands.mkdir()
        for name, text in COMMANDS.items():
            (commands / name).write_text(f"#!/usr/bin/env bash\n{text}")
            (commands / name).chmod(stat.S_IRWXU)
        self.environment = os.environ | {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "SLURM_JOB_ID": "71",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_GPUS_ON_NODE": "2",
            "SLURM_CPUS_ON_NODE": "16",
            "SLURM_CPUS_PER_GPU": "8",
        }
        (folder / "state").write_text("RUNNING")
        self.process: subprocess.Popen[str] | None = None

    def start(self, behaviour: str | int, *arguments: str, tasks: int = 2) -> None:
        """Start the script; if squall trains, wait until all tasks have begun."""
        for file in (*self.folder.glob("began.*"), *self.folder.glob("tasks")):
            file.unlink()
        (self.folder / "behaviour").write_text(str(behaviour))
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), *(arguments or ARGUMENTS)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if behaviour in ("trains", "starts"):
            self.until(lambda: len(list(self.folder.glob("began.*"))) == tasks)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def signal_tasks(self, *, group: bool = False) -> None:
        for pid in map(int, (self.folder / "tasks").read_text().split()):
            (os.killpg if group else os.kill)(pid, signal.SIGTERM)

    def end(self) -> tuple[int, str]:
        assert self.process is not None
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    @property
    def requeued(self) -> bool:
        return (self.folder / "requeued").exists()

    def arguments(self, task: int = 0) -> list[str]:
        return (self.folder / f"arguments.{task}").read_text().splitlines()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    (tmp_path / "small.yaml").touch()
    (tmp_path / "a.icechunk").mkdir()
    monkeypatch.chdir(tmp_path)
    job = Job(tmp_path)
    yield job
    if job.process is not None and job.process.poll() is None:
        job.process.kill()
    if (tmp_path / "tasks").exists():
        for pid in map(int, (tmp_path / "tasks").read_text().split()):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_a_finished_training_is_not_requeued(job: Job) -> None:
    job.start(0)
    assert job.end() == (0, "")
    assert not job.requeued
    arguments = job.arguments()
    assert arguments == ["train", *ARGUMENTS, "trainer.num_nodes=1", "trainer.devices=2"]
    assert job.arguments(1) == arguments
    assert parse(arguments).overrides[-2:] == ["trainer.num_nodes=1", "trainer.devices=2"]
    assert not list(job.folder.glob(".squall-train-*"))


def test_each_gpu_of_each_node_has_one_task(job: Job) -> None:
    job.environment |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    job.start(0)
    assert job.end()[0] == 0
    srun_log = (job.folder / "srun.log").read_text()
    for option in ("--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=4"):
        assert option in srun_log.split()
    assert job.arguments(7)[-2:] == ["trainer.num_nodes=2", "trainer.devices=4"]


@pytest.mark.parametrize("group", [False, True])
def test_terminated_tasks_are_requeued_and_resumed(job: Job, group: bool) -> None:
    """SLURM sends the signal before the time limit and in the grace time of a preemption."""
    job.start("trains")
    job.signal_tasks(group=group)
    assert job.end()[0] == 143
    assert (job.folder / "requeued").read_text() == "71\n"
    assert "--resume" not in job.arguments()
    (job.folder / "requeued").unlink()
    job.start(0)
    assert job.end() == (0, "")
    assert job.arguments()[-1] == "--resume"
    assert parse(job.arguments()).resume
    assert not job.requeued


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_the_shell_passes_a_signal_on_to_the_tasks(job: Job, number: signal.Signals) -> None:
    job.start("trains")
    assert job.process is not None
    job.process.send_signal(number)
    assert job.end() == (143, "")
    assert job.requeued
    assert (job.folder / "terminated.1").exists()
    assert not (job.folder / "srun_killed_tasks").exists()


def test_shell_and_tasks_may_get_the_signal_at_the_same_time(job: Job) -> None:
    """The tasks get a second signal from the shell."""
    job.start("trains")
    job.signal_tasks()
    assert job.process is not None
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == (143, "")
    assert job.requeued


def test_a_cancelled_job_is_not_requeued(job: Job) -> None:
    (job.folder / "state").write_text("CANCELLED")
    job.start("trains")
    job.signal_tasks()
    assert job.end() == (143, "")
    assert not job.requeued


def test_a_training_terminated_before_its_first_save_is_requeued(job: Job) -> None:
    job.start("starts")
    job.signal_tasks(group=True)
    assert job.end()[0] == 143
    assert job.requeued


@pytest.mark.parametrize("code", [1, 2, 137])
def test_an_error_keeps_its_exit_code_and_is_not_requeued(job: Job, code: int) -> None:
    (job.folder / "runs" / "x").mkdir(parents=True)
    (job.folder / "runs" / "x" / "last.ckpt").touch()
    job.start(code)
    assert job.end()[0] == code
    assert not job.requeued


def test_the_error_of_one_task_counts_if_the_others_were_terminated(job: Job) -> None:
    """srun terminates the other tasks if one fails (--kill-on-bad-exit)."""
    (job.folder / "behaviour.1").write_text("1")
    job.start("trains", tasks=1)
    job.until(lambda: len((job.folder / "tasks").read_text().split()) == 2)
    os.kill(int((job.folder / "tasks").read_text().split()[0]), signal.SIGTERM)
    assert job.end()[0] == 1
    assert not job.requeued
    assert (job.folder / "terminated.0").exists()


def test_a_job_that_cannot_be_requeued_says_how_to_resume(job: Job) -> None:
    (job.folder / "no_requeue").touch()
    job.start("trains")
    job.signal_tasks()
    code, errors = job.end()
    assert code == 143
    assert "saved, not requeued; sbatch the same command" in errors


@pytest.mark.parametrize("out", [["--out=runs/x"], ["--out", "runs/x"]])
def test_out_can_be_written_in_both_forms(job: Job, out: list[str]) -> None:
    (job.folder / "runs" / "x").mkdir(parents=True)
    (job.folder / "runs" / "x" / "last.ckpt").touch()
    job.start(0, "small.yaml", *out)
    assert job.end()[0] == 0
    assert job.arguments()[-1] == "--resume"


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, ["small.yaml"], "no --out: name the run folder"),
        ({"SLURM_JOB_ID": ""}, ARGUMENTS, "start it with sbatch"),
        ({"SLURM_GPUS_ON_NODE": ""}, ARGUMENTS, "no GPU: give sbatch --gpus-per-node"),
    ],
)
def test_mistakes_are_reported_before_srun_starts(
    job: Job, changes: dict[str, str], arguments: list[str], message: str
) -> None:
    job.environment |= changes
    job.start(0, *arguments)
    code, errors = job.end()
    assert code == 2
    assert message in errors
    assert not (job.folder / "srun.log").exists()


@pytest.mark.parametrize(
    ("document", "pattern"),
    [
        ("docs/how-to/slurm.md", r"^(sbatch .*)"),
        ("docs/training.md", r"`(sbatch .*?)`"),
        ("scripts/train.slurm", r"^#\s+(sbatch .*)"),
    ],
)
def test_the_command_lines_of_the_documents_train(job: Job, document: str, pattern: str) -> None:
    root = SCRIPT.parents[1]
    text = re.sub(r"\\\n#?", "", (root / document).read_text())
    (line,) = re.findall(pattern, text, re.MULTILINE)
    line = line.replace("--archive …", "--archive a.icechunk")
    for name in ("scripts", "configs"):
        (job.folder / name).symlink_to(root / name)
    (archive,) = re.findall(r"--archive (\S+)", line)
    (job.folder / archive).mkdir(parents=True, exist_ok=True)
    job.environment |= {"SLURM_JOB_NUM_NODES": "", "SLURM_GPUS_ON_NODE": ""}
    (job.folder / "behaviour").write_text("0")
    done = subprocess.run(["bash", "-c", line], env=job.environment, check=False)
    assert done.returncode == 0
    assert parse(job.arguments(7)).overrides == ["trainer.num_nodes=2", "trainer.devices=4"]


def test_the_options_for_sbatch() -> None:
    lines = SCRIPT.read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--signal=TERM@300"} <= set(options)
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(not line.startswith("#SBATCH") for line in lines[first_command:])
