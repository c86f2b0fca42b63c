"""Workers on the cores of this machine: `bob bio ... -l recon-local`."""

from bob_recon_plugin import clients
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    dask_client = clients.local()
