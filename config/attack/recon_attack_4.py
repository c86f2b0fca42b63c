"""The leaked model is a black box; another system, whose model judged the training, is attacked.

    bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED decoder.py recon-attack-4

The decoder was trained with the gradients of the attacked system's model
(`bob bio recon train DATA --judge ATTACKED`); `decoder.py` names it. Anything else is refused.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = attack(locals(), 4)
