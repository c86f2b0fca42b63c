"""How often do faces reconstructed from leaked templates open a face recognition system?"""

__version__ = "0.1.0"
