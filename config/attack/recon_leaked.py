"""The templates of the pipeline chained before leaked; the next pipeline is attacked.

bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED recon
"""

from bob_recon_plugin._validation import told_to_user
from bob_recon_plugin.chain import leaked

with told_to_user():
    inverted = leaked(locals())
