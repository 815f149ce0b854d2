"""Which pictures are one: by their hashes, by their embeddings."""
