"""The application, free of its host."""

VERSION = "1.0.0"
