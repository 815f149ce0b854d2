"""What actors do with captions of pictures, part by part."""
