"""Where the task begins.

A module of its own: every process that computes imports this one first, and needs no web server.
"""

if __name__ == "__main__":
    from server import serve

    serve()
