"""B2D: distils BERT into a feed-forward student that scores texts in microseconds."""

__version__ = '0.1.0'
