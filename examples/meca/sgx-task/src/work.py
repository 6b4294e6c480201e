"""What the task does. In a real one, this is what runs in the enclave."""


def work(data: bytes) -> bytes:
    """Greet somebody."""
    return b"hello " + data
