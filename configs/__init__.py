"""Recipes and taxonomies (YAML), their typed loading, and what all commands share."""

__version__ = "0.1.0"
