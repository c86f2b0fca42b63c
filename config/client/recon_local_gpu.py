"""One worker for each GPU of this machine: `bob bio ... -l recon-local-gpu`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    dask_client = clients.local(gpus="all")
