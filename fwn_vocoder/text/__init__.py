"""Text front ends: sentences, phones, characters."""
