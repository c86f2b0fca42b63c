"""Workers as SGE jobs, from 1 to 16 as needed: `bob bio ... -l recon-sge`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    dask_client = clients.sge(jobs=(1, 16))
