"""Expected versus seen on a deployed lab."""
