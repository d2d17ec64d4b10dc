"""Readers of annotation files: one small module a format, all giving one `Annotation`."""
