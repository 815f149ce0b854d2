"""What a model says about pictures and texts: encoders, and the files that they are made of."""
