"""Dask clients: processes of this machine, or jobs of a Slurm or an SGE cluster.

A file of two lines defines one for ``bob ... -l FILE.py``::

    from bob_recon_plugin.clients import slurm
    dask_client = slurm(queue="cpu", cores=4)

A worker runs one task at a time, whose networks use all cores of the worker:
tasks that share a process would each start as many threads. Workers start in
the folder of the command and import the same modules. A worker with GPUs
offers the abstract resource ``GPU``, for tasks annotated with ``{"GPU": 1}``.
"""

from .jobs import sge, slurm
from .processes import local

__all__ = ["local", "sge", "slurm"]
