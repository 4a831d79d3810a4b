"""Vocoders: the contract, FloWaveNet and its parts, Griffin-Lim."""
