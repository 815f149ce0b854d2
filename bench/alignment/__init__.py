"""How far pair scores agree with people."""
