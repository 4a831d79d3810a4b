"""Everything that touches ESPnet2."""
