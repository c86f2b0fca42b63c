"""Attack 4: the leaked model is a black box; the attacker knows the attacked system (white box).

    bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED decoder.py recon-attack-4

`decoder.py` names the decoder. It must be trained with the gradients of the attacked system's model
(`bob bio recon train DATA --judge ATTACKED`).
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals(), 4)
