"""Attack 2: the attacker knows the leaked model (white box), and attacks another system.

    bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED recon-attack-2

The decoder must be trained with the gradients of the leaked model.
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals(), 2)
