"""The bench of copies: ours beside other ways to find who is near to whom, on the same hashes and vectors."""
