"""Content by address: CIDs, IPFS, CAR files, image registries.

Knows bytes and digests, and no contract.
"""
