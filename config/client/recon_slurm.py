"""Workers as Slurm jobs, from 1 to 16 as needed: `bob bio ... -l recon-slurm`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    dask_client = clients.slurm(jobs=(1, 16))
