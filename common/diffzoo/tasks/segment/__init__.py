"""Several plausible masks of what an image shows, as several readers would draw them."""
