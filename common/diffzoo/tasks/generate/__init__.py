"""Generation of labelled images: label maps from nothing, and images painted on maps."""
