"""What captions cost, beside the model's own way to write them."""
