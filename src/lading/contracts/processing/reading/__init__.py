"""The two files of the contract: rendered, parsed, checked, every finding with its line."""
