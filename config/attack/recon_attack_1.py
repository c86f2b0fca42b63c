"""Attack 1: the attacker knows the leaked model (white box), and attacks the same system.

    bob bio pipeline simple DATABASE SYSTEM recon-attack-1

The decoder must be trained with the gradients of the leaked model.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals(), 1)
