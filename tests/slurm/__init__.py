"""A real Slurm on this machine alone, in a folder of its own, for as long as a test takes.

By hand, as root, with Debian's ``slurm-wlm`` and ``munge``::

    eval "$(python -m tests.slurm up)"
    sinfo
    python -m tests.slurm down
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

#: in the order in which they start
DAEMONS = ("munged", "slurmctld", "slurmd")

# The GPU is a file that any machine has: Slurm hands it out, nothing computes on it.
# linuxproc and task/none ask for no control groups, which a container may lack.
CONF = """\
ClusterName=onemachine
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
AuthInfo=socket={folder}/munged.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
KillWait=5
NodeName=localhost CPUs=2 RealMemory={memory} Gres=gpu:1
PartitionName=cpu Nodes=localhost Default=YES MaxTime=01:00:00
"""
GRES = "NodeName=localhost Name=gpu File=/dev/zero\n"


def unavailable() -> str | None:
    """Why no Slurm can be started here, or None."""
    missing = [name for name in (*DAEMONS, "sbatch") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "needs root to start Slurm's daemons"


@contextmanager
def running() -> Iterator[Path]:
    """Start a Slurm in a temporary folder, give its configuration, and remove it all."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        yield up(folder)
    finally:
        down(folder)


def up(folder: Path) -> Path:
    """Start the daemons, wait for the node, and return the file that SLURM_CONF must name."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged refuses a socket that not everybody reaches
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    port, node_port = _free_ports()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, port=port, node_port=node_port, memory=memory))
    (folder / "gres.conf").write_text(GRES)
    munge = {"key-file": key, "socket": folder / "munged.socket"}
    munge |= {name: folder / f"munged.{name.split('-')[0]}" for name in ("pid-file", "seed-file")}
    munge |= {"log-file": folder / "munged.log"}
    _run(conf, "munged", *(f"--{name}={path}" for name, path in munge.items()))
    _run(conf, "slurmctld")
    _run(conf, "slurmd", "-N", "localhost")
    _wait(lambda: "idle" in _run(conf, "sinfo", "-h", "-o", "%t", check=False), 30, folder)
    return conf


def down(folder: Path) -> None:
    """Cancel the jobs, stop the daemons by their pid files, and remove the folder."""
    conf = folder / "slurm.conf"
    if (folder / "slurmctld.pid").is_file():
        _run(conf, "scancel", "--partition=cpu", check=False)
        with suppress(TimeoutError):
            _wait(lambda: not _run(conf, "squeue", "-h", check=False).strip(), 20, folder)
    for name in reversed(DAEMONS):
        with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            daemon = psutil.Process(int((folder / f"{name}.pid").read_text()))
            if daemon.name() == name:  # else the number is another's by now
                _stop([daemon])
    _stop([p for p in psutil.process_iter() if _is_step(p, conf)])
    shutil.rmtree(folder, ignore_errors=True)


def _is_step(process: psutil.Process, conf: Path) -> bool:
    with suppress(psutil.Error):
        if process.name() == "slurmstepd":
            return process.environ().get("SLURM_CONF") == str(conf)
    return False


def _stop(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    for process in psutil.wait_procs(processes, timeout=10)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _run(conf: Path, *command: str, check: bool = True) -> str:
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    # a daemon would hold a pipe open for ever
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT, timeout=30
        )
        said.seek(0)
        text = said.read()
    if check and done.returncode:
        raise RuntimeError(f"`{command[0]}` must start, got exit status {done.returncode}: {text}")
    return text


def _wait(condition: Callable[[], bool], seconds: float, folder: Path) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = "".join(p.read_text()[-2000:] for p in sorted(folder.glob("*.log")))
            raise TimeoutError(f"Slurm must be ready within {seconds} s, got its logs: {logs}")
        time.sleep(0.2)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("", 0))
        return [each.getsockname()[1] for each in (one, other)]
