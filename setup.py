"""What Beam's ``--setup_file ./setup.py`` ships to remote workers; all metadata is in pyproject.toml."""

from setuptools import setup

setup()
