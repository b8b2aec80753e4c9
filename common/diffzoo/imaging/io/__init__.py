"""Files of images and raw data: readers and writers, and what they refuse."""
