"""How often do faces reconstructed from leaked templates open a face recognition system?"""

import warnings

__version__ = "0.1.0"

# at every start of Bob's torch models; nothing that a user of them could change
warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
