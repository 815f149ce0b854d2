"""Models that write captions of pictures, behind one protocol."""
