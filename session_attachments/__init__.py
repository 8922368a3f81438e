"""Files that belong to a visitor's session until a form claims them."""

__version__ = "1.0.0a1"
