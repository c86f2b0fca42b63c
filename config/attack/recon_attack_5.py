"""The leaked model is a black box, and another, unknown system is attacked.

    bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED decoder.py recon-attack-5

The decoder was trained with the gradients of neither (`bob bio recon train DATA --judge PROXY`,
or `none`); `decoder.py` names it. Anything else is refused.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import told_to_user

with told_to_user():
    pipeline = attack(locals(), 5)
