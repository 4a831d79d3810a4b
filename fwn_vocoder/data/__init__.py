"""Corpora: Kaldi data directories, features, pitch, alignment, training segments."""
