"""The Golem Task API on the wire: our ``.proto`` files, and the code made by ``scripts/protos``."""
