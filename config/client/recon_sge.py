"""Workers as SGE jobs, from 1 to 16 as needed: `bob bio ... -l recon-sge`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    dask_client = clients.sge(jobs=(1, 16))
