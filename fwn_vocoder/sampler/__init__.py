"""Fast exact sampling from a trained FloWaveNet: whole, in bounded memory, or as a stream."""

from fwn_vocoder.sampler.vocoder import FloWaveNetSampler

__all__ = ["FloWaveNetSampler"]
