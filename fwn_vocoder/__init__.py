"""FloWaveNet as the vocoder of Tacotron-style text-to-speech."""
