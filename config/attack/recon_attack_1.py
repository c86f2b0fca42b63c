"""The leaked model is known, inside and out, and the same system is attacked.

    bob bio pipeline simple DATABASE SYSTEM recon-attack-1

The decoder was trained with the gradients of the leaked model. Anything else is refused.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = attack(locals(), 1)
