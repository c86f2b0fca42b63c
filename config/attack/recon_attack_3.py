"""Attack 3: the leaked model is a black box, and the same system is attacked.

    bob bio pipeline simple DATABASE SYSTEM decoder.py recon-attack-3

`decoder.py` names the decoder. It must be trained with the gradients of another model, a proxy, or
without any (`bob bio recon train DATA --judge NAME`).
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals(), 3)
