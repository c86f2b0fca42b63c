"""One worker for each GPU of this machine: `bob bio ... -l recon-local-gpu`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    dask_client = clients.local(gpus="all")
