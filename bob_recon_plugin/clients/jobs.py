"""Workers as jobs of a queue, one worker per job."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ..common.settings import setting
from ..common.validation import InputError
from ._start import count, environment, size, started

if TYPE_CHECKING:
    from distributed import Client

_A_WHILE = 60  # seconds
_IDLE = 60  # seconds after which a job without work ends; a new one may queue for long


def slurm(
    queue: str | None = None,
    cores: int = 1,
    memory: str = "4GB",
    jobs: int | tuple[int, int] = 4,
    gpus: int = 0,
    walltime: str = "01:00:00",
    account: str | None = None,
    interface: str | None = None,
    directives: Sequence[str] = (),
    **options: Any,
) -> Client:
    """Submit workers to Slurm.

    Parameters
    ----------
    queue : str, optional
        Partition. Default: that of the cluster.
    cores : int
        Cores of a job, all for the networks of its one task.
    memory : str
        Memory of a job.
    jobs : int or (int, int)
        Number of jobs, or minimum and maximum, between which it follows the work.
        A job that ends early (walltime, failed node) is replaced. Bob's ``-w`` has
        no effect.
    gpus : int
        GPUs of a job. A task uses one: ask for more jobs before more GPUs.
    walltime : str
        Time limit of a job, hours:minutes:seconds, some minutes longer than one
        partition of the data takes.
    account : str, optional
        Account to charge. Default: that of ``bob config set slurm.account NAME``.
    interface : str, optional
        Network interface over which workers reach this machine ("ib0").
    directives : sequence of str
        More ``#SBATCH`` options, such as "--exclude=node7".
    **options
        More arguments of `dask_jobqueue.SLURMCluster`.

    Returns
    -------
    distributed.Client
        Its jobs are submitted but may not run yet. They are cancelled when Python
        ends. Their output is in files of the folder ``logs``.

    Raises
    ------
    InputError
        For wrong arguments, without ``sbatch``, or if Slurm refuses the job.
    """
    _on_path("sbatch", "Slurm")
    worker = _worker(cores, memory, gpus, options)
    from dask_jobqueue import SLURMCluster

    lines = [f"--gres=gpu:{gpus}"] if gpus else []
    return _submitted(
        SLURMCluster,
        jobs,
        "squeue --me",
        queue=queue,
        job_cpu=cores,
        walltime=walltime,
        account=account or setting("slurm.account"),
        interface=_interface(interface),
        job_extra_directives=[*lines, *directives],
        **worker,
    )


def sge(
    queue: str | None = None,
    cores: int = 1,
    memory: str = "4GB",
    jobs: int | tuple[int, int] = 4,
    gpus: int = 0,
    walltime: str = "01:00:00",
    project: str | None = None,
    interface: str | None = None,
    directives: Sequence[str] = (),
    parallel_environment: str = "smp",
    gpu_resource: str | None = "gpu",
    **options: Any,
) -> Client:
    """Submit workers to SGE (Grid Engine).

    Parameters
    ----------
    queue, cores, jobs, walltime, interface
        As for `slurm`.
    memory : str
        Memory at which a worker restarts. To reserve it, name the resource of your
        site: ``directives=["-l mem_free=4G"]``.
    gpus : int
        GPUs of a job. A task uses one: ask for more jobs before more GPUs.
    project : str, optional
        Project to charge.
    directives : sequence of str
        More ``#$`` options.
    parallel_environment : str
        Name of your site for several cores of one machine, used if ``cores`` > 1.
    gpu_resource : str or None
        Name of your site for GPUs, used if ``gpus`` > 0; None if the queue implies them.
    **options
        More arguments of `dask_jobqueue.SGECluster`.

    Returns
    -------
    distributed.Client
        As of `slurm`.

    Raises
    ------
    InputError
        For wrong arguments, without ``qsub``, or if SGE refuses the job.
    """
    _on_path("qsub", "SGE")
    worker = _worker(cores, memory, gpus, options)
    from dask_jobqueue import SGECluster

    lines = ["-S /bin/bash"]  # else the shell of the queue runs the script, often csh
    lines += [f"-pe {parallel_environment} {cores}"] if cores > 1 else []
    lines += [f"-l {gpu_resource}={gpus}"] if gpus and gpu_resource else []
    return _submitted(
        SGECluster,
        jobs,
        "qstat",
        queue=queue,
        walltime=walltime,
        project=project,
        interface=_interface(interface),
        job_extra_directives=[*lines, *directives],
        **worker,
    )


def _on_path(command: str, system: str) -> None:
    if shutil.which(command) is None:
        raise InputError(
            f"`{command}` must be on PATH to submit jobs to {system}, got none; run on a machine "
            "that can submit them, or without jobs by `-l recon-local`."
        )


def _interface(name: str | None) -> str | None:
    import psutil

    if name is not None and name not in (here := psutil.net_if_addrs()):
        raise InputError(
            f"`interface` must be one of this machine ({', '.join(here)}), got {name!r}; name the "
            "one of the network of the workers."
        )
    return name


def _worker(cores: int, memory: str, gpus: int, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of every job, for any queue: one process, one task at a time."""
    variables = environment(count("cores", cores))
    prologue = [f"cd {shlex.quote(os.getcwd())}"]
    prologue += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    arguments = ["--resources", f"GPU={gpus}"] if count("gpus", gpus, least=0) else []
    return {
        "log_directory": "logs",
        **options,
        "cores": 1,
        "processes": 1,
        "memory": size(memory),
        "worker_extra_args": [*arguments, *options.get("worker_extra_args", ())],
        "job_script_prologue": [*prologue, *options.get("job_script_prologue", ())],
    }


def _submitted(cluster_class: Any, jobs: Any, look: str, **options: Any) -> Client:
    """Submit the jobs and return a client; InputError quotes why the queue refuses a job."""
    least, most = _bounds(jobs)
    cluster = cluster_class(**options)
    try:
        # at least one, so that a refusal is reported now
        client = started(cluster, max(1, least))
    except RuntimeError as error:
        said = str(error).rpartition("stderr:\n")[2].strip().replace("\n", "; ")
        raise InputError(
            f"`{cluster_class.job_cls.submit_command}` must accept the job, got {said!r}; change "
            "the arguments of the client."
        ) from error
    # also with least = most: adapting replaces jobs that end
    cluster.adapt(minimum_jobs=least, maximum_jobs=most, wait_count=_IDLE)
    _report_waiting(cluster, look)
    return client


def _bounds(jobs: Any) -> tuple[int, int]:
    if not isinstance(jobs, tuple | list):
        return count("jobs", jobs), jobs
    if len(jobs) != 2:
        raise InputError(f"`jobs` must be a number or (least, most), got {jobs!r}; write either.")
    least = count("jobs", jobs[0], least=0)
    return least, count("jobs", jobs[1], max(1, least))


def _report_waiting(cluster: Any, look: str) -> None:
    """Print a note if no job has reported after a while: Dask would wait silently."""

    def report() -> None:
        if cluster.status.name == "running" and not cluster.scheduler_info["workers"]:
            click.echo(
                f"Note: no job has reported for {_A_WHILE} s. `{look}` shows whether they wait; "
                "the output of failed jobs is in `logs`.",
                err=True,
            )

    cluster.loop.add_callback(cluster.loop.call_later, _A_WHILE, report)
