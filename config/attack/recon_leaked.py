"""The templates of the previous pipeline leaked; the next pipeline is attacked.

bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED recon
"""

from bob_recon_plugin.attack.chain import leaked
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    inverted = leaked(locals())
