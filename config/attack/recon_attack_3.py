"""The leaked model is a black box, and the same system is attacked.

    bob bio pipeline simple DATABASE SYSTEM decoder.py recon-attack-3

The decoder was trained with those of another model, a proxy, or of none
(`bob bio recon train DATA --judge NAME`); `decoder.py` names it. Anything else is refused.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = attack(locals(), 3)
