"""Migrating legacy containers: what an image reads is found out, and a folder made that runs it."""
