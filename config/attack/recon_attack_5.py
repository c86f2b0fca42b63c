"""Attack 5: the leaked model is a black box, and another, unknown system is attacked.

    bob bio pipeline simple DATABASE LEAKED recon-leaked ATTACKED decoder.py recon-attack-5

`decoder.py` names the decoder. It must be trained with the gradients of neither model
(`bob bio recon train DATA --judge PROXY`, or `--judge none`).
"""

from bob_recon_plugin.attack.chain import attack
from bob_recon_plugin.common.validation import short_errors

with short_errors():
    pipeline = attack(locals(), 5)
